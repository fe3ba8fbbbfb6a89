"""The services and jobs of `make bench-pace`, with its bars, in virtual time: also at a third and at three times the
latencies, which the bars do not depend on."""

import heapq
import random
from statistics import median
from typing import NamedTuple

import pytest

from llmbatch.core.exchange import Reply, Request
from tests.support.clients import Model, llmbatch_takes, semaphore_takes
from tests.support.deep import DEEP
from tests.support.scripted import Attempt, answer, error
from tests.support.service_kinds import STRETCHES, Unlucky
from tests.support.services import Announcing, BurstBucket, FixedWindow, Limiter, Service, SlidingWindow, log_normal

SEEDS = range(31, 40) if DEEP else range(31, 34)
at_any_latency = pytest.mark.parametrize("stretch", STRETCHES)


class Outcome(NamedTuple):
    """The seconds that a job took, and the share of its requests that were refused."""

    seconds: float
    refused: float


class Watched:
    """Counts the refusals of a service."""

    def __init__(self, service: Model) -> None:
        self.service, self.sent, self.refused = service, 0, 0

    def attempt(self, now: float, request: Request) -> Attempt:
        took, reply = self.service.attempt(now, request)
        self.sent += 1
        self.refused += isinstance(reply, Reply) and reply.status in (429, 503)
        return took, reply


def run(records: int, service: Model, seed: int, **flags: float | None) -> Outcome:
    watched = Watched(service)
    return Outcome(llmbatch_takes(records, watched, seed, **flags), watched.refused / watched.sent)  # type: ignore[arg-type]


def plain(latency: float, seed: int, *limiters: Limiter) -> Service:
    return Service(*limiters, latency=log_normal(latency, 0.3), seed=seed)


def ideal(records: int, latency: float, seed: int, at_once: int, rate: float | None = None, burst: int = 0) -> float:
    """Return the seconds that a client needs which knows the service."""
    source, draw = random.Random(seed), log_normal(latency, 0.3)
    slots, last = [0.0] * at_once, 0.0
    for number in range(1, records + 1):
        ends = max(slots[0], (number - burst) / rate if rate else 0.0) + draw(source)
        heapq.heapreplace(slots, ends)
        last = max(last, ends)
    return last


@at_any_latency
@pytest.mark.parametrize(("records", "latency", "fixed"), [(100, 5.0, 100), (1000, 5.0, 256), (30, 10.0, 30)])
def test_rows_1_to_3_take_at_most_half_as_long_again_as_a_fixed_number(
    records: int, latency: float, fixed: int, stretch: float
) -> None:
    def takes(seed: int, **flags: float | None) -> float:
        return run(records, plain(latency * stretch, seed), seed, **flags).seconds

    assert median(takes(seed) / takes(seed, fixed=fixed) for seed in SEEDS) <= 1.5


@at_any_latency
@pytest.mark.parametrize("fixed", [None, 64])
@pytest.mark.parametrize(("status", "headers"), [(429, {"retry_after": "1"}), (429, {}), (503, {})])
def test_rows_4_to_6_reach_seven_tenths_of_the_ideal(
    status: int, headers: dict[str, str], fixed: int | None, stretch: float
) -> None:
    def takes(seed: int) -> float:
        service = Unlucky(plain(0.5 * stretch, seed), 0.05, seed, status, **headers)
        return run(1500, service, seed, fixed=fixed).seconds

    assert median(ideal(1500, 0.5 * stretch, seed, 64) / takes(seed) for seed in SEEDS) >= 0.7


@at_any_latency
def test_row_7_an_announced_bucket_is_used_up(stretch: float) -> None:
    def takes(seed: int) -> float:
        bucket = BurstBucket(600, 20)
        return run(600, Announcing(plain(5.0 * stretch, seed, bucket), bucket), seed).seconds

    assert median(ideal(600, 5.0 * stretch, seed, 256, 10.0, 20) / takes(seed) for seed in SEEDS) >= 0.9


@at_any_latency
@pytest.mark.parametrize("phase", [0.0, -5.0, -40.0])
def test_an_announced_window_is_used_up_and_never_exceeded(phase: float, stretch: float) -> None:
    for seed in SEEDS:
        window = FixedWindow(100, phase)
        service = plain(2.0 * stretch, seed, window)
        outcome = run(350, Announcing(service, window), seed)
        # Only what left before the first answer told of the limit is refused.
        assert all(moment < min(service.answered) for moment in service.refusals)
        assert outcome.seconds <= 1.1 * (180.0 + phase + 2.0 * stretch * 2)


