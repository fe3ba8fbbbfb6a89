"""Refusals of fixed slots and of fixed rates are never contradicted; those of a service that has neither soon are."""

import heapq
import random
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.pacing.departures import Departures

KNOWN_LATER = 6
LOADS = st.lists(st.tuples(st.integers(1, 90), st.integers(5, 60)), min_size=2, max_size=8)
"""Allowed loads, and after how many departures each changes."""


def contradictions(admits: Callable[[float, int], bool], loads: list[tuple[int, int]], seed: int) -> int:
    """Count the refusals that are contradicted while the load changes; answers take a second or so."""
    source, ends, now, refused = random.Random(seed), list[float](), 0.0, list[int]()
    departures, number, found = Departures(refused, 400), 0, 0
    for most, length in loads:
        for _ in range(length):
            now += source.expovariate(4.0 * most)
            while len(ends) >= most or (ends and ends[0] <= now):
                now = max(now, heapq.heappop(ends))
            departures.departed(now, len(ends) + 1)
            if admits(now, len(ends)):
                heapq.heappush(ends, now + source.uniform(0.5, 1.5))
            else:
                refused.append(number)
                found += departures.contradict_limit(number, number - KNOWN_LATER)
            number += 1
    return found


@given(LOADS, st.integers(1, 60), st.integers(0, 9))
def test_slots_that_stay_the_same_are_never_contradicted(loads: list[tuple[int, int]], slots: int, seed: int) -> None:
    assert not contradictions(lambda now, others: others < slots, loads, seed)


@given(LOADS, st.floats(2.0, 80.0), st.integers(1, 40), st.integers(0, 9))
def test_a_rate_that_stays_the_same_is_never_contradicted(
    loads: list[tuple[int, int]], rate: float, burst: int, seed: int
) -> None:
    level, at = float(burst), 0.0

    def admits(now: float, others: int) -> bool:
        nonlocal level, at
        level, at = level + (now - at) * rate, now
        admitted = level >= 1.0
        level -= admitted
        return admitted

    assert not contradictions(admits, loads, seed)


def test_a_service_that_refuses_some_at_any_load_contradicts_both_soon() -> None:
    loads = [(64, 120), (16, 60)]
    found = []
    for seed in range(20):
        source = random.Random(seed)
        found.append(contradictions(lambda now, others: source.random() > 0.2, loads, seed))  # noqa: B023
    assert sum(count > 0 for count in found) >= 15


def test_departures_before_the_first_refusals_contradict_nothing() -> None:
    refused = [30]
    departures = Departures(refused, 400)
    for number in range(31):
        departures.departed(number / 100.0, 31 - number)
    assert not departures.contradict_limit(30, 30)
    assert not departures.contradict_limit(99, 30)
