"""The stage for Ray Data: a bad row is a row with an error, and a lost actor costs what it had in flight.

Run by `make scale`. The mock's ledger judges what was sent.
"""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import Mock, until

pytestmark = pytest.mark.xdist_group("ray")

PATIENCE = 100.0
RECORDS = 1500


@pytest.fixture
def mock(tmp_path: Path) -> Iterator[Mock]:
    mock = Mock(tmp_path, "--latency", "0.05")
    yield mock
    mock.close()


@pytest.fixture(scope="module")
def data(cluster: Any) -> Iterator[Any]:
    """Connect to the cluster; return ray.data."""
    import ray
    import ray.data

    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray.data
    ray.shutdown()


def answered(data: Any, rows: list[dict[str, Any]], url: str, **options: Any) -> list[dict[str, Any]]:
    from llmbatch.ray import Prompts

    stage = data.from_items(rows, override_num_blocks=8).map_batches(
        Prompts,
        fn_constructor_kwargs={"base_url": url, "model": "m", **options},
        batch_format="pyarrow",
        batch_size=64,
        num_cpus=0.5,
        compute=data.ActorPoolStrategy(size=2),
    )
    found: list[dict[str, Any]] = stage.take_all()
    return found


def test_a_bad_row_is_a_row_with_an_error(data: Any, mock: Mock) -> None:
    rows = [{"id": n, "prompt": f"data {n}"} for n in range(RECORDS)]
    rows[700]["prompt"] = "[[mock:status code=400]] data"
    found = answered(data, rows, mock.base_url)
    assert Counter(row["id"] for row in found) == dict.fromkeys(range(RECORDS), 1)
    (bad,) = (row for row in found if row["status"] != "ok")
    assert bad["id"] == 700 and bad["error"]["kind"] == "bad_request" and bad["text"] is None
    assert len(mock.ledger("data")) == RECORDS


def test_with_a_folder_a_lost_actor_costs_what_it_had_in_flight(data: Any, mock: Mock, tmp_path: Path) -> None:
    folder, in_flight = tmp_path / "answers", 8
    rows = [{"id": n, "prompt": f"data {n}"} for n in range(RECORDS)]

    def kill_an_actor() -> None:
        until(lambda: len(mock.ledger("data")) > RECORDS // 3, patience=PATIENCE)
        largest = max(folder.glob("*.jsonl"), key=lambda path: path.stat().st_size)
        os.kill(int(largest.name.split("-")[-2]), signal.SIGKILL)

    with ThreadPoolExecutor() as pool:
        killed = pool.submit(kill_an_actor)
        found = answered(data, rows, mock.base_url, folder=str(folder), concurrency=in_flight)
        killed.result()
    assert Counter(row["id"] for row in found) == dict.fromkeys(range(RECORDS), 1)
    assert {row["status"] for row in found} == {"ok"}
    assert any(row["attempts"] == 0 for row in found), "answers of the lost actor were taken from its file"
    batch = 64  # answers that are written together: on a busy machine they are lost with the actor
    assert len(mock.ledger("data")) - RECORDS <= in_flight + batch


def test_batches_of_numpy_come_back_as_tables() -> None:
    """Ray Data's default format of batches."""
    import numpy as np

    from llmbatch.api.answer_columns import as_table

    table = as_table({"prompt": np.array(["a", "b"], object), "vector": np.zeros((2, 3)), "n": np.arange(2)})
    assert table.to_pylist() == [{"prompt": text, "vector": [0.0] * 3, "n": n} for n, text in enumerate("ab")]


def test_what_would_fail_every_row_raises_and_names_the_cause(data: Any, mock: Mock) -> None:
    with pytest.raises(Exception, match="no option 'modle'"):
        answered(data, [{"prompt": "x"}], mock.base_url, modle="m")
    with pytest.raises(Exception, match="401"):
        answered(data, [{"prompt": "[[mock:status code=401]]"}] * 20, mock.base_url)
