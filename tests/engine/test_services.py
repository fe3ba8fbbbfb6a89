"""Jobs of a fixed size on services as people meet them: seconds of latency, scattered refusals. In virtual time.

Each is held against a fixed number that knows the service, or against what the service could do; the median of seeds
counts, since latencies and refusals are drawn.
"""

import asyncio
import heapq
import random
from collections.abc import Callable
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch.core.errors import CeilingReached
from llmbatch.core.exchange import Reply, Request
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.outcome import Completion, Outcome
from llmbatch.pacing.concurrency_limit import ConcurrencyLimit
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.token_bucket import TokenBucket
from tests.support.deep import DEEP, every
from tests.support.scripted import TIMED_OUT, UNREACHABLE, Attempt, Run, answer, error, job, play
from tests.support.services import BurstBucket, Concurrency, FixedWindow, Latency, Outage, Queue, Service, log_normal

SEEDS = range(11, 16)
AT_ONCE = 0.05
"""Seconds after which a request is refused."""
RESET = Fault(kind=Kind.CONNECTION, message="connection reset by peer", billing=Billing.DOUBTFUL, retry=True)


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


class Loaded(Service):
    """A service that refuses a share of all requests that rises with its load: one in `at` of those in flight."""

    def __init__(self, at: float, *, latency: Latency, seed: int) -> None:
        super().__init__(latency=latency, seed=seed)
        self._at, self._draw = at, random.Random(seed + 1)

    def __call__(self, request: Request, number: int) -> Attempt:
        now = asyncio.get_running_loop().time()
        if self._draw.random() < min(0.9, sum(end > now for end in self.answered[-300:]) / self._at):
            return AT_ONCE, error(429)
        return super().__call__(request, number)


class Router:
    """A router that sends requests to replicas in turn, however busy they are; each has sixteen slots."""

    def __init__(self, *latencies: float, seed: int) -> None:
        self._replicas = [
            Service(Concurrency(16), latency=log_normal(latency, 0.3), seed=seed + n)
            for n, latency in enumerate(latencies)
        ]
        self._turn = 0

    def __call__(self, request: Request, number: int) -> Attempt:
        self._turn += 1
        return self._replicas[self._turn % len(self._replicas)](request, number)


def seconds(
    records: int, script: object, *, fixed: int | None, seed: int, silent: int = 64, failures: int = 0
) -> float:
    """Run a job to its end; return how long it took. At most so many records may have no answer."""
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
    assert len(verdicts) == records
    assert sum(isinstance(verdict, Completion) for verdict in verdicts) >= records - failures
    return run.took


@pytest.mark.parametrize(
    ("records", "latency", "knows"),
    [(100, 5.0, 100), (1000, 5.0, 256), (30, 3.3, 30), (30, 10.0, 30), (100, 15.0, 100)],
)
def test_growth_does_not_wait_for_slow_answers(records: int, latency: float, knows: int) -> None:
    def took(fixed: int | None) -> float:
        return median(
            seconds(records, Service(latency=log_normal(latency, 0.3), seed=seed), fixed=fixed, seed=seed)
            for seed in SEEDS
        )

    assert took(None) <= 1.5 * took(knows)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("fixed", [None, 64])
@pytest.mark.parametrize(("status", "retry_after"), [(429, "1"), (429, None), (503, None)])
@pytest.mark.parametrize("latency", [0.17, 0.5, 1.5])
def test_scattered_refusals_hold_their_own_records_only(
    latency: float, status: int, retry_after: str | None, fixed: int | None
) -> None:
    # 1.046: the mean of log-normal latencies with sigma 0.3. A refused record waits, however short its answer is.
    ideal = 1500 * latency * 1.046 / 0.95 / 64 + (1.5 if latency < 0.5 else 0.0)
    took, early = [], 0
    for seed in SEEDS:
        service = Scattered(Service(latency=log_normal(latency, 0.3), seed=seed), 0.05, status, retry_after, seed)
        took.append(seconds(1500, service, fixed=fixed, seed=seed))
        early += service.too_early
    assert ideal / median(took) >= 0.7
    assert early == 0


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
def test_a_wall_that_is_none_costs_seconds_whatever_the_seed(share: float) -> None:
    for seed in range(40, 50, every(5)):
        service = Scattered(Service(latency=log_normal(0.5, 0.3), seed=seed), share, 429, "1", seed)
        assert seconds(1500, service, fixed=None, seed=seed) <= 60.0


