"""Whole runs in virtual time against modelled services: the pace is found and held, and patience pays."""

import asyncio
import json
import math
import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from llmbatch.core.errors import CeilingReached
from llmbatch.core.exchange import Reply, Request
from llmbatch.core.fault import Fault, Kind, Scope
from llmbatch.core.job import Job
from llmbatch.core.settings import PatienceSettings
from llmbatch.pacing.concurrency_limit import CANARY, DOUBLING, SILENT, ConcurrencyLimit
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.token_bucket import TokenBucket
from tests.support.scripted import Run, error, job, play
from tests.support.services import (
    BurstBucket,
    Concurrency,
    FixedWindow,
    Latency,
    Limiter,
    Outage,
    Queue,
    Service,
    SlidingWindow,
    constant,
    log_normal,
)

MINUTE = 60.0
GONE = Fault(kind=Kind.CONNECTION, message="refused", scope=Scope.RUN, retry=True)
BUSY = error(503)


def run_for(minutes: float, service: Service, gate: Gate | None = None, *, seed: int = 3, workers: int = 256) -> Run:
    """Run with more work than can be done in that time."""

    async def stop(run: Run) -> None:
        await asyncio.sleep(minutes * MINUTE)
        run.pipeline.stop(CeilingReached("enough"), grace=0.0)

    return run_against(service, (job(index) for index in range(1_000_000)), gate, stop, seed=seed, workers=workers)


def run_against(service: Service, records: object, gate: Gate | None, *alongside: object, **options: object) -> Run:
    chosen = gate or adaptive()
    seed = options.pop("seed", 3)
    return play(
        records,  # type: ignore[arg-type]
        service,
        *alongside,  # type: ignore[arg-type]
        **{"workers": 256, "batch": 64, "random": random.Random(seed).random, "new_gate": lambda: chosen} | options,  # type: ignore[arg-type]
    )


def adaptive(ceiling: int = 256, *, rpm: float | None = None, tpm: float | None = None) -> Gate:
    return Gate(ConcurrencyLimit(ceiling, adaptive=True), TokenBucket(rpm), TokenBucket(tpm))


def mean(latency: float, sigma: float = 0.6) -> float:
    """The mean of log-normal latencies with this median."""
    return latency * math.exp(sigma**2 / 2)


# limits that nobody names


@pytest.mark.sampled(5)
@pytest.mark.parametrize("hint", [None, "1"])
@pytest.mark.parametrize(
    ("capacity", "latency", "usual"),
    [
        (8, log_normal(4.0), mean(4.0)),
        (32, log_normal(0.5), mean(0.5)),
        (32, log_normal(4.0), mean(4.0)),
        (32, constant(0.5), 0.5),
        (32, constant(4.0), 4.0),
        (100, log_normal(4.0), mean(4.0)),
    ],
)
def test_an_unknown_limit_on_concurrency_is_found_and_held(
    capacity: int, latency: Latency, usual: float, hint: str | None
) -> None:
    service = Service(Concurrency(capacity), latency=latency, headers={"retry_after": hint} if hint else None)

    run_for(4, service)

    assert service.admitted_in(MINUTE, 4 * MINUTE) >= 0.9 * 3 * MINUTE * capacity / usual
    assert service.refused_share <= 0.05


@pytest.mark.sampled(5)
@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("latency", [log_normal(0.5), constant(0.5), log_normal(2.0)])
@pytest.mark.parametrize("rpm", [600, 1500])
@pytest.mark.parametrize(
    "limiter",
    [
        SlidingWindow,
        lambda rpm: FixedWindow(rpm, 20.0),
        lambda rpm: BurstBucket(rpm, rpm),
        lambda rpm: BurstBucket(rpm, rpm / 6),
    ],
    ids=["sliding window", "fixed window", "full bucket", "bucket of ten seconds"],
)
def test_an_unknown_rate_is_found_and_held(
    limiter: Callable[[float], Limiter], rpm: int, latency: Latency, seed: int
) -> None:
    service = Service(limiter(rpm), latency=latency, seed=seed)

    run_for(4, service, seed=seed)

    assert len(service.admitted) >= 0.9 * 4 * rpm
    assert service.refused_share <= 0.05


