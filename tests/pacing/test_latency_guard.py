"""How many may be in flight at a service that answers more slowly than at its best."""

import heapq
import random
from collections.abc import Callable

import pytest

from llmbatch.pacing.latency_guard import CROWD, OLD, LatencyGuard

Latency = Callable[[float, int], float]
"""Seconds that an answer takes, by the time at which its request leaves and those in flight then."""


class Client:
    """Keeps as many in flight as the guard allows, at first within a fifth of a second."""

    def __init__(self, limit: float) -> None:
        self.guard, self.limits = LatencyGuard(), [limit]
        self._now, self._departures, self._random = 0.0, 0, random.Random(7)
        self._crowd: list[tuple[float, int, float, int]] = []

    def answers(self, count: int, latency: Latency) -> list[float]:
        """Take so many answers; return all limits so far."""
        for _ in range(count):
            while (load := len(self._crowd) + 1) <= int(self.limits[-1]):
                leaves = self._now if self._departures >= self.limits[0] else self._random.uniform(0.0, 0.2)
                heapq.heappush(self._crowd, (leaves + latency(leaves, load), self._departures, leaves, load))
                self._departures += 1
            self._now, number, left, load = heapq.heappop(self._crowd)
            changed = self.guard.answered(self._now, self._now - left, 1, number, load, self.limits[-1])
            self.limits += [] if changed is None else [changed]
        return self.limits

    def refused(self, limit: float) -> None:
        """Lower the limit for another reason."""
        self.limits.append(limit)


def flat(now: float, load: int) -> float:
    return 1.0


@pytest.mark.parametrize(("sigma", "trials"), [(0.0, 0), (0.3, 0), (0.6, 0), (0.9, 1)])
@pytest.mark.parametrize("seed", range(8))
def test_latencies_that_differ_widely_are_not_taken_for_a_slowdown(sigma: float, trials: int, seed: int) -> None:
    source = random.Random(seed)
    found = Client(200.0).answers(8000, lambda now, load: source.lognormvariate(0.0, sigma))
    assert found[-1] == 200.0 and len(found) <= 1 + 2 * trials


@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize("most", [80, 150, 256])
def test_where_more_bring_fewer_answers_a_second_the_limit_goes_back_to_what_was_as_fast(
    sigma: float, most: int
) -> None:
    source = random.Random(7)

    found = Client(most).answers(3000, lambda now, load: (1 + (load / 32) ** 2) * source.lognormvariate(0.0, sigma))

    assert 16 <= found[-1] <= 64, "32 bring most answers a second, these at least four fifths of that"


@pytest.mark.parametrize(
    ("work", "sigma"), [(lambda load: 1 + load / 30, 0.3), (lambda load: max(1.0, load / 16), 0.0)]
)
def test_where_more_bring_a_few_more_answers_or_as_many_the_limit_stays(
    work: Callable[[int], float], sigma: float
) -> None:
    source = random.Random(7)
    assert Client(200.0).answers(3000, lambda now, load: work(load) * source.lognormvariate(0.0, sigma)) == [200.0]


@pytest.mark.parametrize("seed", range(8))
def test_in_a_queue_there_are_never_fewer_than_are_worked_on(seed: int) -> None:
    source = random.Random(seed)
    found = Client(200.0).answers(3000, lambda now, load: max(1.0, load / 16) * source.lognormvariate(0.0, 0.3))
    assert min(found) > 16.0


@pytest.mark.parametrize("times", [3.0, 10.0])
def test_a_limit_comes_back_where_less_in_flight_brings_fewer_answers(times: float) -> None:
    client = Client(100.0)
    assert client.answers(1000, flat) == [100.0]

    found = client.answers(4000, lambda now, load: times)

    assert found == [100.0, 50.0, 100.0], "it was slow for all of a sudden, and stays so"
    assert not client.guard.holds


def test_less_stays_where_a_service_begins_to_suffer_from_the_load() -> None:
    client = Client(100.0)
    client.answers(1000, flat)

    found = client.answers(4000, lambda now, load: (load / 20) ** 2)

    assert found == sorted(found, reverse=True) and found[-1] <= 50.0


def test_a_limit_that_a_refusal_has_lowered_since_does_not_come_back() -> None:
    client = Client(100.0)
    client.answers(1000, flat)
    while len(client.limits) < 2:
        client.answers(1, lambda now, load: 3.0)
    assert client.limits == [100.0, 50.0] and client.guard.holds

    client.refused(30.0)

    assert max(client.answers(1000, lambda now, load: 3.0)[2:]) == 30.0


def test_a_trial_is_judged_by_what_left_after_it_began_beside_the_best_that_left_before() -> None:
    guard, now = LatencyGuard(), 0.0

    def crowd(number: int, latency: float, load: int, limit: float, left: float) -> float | None:
        changed = [
            guard.answered(left + latency, latency, 1, CROWD * number + each, load, limit) for each in range(CROWD)
        ]
        return next((limit for limit in changed if limit is not None), None)

    assert crowd(0, 1.0, 40, 200.0, left=0.0) is None
    assert crowd(1, 4.0, 80, 200.0, left=1.0) == 40.0, "40 a second were 20"
    assert crowd(2, 5.0, 200, 40.0, left=3.0) is None and guard.holds, "those bring 40 a second, but left before"
    assert crowd(3, 1.5, 40, 40.0, left=10.0) == 200.0, "27 a second are more than 20, but fewer than 40"
    assert not guard.holds and guard.last_cut < now


def test_crowds_of_which_too_many_are_refused_are_not_judged_nor_kept_for_ever() -> None:
    guard = LatencyGuard()
    for number in range(4 * OLD):
        for each in range(CROWD // 2):
            assert guard.answered(float(number), 1.0 + number, 1, CROWD * number + each, 64, 64.0) is None
    assert len(guard._crowds) == OLD