@pytest.mark.parametrize("seed", [44, 67])  # the first requests that are refused look like a wall
@pytest.mark.parametrize("latency", [1.5, 5.0])
def test_where_one_in_five_is_refused_no_run_stays_at_a_few_in_flight(latency: float, seed: int) -> None:
    service = Scattered(Service(latency=log_normal(latency, 0.3), seed=seed), 0.2, 429, "1", seed)
    assert seconds(1500, service, fixed=None, seed=seed) <= 20.0 * latency


@pytest.mark.parametrize("retry_after", ["1", None])
def test_instant_records_that_one_in_six_refuses_are_done_in_seconds(retry_after: str | None) -> None:
    took = []
    for seed in SEEDS:
        service = Scattered(Service(latency=log_normal(0.002, 0.3), seed=seed), 0.15, 429, retry_after, seed)
        took.append(seconds(300, service, fixed=None, seed=seed))
        assert service.too_early == 0
    assert median(took) <= 7.0


def announcing(rpm: int, bucket: BurstBucket) -> Callable[[Request], Reply]:
    """Make answers that tell the limit, what is left of it, and when it is full again."""

    def reply(request: Request) -> Reply:
        left = int(bucket.level + 1e-9)
        names = "limit", "remaining", "reset"
        values = str(rpm), str(left), f"{(rpm - left) * 60 / rpm:.3f}s"
        headers = {f"x-ratelimit-{name}-requests": value for name, value in zip(names, values, strict=True)}
        return Reply(200, headers, answer().body)

    return reply


@pytest.mark.parametrize("latency", [1.7, 5.0])
def test_an_announced_bucket_is_used_up_and_never_exceeded(latency: float) -> None:
    for seed in SEEDS:
        bucket = BurstBucket(600, 20)
        service = Service(bucket, latency=log_normal(latency, 0.3), seed=seed, reply=announcing(600, bucket))
        took = seconds(600, service, fixed=None, seed=seed)
        last = max(end - begin for begin, end in zip(service.admitted[-60:], service.answered[-60:], strict=True))
        assert (600 - 20) / 10 + last >= 0.9 * took
        # Only what left before the first answer told of the limit is refused.
        assert all(moment < min(service.answered) for moment in service.refusals)


def test_a_small_bucket_that_nobody_announced_is_found_with_few_refusals() -> None:
    shares = []
    for seed in SEEDS:
        service = Service(BurstBucket(60, 5), latency=log_normal(5.0, 0.3), seed=seed)
        assert seconds(60, service, fixed=None, seed=seed) <= 90.0
        shares.append(service.refused_share)
    assert median(shares) <= 0.05


@pytest.mark.parametrize(("fixed", "rpm", "burst"), [(5, 60, 5), (16, 300, 10), (64, 600, 600)])
def test_a_fixed_number_learns_a_rate_that_nobody_announced(fixed: int, rpm: int, burst: int) -> None:
    shares, records = [], 4 * rpm + burst
    for seed in SEEDS:
        service = Service(BurstBucket(rpm, burst), latency=log_normal(1.67, 0.3), seed=seed)
        assert seconds(records, service, fixed=fixed, seed=seed) <= 1.15 * 4 * 60.0
        shares.append(service.refused_share)
    assert median(shares) <= 0.1


def test_slots_that_a_fixed_number_exceeds_show_no_rate() -> None:
    for seed in SEEDS:
        service = Service(Concurrency(4), latency=log_normal(2.0, 0.3), seed=seed)
        assert seconds(150, service, fixed=8, seed=seed) <= 1.45 * 150 * 2.0 * 1.046 / 4


@pytest.mark.parametrize(("slots", "latency"), [(40, 0.5), (40, 1.5), (100, 2.0)])
def test_slots_are_filled_where_one_request_in_twenty_is_refused_as_well(slots: int, latency: float) -> None:
    took = []
    for seed in SEEDS:
        service = Service(Concurrency(slots), latency=log_normal(latency, 0.3), seed=seed)
        took.append(seconds(1500, Scattered(service, 0.05, 429, None, seed), fixed=None, seed=seed))
    assert median(took) <= 1.5 * 1500 * latency * 1.046 / slots


def test_refusals_that_rise_with_the_load_are_borne_while_more_answers_come() -> None:
    took = median(
        seconds(1500, Loaded(200.0, latency=log_normal(0.5, 0.3), seed=seed), fixed=None, seed=seed) for seed in SEEDS
    )
    # Of 64 in flight 0.68 are admitted; of more, more.
    assert took <= 1.5 * 1500 * 0.5 * 1.046 / 0.68 / 64


