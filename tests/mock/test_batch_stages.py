"""Where a batch stands follows from times alone."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.mock.batch import Batch, Checked, Ended, Problem, Stage

COUNTS = {"succeeded": 8, "failed": 0, "expired": 0, "cancelled": 0}
TIMES = st.floats(0, 30)


def batch(*, cancelled: float | None = None, problem: Problem | None = None, ended: Ended | None = None) -> Batch:
    checked = Checked(1.0, 0 if problem else 8, problem=problem)
    return Batch("b", "openai", 0, 0.0, 10.0, "f", checked=checked, cancelled=cancelled, ended=ended)


@pytest.mark.parametrize(
    ("now", "stage", "run"),
    [
        (0.0, Stage.CHECKING, 0),
        (1.0, Stage.RUNNING, 0),
        (4.5, Stage.RUNNING, 4),
        (8.0, Stage.FINISHING, 8),
        (30.0, Stage.FINISHING, 8),
    ],
)
def test_a_batch_passes_all_stages(now: float, stage: Stage, run: int) -> None:
    assert (batch().stage(now), batch().rows_run(now)) == (stage, run)


@given(TIMES, st.lists(TIMES, min_size=2).map(sorted))
def test_rows_only_ever_run_and_none_after_a_cancellation(cancelled: float, times: list[float]) -> None:
    one = batch(cancelled=cancelled)
    assert all(one.rows_run(before) <= one.rows_run(after) <= 8 for before, after in pairwise(times))
    assert one.rows_run(100.0) == one.rows_run(cancelled)
    assert one.ends <= 10.0 or one.cancelled is None


def test_the_end_says_what_became_of_the_rows() -> None:
    expired = Ended(10.0, {**COUNTS, "expired": 1}, {}, (None, None), {})
    done = Ended(10.0, COUNTS, {}, (None, None), {})
    assert batch(ended=done).stage(10.0) is Stage.COMPLETED
    assert batch(ended=expired).stage(10.0) is Stage.EXPIRED
    assert batch(ended=done, cancelled=3.0).stage(10.0) is Stage.CANCELLED
    assert batch(problem=Problem("empty_file", "")).stage(1.0) is Stage.FAILED


@given(st.none() | TIMES, st.booleans())
def test_a_batch_is_the_same_after_json(cancelled: float | None, over: bool) -> None:
    ended = Ended(10.0, COUNTS, {"input": 1}, ("file-1", None), {"a": 2}) if over else None
    one = batch(cancelled=cancelled, ended=ended)
    assert Batch.load(one.dump()) == one
