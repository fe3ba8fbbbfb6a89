"""The metrics file as Prometheus' own parser reads it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from llmbatch.core.snapshot import ModelCounts
from llmbatch.ui.metrics import Ended, exposition
from tests.support.snapshots import NOW


def read(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    samples: dict[str, Any] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type in ("counter", "gauge")
        for sample in family.samples:
            samples.setdefault(sample.name.removeprefix("llmbatch_"), []).append((sample.labels, sample.value))
    return samples


def test_it_has_failures_by_kind_models_and_the_expected_total() -> None:
    samples = read(exposition(NOW._replace(failed_by_kind={"timeout": 3, "schema": 1}), began=1_790_000_000.5))
    assert samples["records_total"] == [({"status": "ok"}, 61_200), ({"status": "failed"}, 4)]
    assert samples["failures_total"] == [({"kind": "timeout"}, 3), ({"kind": "schema"}, 1)]
    assert samples["expected_records"] == [({}, 100_000)] and samples["done_records"] == [({}, 61_204)]
    assert ({"model": "gpt-x", "status": "ok"}, 200) in samples["model_records_total"]
    assert samples["start_time_seconds"] == [({}, 1_790_000_000.5)] and samples["cost_usd_total"] == [({}, 12.3456)]
    assert "exit_code" not in samples


def test_the_end_and_its_exit_code_are_there_once_it_has_ended() -> None:
    samples = read(exposition(NOW, 1.0, Ended(exit_code=5, at=1_790_000_009.25)))
    assert samples["exit_code"] == [({}, 5)] and samples["end_time_seconds"] == [({}, 1_790_000_009.25)]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e"), max_size=30))
def test_no_name_of_a_model_breaks_the_format(name: str) -> None:
    samples = read(exposition(NOW._replace(models=(ModelCounts(name, 7, 0),)), 1.0))
    assert ({"model": name, "status": "ok"}, 7) in samples["model_records_total"]
