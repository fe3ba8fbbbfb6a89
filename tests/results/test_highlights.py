"""What a report shows of results: examples, and what happened when."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.results.highlights import ANSWERS, FAILURES, SLOWEST, Highlights
from tests.support.result_lines import failed, ok


def looked_at(*lines: dict[str, Any]) -> Highlights:
    highlights = Highlights()
    for line in lines:
        highlights.add(line)
    return highlights


def at(second: float, latency: float, *, fine: bool = True) -> dict[str, Any]:
    stamp = f"2026-11-22T10:{int(second // 60):02d}:{second % 60:06.3f}Z"
    return (ok if fine else failed)(None, 0, started_at=stamp, latency_s=latency)


def test_each_kind_of_failure_has_a_few_examples() -> None:
    lines = [failed(f"f{n}", n, kind) for kind in ("timeout", "schema") for n in range(FAILURES + 3)]
    highlights = looked_at(*lines)
    assert {kind: [one.id for one in found] for kind, found in highlights.failures.items()} == {
        kind: [f"f{n}" for n in range(FAILURES)] for kind in ("timeout", "schema")
    }
    assert highlights.failures["timeout"][0].text == "HTTP 400: no"


def test_the_slowest_come_first_and_are_few() -> None:
    highlights = looked_at(*(at(n, float(n % 50)) for n in range(55)))
    assert [one.latency for one in highlights.slowest] == [49.0, 48, 47, 46, 45, 44, 43, 42, 41, 40]
    assert len(highlights.slowest) == SLOWEST and len(highlights.answers) == ANSWERS


def test_the_timeline_says_what_ended_when_and_how_many_were_in_flight() -> None:
    highlights = looked_at(at(0, 10), at(0, 5), at(5, 5, fine=False))
    assert highlights.span is not None and highlights.span[1] - highlights.span[0] == pytest.approx(10)
    assert highlights.timeline(2) == [(0, 0, pytest.approx(2.0)), (2, 1, pytest.approx(2.0))]
    assert looked_at().timeline(5) == [] and looked_at(at(3, 0.0)).timeline(5) == []


@given(
    st.lists(st.tuples(st.floats(0, 3599), st.floats(0, 500), st.booleans()), min_size=1, max_size=30),
    st.integers(1, 60),
)
def test_every_record_ends_in_one_bin_and_no_time_in_flight_is_lost(
    records: list[tuple[float, float, bool]], bins: int
) -> None:
    highlights = looked_at(*(at(second, round(latency, 3), fine=fine) for second, latency, fine in records))
    found = highlights.timeline(bins)
    if not found:
        return
    span = highlights.span
    assert span is not None
    width = (span[1] - span[0]) / bins
    assert sum(one.ok for one in found) == sum(fine for _, _, fine in records)
    assert sum(one.failed for one in found) == sum(not fine for _, _, fine in records)
    in_flight = sum(one.in_flight for one in found) * width
    assert in_flight == pytest.approx(sum(round(latency, 3) for _, latency, _ in records), rel=1e-3, abs=1e-2)