def test_a_rate_that_counts_refused_requests_too_is_found() -> None:
    service = Service(SlidingWindow(600), latency=log_normal(0.5), counts_refused=True)

    run_for(4, service)

    assert len(service.admitted) >= 0.8 * 4 * 600
    assert service.refused_share <= 0.05


def test_a_rate_that_doubles_is_found_again() -> None:
    class Doubling(BurstBucket):
        def admits(self, now: float, in_flight: int, units: float) -> bool:
            self._rate = 10.0 if now < 3 * MINUTE else 20.0
            return super().admits(now, in_flight, units)

    service = Service(Doubling(600, 100), latency=log_normal(0.5))

    run_for(8, service)

    assert service.admitted_in(6 * MINUTE, 8 * MINUTE) >= 0.85 * 2 * 1200
    assert service.refused_share <= 0.05


def test_without_a_limit_concurrency_grows_to_its_ceiling() -> None:
    service = Service(latency=log_normal(4.0))

    run = run_for(2, service, adaptive(200))

    assert 190 <= run.world.peak <= 200


def test_a_server_that_queues_instead_of_refusing_is_not_buried() -> None:
    service = Service(latency=log_normal(0.5, 0.3), queue=Queue(32))

    run_for(5, service)

    assert len(service.admitted) >= 0.85 * 5 * MINUTE * 32 / mean(0.5, 0.3)
    waits = [end - begin for begin, end in zip(service.admitted, service.answered, strict=True)]
    assert sorted(waits[len(waits) // 2 :])[len(waits) // 4] < 5 * 0.5


def test_a_server_that_queues_has_hardly_more_in_flight_than_may_be_sent_on_silence() -> None:
    service = Service(latency=log_normal(0.5, 0.3), queue=Queue(8))

    run = run_for(2, service)

    assert run.world.peak <= 1.5 * SILENT


def test_quick_answers_let_more_leave_than_silence_alone() -> None:
    service = Service(latency=constant(5.0))

    run = run_against(service, (job(index) for index in range(1000)), None)

    begins, ends = min(service.admitted), sorted(service.answered)
    assert sum(begin < ends[0] for begin in service.admitted) == SILENT, "more than that wait for answers"
    assert run.world.peak == 256
    assert max(service.answered) - begins < 1.3 * 5.0 * math.ceil(1000 / 256)


def test_the_first_request_travels_alone() -> None:
    service = Service(latency=log_normal(1.0))

    run = run_against(service, (job(index) for index in range(50)), None)

    first, second = sorted(sent for sent, _ in run.world.sent)[:2]
    assert second - first >= min(CANARY, *service.answered) - 1e-6


def test_slow_start_doubles_as_fast_as_it_says() -> None:
    service = Service(latency=constant(0.4))

    run = run_against(service, (job(index) for index in range(400)), None)

    moments = sorted(sent for sent, _ in run.world.sent)
    assert moments[100] - moments[0] <= CANARY + 1.1 * DOUBLING * math.log2(100)


# limits that the user names


@pytest.mark.parametrize(("rpm", "limiter"), [(60, SlidingWindow), (600, SlidingWindow), (3000, SlidingWindow)])
def test_a_known_rate_is_used_up_without_one_refusal(rpm: int, limiter: Callable[[float], Limiter]) -> None:
    service = Service(limiter(rpm), latency=log_normal(2.0))

    run_for(4, service, adaptive(rpm=rpm))

    assert service.refusals == []
    assert service.admitted_in(MINUTE, 4 * MINUTE) >= 0.98 * 3 * rpm


@pytest.mark.parametrize("size", [40, 400])
def test_known_tokens_are_used_up_by_estimates_that_learn_from_what_was_used(size: int) -> None:
    tpm, source = 60_000.0, random.Random(4)

    def sized(index: int) -> Job:
        made = job(index)
        made.tokens = source.randint(size // 2, size * 3 // 2)  # what we think
        return made

    def truth(request: Request) -> float:
        return 1.5 * request.jobs[0].tokens + 100.0  # what is counted

    def reply(request: Request) -> Reply:
        usage = {"prompt_tokens": int(1.5 * request.jobs[0].tokens), "completion_tokens": 100}
        body = {"model": "m", "choices": [{"message": {"content": "t"}, "finish_reason": "stop"}], "usage": usage}
        return Reply(200, {}, json.dumps(body).encode())

    service = Service(weighing=[SlidingWindow(tpm)], units=truth, reply=reply, latency=log_normal(1.0))
    gate = adaptive(tpm=tpm)

    async def stop(run: Run) -> None:
        await asyncio.sleep(4 * MINUTE)
        run.pipeline.stop(CeilingReached("enough"), grace=0.0)

    run_against(service, map(sized, range(100_000)), gate, stop)

    used = service.admitted_in(MINUTE, 4 * MINUTE) * (1.5 * size + 100.0)
    assert used >= 0.9 * 3 * tpm
    assert service.refused_share <= 0.02


# outages and storms


@pytest.mark.sampled(5)
@pytest.mark.parametrize("ceiling", [None, 200])
@pytest.mark.parametrize("result", [GONE, BUSY, error(503, retry_after="7")])
def test_an_outage_is_met_by_one_probe_at_a_time_and_costs_no_record(
    result: Reply | Fault, ceiling: int | None
) -> None:
    service = Service(latency=log_normal(1.0), outages=[Outage(20.0, 140.0, result)])
    gate = (
        adaptive() if ceiling is None else Gate(ConcurrencyLimit(ceiling, adaptive=False), TokenBucket(), TokenBucket())
    )

    run = run_against(service, (job(index) for index in range(8_000)), gate)

    assert run.sink.ok == 8_000 and not run.stops
    probes = [moment for moment in service.failed if moment > 22.0]
    assert 4 <= len(probes) <= 20
    assert min(after - before for before, after in pairwise(probes)) >= 0.5
    back = min(moment for moment in service.admitted if moment > 140.0)
    assert back - 140.0 <= 40.0
    herd = sum(back <= moment < back + 0.5 for moment in service.admitted)
    assert herd <= 200 / 8 + 1
    assert service.admitted_in(back + 5.0, back + 15.0) >= 0.5 * service.admitted_in(10.0, 20.0)


def test_an_outage_without_end_ends_the_run() -> None:
    service = Service(latency=log_normal(1.0), outages=[Outage(20.0, math.inf, BUSY)])

    run = run_against(service, (job(n) for n in range(8_000)), None, patience=PatienceSettings(max_outage=300.0))

    assert isinstance(run.stops[0], CeilingReached) and "--max-outage 300" in str(run.stops[0])
    assert 320.0 <= run.took <= 400.0
    assert run.sink.failed == 0 and run.accounted == run.pipeline.progress.read


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_a_service_that_refuses_at_random_gets_its_work_done(share: float) -> None:
    source = random.Random(8)

    class Moody(Concurrency):
        def admits(self, now: float, in_flight: int, units: float) -> bool:
            return source.random() >= share

    service = Service(Moody(0), latency=constant(0.2))

    run = run_against(service, (job(index) for index in range(1000)), None)

    assert run.sink.ok == 1000 and not run.stops


def test_a_record_that_is_always_refused_ends_by_itself_and_the_others_are_not_held_up() -> None:
    service = Service(latency=constant(0.2))

    def script(request: Request, number: int) -> tuple[float, Reply | Fault]:
        return (0.05, BUSY) if request.jobs[0].identity.index == 7 else service(request, number)

    run = play((job(index) for index in range(10_000)), script, workers=16, batch=64, random=random.Random(1).random)

    assert run.sink.ok == 9_999 and run.sink.failed == 1 and not run.stops
    assert run.took <= 10_000 * 0.2 / 16 + 140.0  # for two minutes it alone is asked