def test_one_slow_replica_of_four_does_not_slow_down_the_others() -> None:
    took = median(seconds(800, Router(1.0, 1.0, 1.0, 5.0, seed=seed), fixed=None, seed=seed) for seed in SEEDS)
    # The four together answer 16 / 1.046 * 3.2 a second, if the router knew which of them has a slot.
    assert took <= 2.0 * 800 * 1.046 / 16 / 3.2


def test_slots_that_refuse_at_once_and_name_a_time_are_filled() -> None:
    for seed in SEEDS:
        service = Service(Concurrency(12), latency=log_normal(1.0, 0.3), seed=seed, headers={"retry_after": "2"})
        assert seconds(400, service, fixed=None, seed=seed) <= 1.5 * 400 * 1.046 / 12
        assert service.refused_share <= 0.05


@pytest.mark.parametrize(("latency", "most"), [(2.0, 75.0), (6.0, 1.3 * 400 * 6.0 * 1.046 / 20)])
def test_slots_whose_refusals_name_a_minute_are_filled_while_the_refused_wait(latency: float, most: float) -> None:
    for seed in SEEDS:
        service = Service(Concurrency(20), latency=log_normal(latency, 0.3), seed=seed, headers={"retry_after": "60"})
        assert seconds(400, service, fixed=None, seed=seed) <= most
        assert service.refused_share <= 0.05


def test_waits_of_a_minute_keep_no_long_run_at_one_request_in_flight() -> None:
    for seed in range(1, 4):
        service = Service(BurstBucket(15, 15), latency=log_normal(5.0), headers={"retry_after": "60"}, seed=seed)
        assert seconds(400, service, fixed=None, seed=seed) <= 1.2 * (400 - 15) * 60 / 15


def test_a_window_that_names_its_end_is_probed_before_it_once() -> None:
    for seed in SEEDS:
        service = Service(FixedWindow(60, 50.0), latency=log_normal(2.0, 0.3), seed=seed, headers={"retry_after": "60"})
        seconds(150, service, fixed=None, seed=seed)
        first = service.refusals[0]
        assert sum(first + 2.0 < moment < first + 59.0 for moment in service.refusals) <= 1


def test_a_bucket_of_a_hundred_that_nobody_announced_is_used_up() -> None:
    for seed in SEEDS:
        service = Service(BurstBucket(1200, 100), latency=log_normal(1.0, 0.3), seed=seed)
        assert seconds(1500, service, fixed=None, seed=seed) <= 1.25 * (1500 - 100) / 20
        assert service.refused_share <= 0.08


def test_refusals_in_bursts_cost_little_more_than_the_bursts() -> None:
    outages = [Outage(20.0 * n - 2.0, 20.0 * n, error(429), AT_ONCE) for n in range(1, 50)]
    for seed in SEEDS:
        service = Service(latency=log_normal(1.0, 0.3), seed=seed, outages=outages)
        assert seconds(4000, service, fixed=None, seed=seed) <= 1.5 * 4000 * 1.046 / 128


def test_a_pause_for_the_rate_that_comes_once_shows_no_rate() -> None:
    for seed in SEEDS:
        service = Service(latency=log_normal(3.0, 0.3), seed=seed, outages=[Outage(10.0, 30.0, error(429), AT_ONCE)])
        assert seconds(1500, service, fixed=None, seed=seed) <= 30.0 + 0.35 * 20.0 + 1.5 * 800 * 3.0 / 192


@pytest.mark.parametrize("dropped", [error(502), RESET], ids=["502", "reset"])
def test_hardly_a_record_fails_where_requests_end_without_an_answer(dropped: Reply | Fault) -> None:
    """They may be billed, so that each is asked again only once: the next ones must not meet the same end."""
    for seed in SEEDS:
        full = Service(Concurrency(24), latency=log_normal(3.0, 0.3), seed=seed, refusal=dropped)
        assert seconds(700, full, fixed=None, seed=seed, failures=7) <= 1.5 * 700 * 3.0 * 1.046 / 24
        down = Service(latency=log_normal(1.5, 0.3), seed=seed, outages=[Outage(6.0, 10.0, dropped)])
        assert seconds(1500, down, fixed=None, seed=seed, failures=3) <= 1.5 * (4.0 + 1500 * 1.5 * 1.046 / 192)


