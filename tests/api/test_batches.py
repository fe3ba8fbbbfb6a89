"""From Python: a run through the provider's batch API."""

from pathlib import Path

import llmbatch
from llmbatch.mock.settings import MockSettings
from tests.mock.loopback import running


def test_a_run_has_its_answers_by_batches(tmp_path: Path) -> None:
    with running(MockSettings(batch_delay=0.2)) as url:
        run = llmbatch.run(
            ["one", "two", "three"], base_url=url, model="m", output=tmp_path / "out.jsonl", batch_api=True
        )
    assert [result["status"] for result in run] == ["ok"] * 3
    assert run.summary["collected"] == 2 and run.summary["exit_code"] == 0
    assert len({result["batch"] for result in run if "batch" in result}) == 1
