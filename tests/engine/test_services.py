"""Jobs of a fixed size on services as people meet them: seconds of latency, scattered refusals. In virtual time.

Each is held against a fixed number that knows the service, or against what the service could do; the median of seeds
counts, since latencies and refusals are drawn.
"""

import asyncio
import random
from statistics import median

import pytest

from llmbatch.core.exchange import Request
from llmbatch.core.outcome import Completion, Outcome
from llmbatch.pacing.concurrency_limit import ConcurrencyLimit
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.token_bucket import TokenBucket
from tests.support.scripted import Attempt, error, job, play
from tests.support.services import Queue, Service, log_normal

SEEDS = range(11, 16)


class Scattered:
    """A service that refuses a share of all requests at random, whatever its load is."""

    def __init__(self, service: Service, share: float, status: int, retry_after: str | None, seed: int) -> None:
        self.service = service
        self.refused_until: dict[int, float] = {}
        """Until when each record was told to wait."""
        self.too_early = 0
        self._share, self._status, self._retry_after = share, status, retry_after
        self._random = random.Random(seed)

    def __call__(self, request: Request, number: int) -> Attempt:
        now = asyncio.get_running_loop().time()
        index = request.jobs[0].identity.index
        self.too_early += now < self.refused_until.get(index, 0.0) - 1e-9
        if self._random.random() < self._share:
            if self._retry_after is None:
                return 0.05, error(self._status)
            self.refused_until[index] = now + 0.05 + float(self._retry_after)
            return 0.05, error(self._status, retry_after=self._retry_after)
        return self.service(request, number)


def seconds(records: int, script: object, *, fixed: int | None, seed: int, silent: int = 64) -> float:
    """Run a job to its end; return how long it took. Every record must have its answer."""
    ceiling = fixed or 256
    gate = Gate(ConcurrencyLimit(ceiling, adaptive=fixed is None, silent=silent), TokenBucket(), TokenBucket())
    run = play(
        (job(index) for index in range(records)),
        script,  # type: ignore[arg-type]
        workers=ceiling,
        batch=64,
        random=random.Random(seed).random,
        new_gate=lambda: gate,
    )
    verdicts = [outcome.verdict for outcome in run.sink.outcomes if isinstance(outcome, Outcome)]
    assert sum(isinstance(verdict, Completion) for verdict in verdicts) == records
    return run.took


@pytest.mark.parametrize(
    ("records", "latency", "knows"),
    [(100, 5.0, 100), (1000, 5.0, 256), (30, 10.0, 30), (100, 15.0, 100)],
)
def test_growth_does_not_wait_for_slow_answers(records: int, latency: float, knows: int) -> None:
    def took(fixed: int | None) -> float:
        return median(
            seconds(records, Service(latency=log_normal(latency, 0.3), seed=seed), fixed=fixed, seed=seed)
            for seed in SEEDS
        )

    assert took(None) <= 1.5 * took(knows)


@pytest.mark.parametrize("fixed", [None, 64])
@pytest.mark.parametrize(("status", "retry_after"), [(429, "1"), (429, None), (503, None)])
def test_scattered_refusals_hold_their_own_records_only(
    status: int, retry_after: str | None, fixed: int | None
) -> None:
    ideal = 1500 * 0.5 * 1.046 / 0.95 / 64  # 1.046: the mean of log-normal latencies with sigma 0.3
    took, early = [], 0
    for seed in SEEDS:
        service = Scattered(Service(latency=log_normal(0.5, 0.3), seed=seed), 0.05, status, retry_after, seed)
        took.append(seconds(1500, service, fixed=fixed, seed=seed))
        early += service.too_early
    assert ideal / median(took) >= 0.7
    assert early == 0


def test_one_slot_that_queues_ends_without_a_failed_record() -> None:
    service = Service(latency=log_normal(25.0, 0.3), queue=Queue(1))
    took = seconds(40, service, fixed=None, seed=3, silent=8)
    assert took >= 40 * 25 * 0.7