@pytest.mark.parametrize(("error_answer", "takes"), [(error(500), 0.05), (error(504), 5.0)])
def test_hardly_a_record_fails_where_a_server_that_worked_gives_only_errors_for_a_while(
    error_answer: Reply, takes: float
) -> None:
    for seed in SEEDS:
        service = Service(latency=log_normal(1.0), seed=seed, outages=[Outage(6.0, 26.0, error_answer, takes)])
        assert seconds(1500, service, fixed=None, seed=seed, failures=8) <= 45.0 + 5 * takes


@pytest.mark.parametrize("bad", [range(1400, 1500), range(60)])
def test_records_that_the_server_cannot_serve_are_no_outage_for_long(bad: range) -> None:
    service = Service(latency=log_normal(1.0))

    def script(request: Request, number: int) -> Attempt:
        return (0.05, error(500)) if request.jobs[0].identity.index in bad else service(request, number)

    assert seconds(1500, script, fixed=None, seed=1, failures=len(bad)) <= 60.0


def test_a_server_that_comes_back_and_loses_what_it_accepts_costs_few_records() -> None:
    """Its connections open, and after a while it closes them: each request may be sent again only once."""
    for seed in SEEDS:
        outages = [Outage(6.0, 6.05, RESET), Outage(6.05, 12.0, UNREACHABLE, 0.01), Outage(12.0, 20.0, RESET, 8.0)]
        service = Service(latency=log_normal(1.0), seed=seed, outages=outages)
        assert seconds(1500, service, fixed=None, seed=seed, failures=2) <= 60.0


@pytest.mark.parametrize("takes", [0.02, AT_ONCE])
def test_a_server_that_is_not_ready_at_first_gets_as_many_requests_as_one_that_is(takes: float) -> None:
    """Nothing was admitted, so that what it refused says nothing about its load."""
    for seed in SEEDS:
        loading = Service(latency=log_normal(3.0, 0.3), seed=seed, outages=[Outage(0.0, 5.0, error(503), takes)])
        ready = seconds(300, Service(latency=log_normal(3.0, 0.3), seed=seed), fixed=None, seed=seed)
        assert seconds(300, loading, fixed=None, seed=seed) <= 5.0 + 0.35 * 5.0 + 1.5 * ready


@pytest.mark.parametrize("takes", [0.01, 0.5])
def test_a_server_that_never_gives_an_answer_ends_the_run_within_a_minute(takes: float) -> None:
    run = play((job(index) for index in range(50)), lambda request, number: (takes, error(502)), workers=64, batch=64)
    assert run.took <= 60.0


def test_answers_of_two_kinds_are_no_queue() -> None:
    def latency(source: random.Random) -> float:
        return 0.3 if source.random() < 0.8 else 8.0

    def took(fixed: int | None) -> float:
        return median(seconds(1000, Service(latency=latency, seed=seed), fixed=fixed, seed=seed) for seed in SEEDS)

    assert took(None) <= 1.5 * took(256)


class Slowing(Service):
    """A service that gets slower with each request in flight beyond forty."""

    def __call__(self, request: Request, number: int) -> Attempt:
        now = asyncio.get_running_loop().time()
        took, reply = super().__call__(request, number)
        return took * max(1.0, sum(end > now for end in self.answered[-300:]) / 40), reply


def test_a_server_that_slows_down_with_the_load_is_not_slower_for_it() -> None:
    def took(fixed: int | None) -> float:
        return median(
            seconds(1000, Slowing(latency=log_normal(1.0, 0.3), seed=seed), fixed=fixed, seed=seed) for seed in SEEDS
        )

    assert took(None) <= 1.5 * took(40)


@pytest.mark.parametrize("retry_after", [None, "3"])
@given(seed=st.integers(0, 10_000), shut=st.floats(20.0, 60.0))
@settings(max_examples=6 if DEEP else 2)
def test_a_wall_is_sent_a_trickle(retry_after: str | None, seed: int, shut: float) -> None:
    headers = {} if retry_after is None else {"retry_after": retry_after}
    closed = Outage(10.0, 10.0 + shut, error(429, **headers), AT_ONCE)
    service = Service(latency=log_normal(0.5, 0.3), seed=seed, outages=[closed])
    seconds(6000, service, fixed=None, seed=seed)
    crowd = 10.0 + 0.5
    assert sum(moment > crowd for moment in service.failed) <= 4 + shut / 2


