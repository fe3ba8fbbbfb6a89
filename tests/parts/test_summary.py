"""A part's summary says as much as its lines do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.codec import json
from llmbatch.core.settings import Redo
from llmbatch.parts.summary import needs_work, stats_of, summary_of
from llmbatch.results.stats import StatsByModel

LINES = st.lists(
    st.fixed_dictionaries(
        {
            "status": st.sampled_from(["ok", "failed"]),
            "model": st.sampled_from(["a", "b", None]),
            "error": st.fixed_dictionaries({"kind": st.sampled_from(["timeout", "not_json"])}),
            "billed": st.booleans(),
            "attempts": st.integers(1, 3),
            "cost_usd": st.one_of(st.none(), st.integers(0, 64).map(lambda n: n / 64)),
            "usage": st.fixed_dictionaries({"input_tokens": st.integers(0, 99), "output_tokens": st.integers(0, 99)}),
            "latency_s": st.floats(0.001, 500),
            "started_at": st.sampled_from(["2026-11-22T10:00:00.123Z", "2026-11-22T10:01:00.123Z"]),
        }
    ),
    max_size=20,
)


def book_of(lines: list[dict[str, Any]]) -> StatsByModel:
    book = StatsByModel()
    book.files = 1
    for line in lines:
        book.add(line)
    return book


def plain(book: StatsByModel) -> dict[str, Any]:
    """Return the counts, without latencies, which a summary has in classes."""
    fields = book.as_json()
    for counts in (fields, *fields["models"].values()):
        del counts["latency_s"]
    return fields


@given(LINES, LINES)
def test_summaries_add_up_to_what_the_lines_add_up_to(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    summaries = [json.loads(json.dumps(summary_of(str(n), book_of(lines)))) for n, lines in enumerate((one, other))]
    together = book_of(one + other)
    together.files = 2
    found = stats_of(summaries)
    assert plain(found) == plain(together)
    for rank, seconds in together.total().latency_s().items():
        assert found.total().latency_s()[rank] == pytest.approx(seconds, rel=0.011, abs=1e-4)


def summary(failures: dict[str, int], billed: int = 0) -> dict[str, Any]:
    return {"models": [[None, {"failures": failures, "billed_failures": billed}]]}


@pytest.mark.parametrize(
    ("fields", "redo", "needed"),
    [
        (summary({}), Redo(), False),
        (summary({"timeout": 2}), Redo(), True),
        (summary({"timeout": 2}), Redo("none"), False),
        (summary({"not_json": 2}, billed=2), Redo(), False),
        (summary({"not_json": 2}, billed=2), Redo("all"), True),
        (summary({"not_json": 2, "timeout": 1}, billed=2), Redo(), True),
        (summary({"invalid_record": 5, "duplicate_id": 1}), Redo("all"), False),
        (summary({"timeout": 1}), Redo(kinds=frozenset({"not_json"})), False),
        (summary({"timeout": 1}), Redo(kinds=frozenset({"timeout"})), True),
        (summary({}), Redo(ids=frozenset({"q1"})), True),
    ],
)
def test_a_complete_part_is_opened_again_when_something_of_it_would_be_sent(
    fields: dict[str, Any], redo: Redo, needed: bool
) -> None:
    assert needs_work(fields, redo) is needed
