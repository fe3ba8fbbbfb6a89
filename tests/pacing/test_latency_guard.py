"""How many may be in flight at a service that answers more slowly than at its best."""

import heapq
import random
from collections.abc import Callable

import pytest

from llmbatch.pacing.latency_guard import BACK_OFF, SAMPLES, LatencyGuard

Latency = Callable[[float, int], float]
"""Seconds that an answer takes, by the time at which its request leaves and those in flight then."""


def limits(guard: LatencyGuard, latency: Latency, limit: float, answers: int, begins: float = 0.0) -> list[float]:
    """Keep the limit in flight, at first within a fifth of a second; return it, and all that the guard made of it."""
    found, now, mean, source = [limit], begins, 0.0, random.Random(7)
    crowd: list[tuple[float, float, float]] = []
    for number in range(answers):
        while len(crowd) < int(found[-1]):
            leaves = now if number else now + source.uniform(0.0, 0.2)
            heapq.heappush(crowd, (leaves + latency(now, len(crowd) + 1), source.random(), leaves))
        now, _, left = heapq.heappop(crowd)
        mean += (0.1 if mean else 1.0) * (now - left - mean)
        changed = guard.answered(now, now - left, 1, mean, found[-1])
        found += [] if changed is None else [changed]
    return found


@pytest.mark.parametrize(("sigma", "least"), [(0.0, 200.0), (0.3, 200.0), (0.9, 100.0)])
@pytest.mark.parametrize("seed", range(8))
def test_a_crowd_whose_quickest_answers_come_first_is_not_taken_for_a_slow_one(
    sigma: float, least: float, seed: int
) -> None:
    source = random.Random(seed)
    assert min(limits(LatencyGuard(), lambda now, crowd: source.lognormvariate(0.0, sigma), 200.0, 8000)) >= least


def test_a_queue_is_left_with_as_many_as_are_answered_in_a_bearable_time() -> None:
    guard, alone = LatencyGuard(), 1.0
    assert limits(guard, lambda now, crowd: alone, 4.0, 2 * SAMPLES) == [4.0]

    found = limits(guard, lambda now, crowd: max(1.0, crowd / 8.0), 128.0, 3000, begins=1000.0)

    assert found == sorted(found, reverse=True), "less in flight helps each time"
    assert 0.8 * BACK_OFF * 8 <= found[-1] <= 1.25 * BACK_OFF * 8


@pytest.mark.parametrize("times", [3.0, 10.0])
def test_a_limit_comes_back_where_less_in_flight_does_not_help(times: float) -> None:
    guard = LatencyGuard()
    assert limits(guard, lambda now, crowd: 1.0, 100.0, 1000) == [100.0]

    found = limits(guard, lambda now, crowd: times, 100.0, 4000, begins=1000.0)

    assert min(found) < 60.0 and found[-1] == 100.0 and len(found) <= 6, "it was slow for all of a sudden, and stays so"
    assert not guard.holds


def test_a_limit_that_a_refusal_has_lowered_since_does_not_come_back() -> None:
    guard = LatencyGuard()
    limits(guard, lambda now, crowd: 1.0, 100.0, 1000)
    cut = limits(guard, lambda now, crowd: 3.0, 100.0, 600, begins=1000.0)
    assert cut == sorted(cut, reverse=True) and 50.0 < cut[-1] < 100.0

    found = limits(guard, lambda now, crowd: 3.0, 30.0, 600, begins=2000.0)

    assert max(found) == 30.0


def test_what_left_before_a_cut_says_nothing_about_the_time_after_it() -> None:
    guard = LatencyGuard()
    limits(guard, lambda now, crowd: 1.0, 32.0, 200)
    slow = [guard.answered(1000.0 + n, 5.0, 1, 1.0, 32.0) for n in range(SAMPLES)]
    assert sum(limit is not None for limit in slow) == 1
    late = [guard.answered(1010.0 + SAMPLES, 5.0 + SAMPLES, 1, 1.0, 16.0) for n in range(10 * SAMPLES)]
    assert late == [None] * 10 * SAMPLES


def test_one_lucky_minute_does_not_count_for_ever() -> None:
    guard = LatencyGuard()
    limits(guard, lambda now, crowd: 1.0, 16.0, 200)
    limits(guard, lambda now, crowd: 2.0, 16.0, 300, begins=1000.0)
    assert guard.holds
    limits(guard, lambda now, crowd: 2.0, 16.0, 4000, begins=3000.0)
    assert not guard.holds