@given(seed=st.integers(0, 10_000), share=st.floats(0.01, 0.3), wait=st.floats(0.5, 20.0))
@settings(max_examples=10)
def test_no_record_leaves_before_the_time_that_it_was_told(seed: int, share: float, wait: float) -> None:
    service = Scattered(Service(Concurrency(40), latency=log_normal(0.5), seed=seed), share, 429, f"{wait:.1f}", seed)
    seconds(300, service, fixed=None, seed=seed)
    assert service.too_early == 0


@pytest.mark.parametrize("slow", [False, True])
def test_a_route_that_is_refused_or_slow_does_not_starve_another(slow: bool) -> None:
    """Nine records of ten are for a model that refuses or takes minutes: they fill what is read ahead."""
    healthy = Service(latency=log_normal(0.5, 0.3))

    def script(request: Request, number: int) -> Attempt:
        if request.jobs[0].route.model != "full":
            return healthy(request, number)
        return (100.0, answer()) if slow else (AT_ONCE, error(429, retry_after="30"))

    async def stop(run: Run) -> None:
        await asyncio.sleep(60.0)
        run.pipeline.stop(CeilingReached("enough"), grace=0.0)

    play(
        (job(index, "full" if index % 10 else "free") for index in range(6000)),
        script,
        stop,
        workers=128,
        batch=64,
        random=random.Random(3).random,
        new_gate=lambda: Gate(ConcurrencyLimit(64, adaptive=True), TokenBucket(), TokenBucket()),
    )
    assert len(healthy.answered) == 600


def test_one_slot_that_queues_ends_without_a_failed_record() -> None:
    service = Service(latency=log_normal(25.0, 0.3), queue=Queue(1))
    took = seconds(40, service, fixed=None, seed=3, silent=8)
    assert took >= 40 * 25 * 0.7


@pytest.mark.parametrize("records", [40, 100])
@pytest.mark.parametrize("computes_on", [True, False])
def test_a_slow_queue_that_nobody_knows_of_fails_no_record(computes_on: bool, records: int) -> None:
    """One slot, 25 s an answer; some servers go on computing what was given up after the time-out of 600 s."""
    source, work, timeout = random.Random(3), log_normal(25.0, 0.3), 600.0
    free_at = 0.0

    def script(request: Request, number: int) -> Attempt:
        nonlocal free_at
        now = asyncio.get_running_loop().time()
        ends = max(now, free_at) + work(source)
        if computes_on or ends - now <= timeout:
            free_at = ends
        return (ends - now, answer()) if ends - now <= timeout else (timeout, TIMED_OUT)

    assert seconds(records, script, fixed=None, seed=3) >= records * 25.0 * 0.7


@pytest.mark.parametrize(("slots", "takes", "gives_up"), [(8, 3.0, 29.0), (4, 8.0, 60.0)])
def test_a_gateway_that_gives_up_sooner_than_the_queue_behind_it_fails_no_record(
    slots: int, takes: float, gives_up: float
) -> None:
    """Its server goes on computing what was given up, as behind nginx (60 s) or API Gateway (29 s)."""
    source, work, free = random.Random(3), log_normal(takes, 0.3), [0.0] * slots

    def script(request: Request, number: int) -> Attempt:
        now = asyncio.get_running_loop().time()
        ends = max(now, heapq.heappop(free)) + work(source)
        heapq.heappush(free, ends)
        return (ends - now, answer()) if ends - now <= gives_up else (gives_up, error(504))

    assert seconds(200, script, fixed=None, seed=3) <= 2.0 * 200 * takes / slots


def test_a_service_tier_without_room_slows_nobody_else_down() -> None:
    def script(request: Request, number: int) -> Attempt:
        full = request.jobs[0].identity.index % 10 == 0 and (request.jobs[0].attempts.no_capacity or (0, 0))[0] < 7
        return 0.01, error(498) if full else answer()

    run = play((job(n) for n in range(100)), script, workers=8)
    assert run.sink.ok == 100 and not run.stops
    assert run.dispatch.routes.traffic()[0][3] == 0, "none of that counts as a refusal for pace"
    others = [at for at, index in run.world.sent if index % 10]
    assert max(others) < 1.0, "records that were not refused do not wait"


def test_a_service_tier_without_room_for_longer_than_max_wait_ends_the_run() -> None:
    run = play((job(n) for n in range(3)), lambda request, number: (0.01, error(498)), workers=2)
    (stop,) = run.stops
    assert isinstance(stop, CeilingReached) and stop.by == "wait" and "--tier" in str(stop.hint)
    assert 600 < run.took < 800
