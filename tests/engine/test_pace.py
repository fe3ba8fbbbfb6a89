"""Whole runs in virtual time against modelled services: the pace is found and held."""

import math
import random
from collections import deque

import pytest

from llmbatch.core.job import Request
from llmbatch.flow.bucket import Bucket
from llmbatch.flow.gate import Gate
from llmbatch.flow.limit import Limit
from tests.support.scripted import Attempt, Run, answer, error, job, play

MINUTE = 60.0


class Service:
    """A service with log-normal latency that refuses what goes beyond its limits."""

    def __init__(
        self,
        *,
        latency: float = 4.0,
        spread: float = 0.6,
        concurrency: int | None = None,
        rpm: int | None = None,
        hint: str | None = None,
    ) -> None:
        self._latency, self._spread = latency, spread
        self._concurrency, self._rpm, self._hint = concurrency, rpm, hint
        self._random = random.Random(5)
        self._ends: list[float] = []
        self._admitted: deque[float] = deque()
        self.refused = 0
        self.answered: list[float] = []

    def __call__(self, now: float) -> Attempt:
        self._ends = [end for end in self._ends if end > now]
        while self._admitted and self._admitted[0] <= now - MINUTE:
            self._admitted.popleft()
        crowded = self._concurrency is not None and len(self._ends) >= self._concurrency
        spent = self._rpm is not None and len(self._admitted) >= self._rpm
        if crowded or spent:
            self.refused += 1
            headers = {"retry_after": self._hint} if self._hint else {}
            return 0.05, error(429, "rate_limit_exceeded", **headers)
        took = self._latency * math.exp(self._random.gauss(0.0, self._spread))
        self._ends.append(now + took)
        self._admitted.append(now)
        self.answered.append(now + took)
        return took, answer()


def run_against(service: Service, records: int, *, gate: Gate, workers: int = 256) -> Run:
    import asyncio

    def script(request: Request, number: int) -> Attempt:
        return service(asyncio.get_running_loop().time())

    return play(
        (job(index) for index in range(records)),
        script,
        workers=workers,
        batch=64,
        random=random.Random(3).random,
        new_gate=lambda: gate,
    )


def adaptive(ceiling: int = 256) -> Gate:
    return Gate(Limit(ceiling, adaptive=True), Bucket(), Bucket())


def steady_rate(service: Service) -> float:
    """Answers a second between the first and the last tenth."""
    times = sorted(service.answered)
    early, late = times[len(times) // 10], times[len(times) * 9 // 10]
    return 0.8 * len(times) / (late - early)


@pytest.mark.parametrize("hint", [None, "1"])
@pytest.mark.parametrize(("capacity", "latency"), [(8, 4.0), (32, 0.5), (32, 4.0), (100, 4.0)])
def test_an_unknown_limit_on_concurrency_is_found_and_held(capacity: int, latency: float, hint: str | None) -> None:
    service = Service(latency=latency, concurrency=capacity, hint=hint)

    run = run_against(service, 3000, gate=adaptive())

    assert run.sink.ok == 3000
    ideal = capacity / (latency * math.exp(0.6**2 / 2))
    assert steady_rate(service) >= 0.9 * ideal
    assert service.refused <= 0.05 * (3000 + service.refused)


def test_without_a_limit_concurrency_grows_to_its_ceiling() -> None:
    service = Service(latency=4.0)

    run = run_against(service, 4000, gate=adaptive(200))

    assert run.world.peak >= 190
    assert run.world.peak <= 200


@pytest.mark.parametrize("rpm", [60, 600, 3000])
def test_a_known_rate_is_used_up_without_one_refusal(rpm: int) -> None:
    service = Service(latency=2.0, rpm=rpm)
    gate = Gate(Limit(256, adaptive=True), Bucket(rpm), Bucket())

    run = run_against(service, rpm * 5, gate=gate)

    assert run.sink.ok == rpm * 5
    assert service.refused == 0
    assert steady_rate(service) >= 0.98 * rpm / 60


def test_the_first_request_travels_alone() -> None:
    service = Service(latency=1.0)

    run = run_against(service, 50, gate=adaptive())

    first, second = sorted(sent for sent, _ in run.world.sent)[:2]
    assert second - first >= min(service.answered) - 1e-6