@at_any_latency
@pytest.mark.parametrize("phase", [0.0, -0.4, -0.8])
def test_windows_of_a_second_are_used_up_and_never_exceeded(phase: float, stretch: float) -> None:
    """They are announced as Together does, which tells a reset of one always."""
    for seed in SEEDS:
        window = FixedWindow(10, phase, 1.0)
        service = plain(1.5 * stretch, seed, window)
        told = Announcing(service, window, names="x-ratelimit-{}", reset=lambda seconds: "1")
        outcome = run(300, told, seed)
        assert all(moment < min(service.answered) for moment in service.refusals)
        assert outcome.seconds <= 1.1 * 30.0 + 1.5 * stretch * 2


def test_an_announced_window_that_slides_is_used_up() -> None:
    for seed in SEEDS:
        window = SlidingWindow(600)
        outcome = run(2000, Announcing(plain(0.67, seed, window), window), seed)
        assert outcome.refused <= 0.05
        assert outcome.seconds <= 1.1 * 181.0


@pytest.mark.parametrize("limit", [30, 60])
def test_a_rate_that_held_is_not_given_up_at_the_first_refusal(limit: int) -> None:
    """A minute that slides admits a crowd after a pause, which contradicts a rate, but not a limit per minute."""
    outcomes = [run(4 * limit + 30, plain(0.67, seed, SlidingWindow(limit)), seed) for seed in SEEDS]

    assert median(refused for _, refused in outcomes) <= 0.3


class Slices:
    """A limiter of so many in each second of the clock."""

    def __init__(self, limit: int) -> None:
        self._limit, self._second, self._count = limit, -1, 0

    def admits(self, now: float, in_flight: int, units: float) -> bool:
        if int(now) != self._second:
            self._second, self._count = int(now), 0
        return self._count < self._limit

    def take(self, now: float, units: float) -> None:
        self._count += 1


@at_any_latency
def test_row_8_a_named_rate_is_kept_in_slices_of_a_second(stretch: float) -> None:
    outcomes = [run(1000, plain(0.5 * stretch, seed, Slices(40)), seed, rpm=2400) for seed in SEEDS]

    assert median(refused for _, refused in outcomes) <= 0.002
    assert median(seconds for seconds, _ in outcomes) <= 1.1 * 1000 / 40 + 2 * 0.5 * stretch


@at_any_latency
def test_row_9_a_small_bucket_that_nobody_announced_is_found_with_few_refusals(stretch: float) -> None:
    outcomes = [run(60, plain(5.0 * stretch, seed, BurstBucket(60, 5)), seed) for seed in SEEDS]

    assert median(refused for _, refused in outcomes) <= 0.05
    assert median(seconds for seconds, _ in outcomes) <= 1.2 * (55.0 + 5.0 * stretch * 1.5)


@at_any_latency
@pytest.mark.parametrize("takes", [0.03, 0.085])
def test_few_leave_beyond_a_small_bucket_before_its_first_refusal_is_back(takes: float, stretch: float) -> None:
    def bucket(seed: int) -> Service:
        return Service(BurstBucket(60, 5), latency=log_normal(5.0 * stretch, 0.3), seed=seed, refusal_takes=takes)

    assert median(run(60, bucket(seed), seed).refused for seed in SEEDS) <= 0.05


class Troubled:
    """Answers at once, where it does: one in ten is refused with 429, one in twenty with 503, one in fifty fails."""

    def __init__(self, headers: dict[str, str], seed: int) -> None:
        self._headers, self._random = headers, random.Random(seed)

    def attempt(self, now: float, request: Request) -> Attempt:
        draw = self._random.random()
        if draw < 0.15:
            return 0.005, error(429 if draw < 0.1 else 503, **self._headers)
        return 0.005, error(500) if draw < 0.17 else answer()


@pytest.mark.parametrize("fixed", [None, 64])
@pytest.mark.parametrize("headers", [{"retry_after": "1"}, {}])
def test_row_11_takes_at_most_twice_as_long_as_the_openai_client(headers: dict[str, str], fixed: int | None) -> None:
    def times(seed: int) -> float:
        peer = semaphore_takes(300, Troubled(headers, seed), 64, seed)
        return run(300, Troubled(headers, seed), seed, fixed=fixed).seconds / peer

    assert median(map(times, SEEDS)) <= 2.0
