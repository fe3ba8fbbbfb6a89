"""A learned rate stays for a span, and then grows. The span is longer the more often the rate was confirmed."""

import pytest

from llmbatch.pacing.rate_growth import ALIKE, FIRST, LONGEST, SHORTEST, RateGrowth

RATE = 6000.0


def doubles_after(growth: RateGrowth, now: float) -> float:
    """Return after how many seconds of use the rate is twice as high."""
    begin, seconds = growth.rate(now, used=True), 0.0
    while growth.rate(now + seconds, used=True) < 2 * begin:
        seconds += 0.1
    return seconds


def grown(growth: RateGrowth, now: float, times: float) -> tuple[float, float]:
    """Use the rate until it is so many times as high; return when, and the rate."""
    begin = rate = growth.rate(now, used=True)
    while rate < times * begin:
        now += 0.1
        rate = growth.rate(now, used=True)
    return now, rate


def test_it_begins_a_little_low_and_is_as_high_after_a_span() -> None:
    growth = RateGrowth()
    growth.learned(RATE, 0.0)
    assert growth.rate(0.0, used=True) == pytest.approx(0.95 * RATE)
    assert growth.rate(FIRST, used=True) == pytest.approx(RATE, rel=0.01)
    assert growth.rate(4 * FIRST, used=True) > 10 * RATE


def test_time_in_which_nothing_waits_for_it_does_not_count() -> None:
    growth = RateGrowth()
    growth.learned(RATE, 0.0)
    assert growth.rate(1000.0, used=False) == growth.rate(1000.0, used=True) == 0.95 * RATE


def test_a_refusal_near_it_makes_the_next_span_longer_up_to_a_minute() -> None:
    growth, now = RateGrowth(), 0.0
    growth.learned(RATE, now)
    times = [doubles_after(growth, now)]
    for _ in range(4):
        now += 100.0
        growth.lowered(RATE, RATE, now)
        times.append(doubles_after(growth, now))
    assert times[1] == pytest.approx(2 * times[0], rel=0.05)
    assert times[3] == times[4] == pytest.approx(times[0] * LONGEST / FIRST, rel=0.05)


def test_a_refusal_far_above_it_makes_the_next_span_shorter_down_to_a_bound() -> None:
    growth, now = RateGrowth(), 0.0
    growth.learned(RATE, now)
    for _ in range(4):
        now, rate = grown(growth, now, 1.5 * ALIKE)
        growth.lowered(0.9 * rate, rate, now)
    alone = RateGrowth()
    alone.learned(RATE, 0.0)
    assert doubles_after(growth, now) == pytest.approx(doubles_after(alone, 0.0) * SHORTEST / FIRST, rel=0.05)


@pytest.mark.parametrize(("second", "span"), [(1.2 * RATE, LONGEST), (RATE / 1.2, LONGEST), (2 * RATE, FIRST)])
def test_two_measurements_that_agree_are_kept_for_a_minute(second: float, span: float) -> None:
    growth = RateGrowth()
    growth.learned(RATE, 0.0)
    growth.learned(second, 100.0)
    growth.rate(100.0, used=True)
    assert growth.rate(100.0 + span, used=True) == pytest.approx(second, rel=0.01)


def test_a_span_has_as_many_requests_as_a_refusal_may_cost() -> None:
    growth = RateGrowth()
    growth.learned(60.0, 0.0)
    assert growth.rate(60.0, used=True) < 60.0 < growth.rate(70.0, used=True)


def test_a_rate_held_once_it_was_used_for_half_a_minute_without_a_refusal() -> None:
    growth = RateGrowth()
    growth.learned(60.0, 0.0)
    growth.rate(29.0, used=True)
    assert not growth.held
    growth.rate(31.0, used=True)
    assert growth.held

    growth.lowered(57.0, 60.0, 31.0)

    assert not growth.held
