"""Answers are compared with those of the first few requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.pacing.latency_baseline import AS_QUICK, LatencyBaseline

SECONDS = st.floats(min_value=0.001, max_value=600.0)
FEW = 12


@given(first=st.lists(SECONDS, min_size=1, max_size=FEW), crowd=SECONDS, load=st.integers(FEW + 1, 256))
def test_an_answer_is_quick_if_it_took_hardly_longer_than_the_first_ones_on_average(
    first: list[float], crowd: float, load: int
) -> None:
    baseline = LatencyBaseline(FEW)
    for number, latency in enumerate(first):
        baseline.is_as_quick(latency, 1, number + 1)
    mean = sum(first) / len(first)

    quick = baseline.is_as_quick(crowd, 1, load)

    assert quick == (crowd <= AS_QUICK * mean) or crowd == pytest.approx(AS_QUICK * mean)


@given(latency=SECONDS, tokens=st.integers(1, 5000), times=st.integers(2, 50))
def test_an_answer_that_is_only_longer_is_not_slower(latency: float, tokens: int, times: int) -> None:
    baseline = LatencyBaseline(FEW)
    baseline.is_as_quick(latency, tokens, 1)

    assert baseline.is_as_quick(times * latency, times * tokens, 64)
    assert not baseline.is_as_quick(2 * latency, tokens, 64)


def test_answers_of_a_crowd_are_no_baseline() -> None:
    baseline = LatencyBaseline(FEW)
    baseline.is_as_quick(1.0, 1, 1)
    for _ in range(100):
        assert not baseline.is_as_quick(4.0, 1, FEW + 1)
