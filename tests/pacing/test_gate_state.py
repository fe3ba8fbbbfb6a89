"""What the display says limits a route: the true reason, of services whose reason is known. In virtual time."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from llmbatch.core.exchange import Expected, RateLimits, Request
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.snapshot import Cause
from llmbatch.pacing.concurrency_limit import ConcurrencyLimit
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.gate_state import state_of
from llmbatch.pacing.token_bucket import TokenBucket
from tests.support.scripted import Attempt, error, job, play
from tests.support.services import Concurrency, Outage, Service, log_normal


def causes(
    script: Callable[[Request, int], Attempt], records: int, shares: list[float | None] | None = None
) -> Counter[Cause | None]:
    """Run a job; count what limited it whenever a request left, and collect the shares that were shown as refused."""
    gate = Gate(ConcurrencyLimit(256, adaptive=True), TokenBucket(), TokenBucket())
    counts: Counter[Cause | None] = Counter()

    def watched(request: Request, number: int) -> Attempt:
        state = state_of(gate, "m", asyncio.get_running_loop().time())
        counts[state.cause] += 1
        if shares is not None:
            shares.append(state.share)
        return script(request, number)

    play(
        map(job, range(records)), watched, workers=256, batch=64, random=random.Random(1).random, new_gate=lambda: gate
    )
    return counts


def test_what_limits_a_run_whose_refusals_hang_on_nothing_is_its_ceiling() -> None:
    service, draw = Service(latency=log_normal(2.0, 0.4), seed=1), random.Random(2)

    def script(request: Request, number: int) -> Attempt:
        return (0.05, error(429)) if draw.random() < 0.15 else service(request, number)

    shares: list[float | None] = []
    counts = causes(script, 2000, shares)
    assert shares[-1] is not None and 0.1 < shares[-1] < 0.2
    assert counts[Cause.WALL] <= 0.02 * counts.total()
    assert counts[Cause.CEILING] >= 0.5 * counts.total()


def test_a_limit_of_the_server_is_never_shown_as_refusals_whatever_the_load() -> None:
    shares: list[float | None] = []
    counts = causes(Service(Concurrency(4), latency=log_normal(2.0, 0.4), seed=1), 100, shares)
    assert set(shares) == {None}
    assert counts[Cause.WALL] > 50
    assert counts[Cause.SCATTERED] == 0


def test_a_full_route_has_a_cause_even_while_departures_are_spread_out() -> None:
    counts = causes(Service(Concurrency(16), latency=log_normal(1.0, 0.4), seed=1), 400)
    assert counts[None] < 0.1 * counts.total()


def test_the_cause_is_the_announced_limit_also_when_a_refusal_told_of_it() -> None:
    gate = Gate(ConcurrencyLimit(256, adaptive=True), TokenBucket(), TokenBucket())
    fault = Fault(kind=Kind.RATE_LIMITED, message="", billing=Billing.THROTTLED, retry=True)
    for now in (0.0, 60.0, 60.2, 60.4):
        refused = Request((job(0),), "/", b"", Expected("chat"))
        refused.jobs[0].attempts.latency = 0.1
        gate.enter(now, refused)
        gate.announced(refused, RateLimits(requests=20.0, requests_left=0.0, requests_reset=40.0), now + 0.1)
        gate.refused(refused, fault, now + 0.1, 0.1, lambda: 0.5)
        gate.leave(refused)
    assert state_of(gate, "m", 80.0).cause is Cause.ANNOUNCED_RATE


def test_a_route_that_comes_back_after_a_pause_is_not_at_a_ceiling_of_a_few() -> None:
    gate = Gate(ConcurrencyLimit(256, adaptive=False), TokenBucket(), TokenBucket())
    allowed: list[int] = []

    def watched(request: Request, number: int) -> Attempt:
        state = state_of(gate, "m", asyncio.get_running_loop().time())
        if state.cause is Cause.CEILING:
            allowed.append(state.allowed)
        return service(request, number)

    service = Service(latency=log_normal(0.5), seed=1, outages=[Outage(4.0, 14.0, error(500), 0.1)])
    play(map(job, range(4000)), watched, workers=256, batch=64, random=random.Random(1).random, new_gate=lambda: gate)
    assert allowed and set(allowed) == {256}
