"""Every queue and every decision of a run, with the clock passed in."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice, takewhile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.errors import ActionNeeded, CeilingReached
from llmbatch.core.events import Event, Notice, Paused, Retrying
from llmbatch.core.exchange import Expected, Request
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion, CopiedAnswer, Outcome
from llmbatch.core.prompt import Prompt
from llmbatch.core.settings import PatienceSettings
from llmbatch.engine.dispatch import Dispatch
from llmbatch.pacing.concurrency_limit import ConcurrencyLimit
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.retry import RetryPolicy
from llmbatch.pacing.token_bucket import TokenBucket
from tests.support.scripted import fixed_gate, job

OK = Completion("t", "stop", "m", None)
BAD = Fault(kind=Kind.BAD_REQUEST, message="no", status=400)
FREE = Fault(kind=Kind.CONNECTION, message="reset", retry=True)
LIMITED = Fault(
    kind=Kind.RATE_LIMITED, message="slow", scope=Scope.ROUTE, billing=Billing.THROTTLED, retry=True, status=429
)
TIMED_OUT = Fault(kind=Kind.TIMEOUT, message="slow", billing=Billing.DOUBTFUL, retry=True)
BROKEN = Fault(kind=Kind.SERVER_ERROR, message="500", billing=Billing.SERVER, retry=True, status=500)
PAID = Fault(kind=Kind.UNPARSABLE, message="?", billing=Billing.BILLED, raw=b"?")
KEY = Fault(kind=Kind.UNAUTHORIZED, message="key", scope=Scope.RUN, status=401)
CREDIT = Fault(kind=Kind.NO_CREDIT, message="broke", scope=Scope.RUN, status=402)
MODEL = Fault(kind=Kind.NOT_FOUND, message="model", scope=Scope.ROUTE, status=404)
UNREACHABLE = Fault(kind=Kind.CONNECTION, message="refused", scope=Scope.RUN, retry=True)
SPLIT = replace(BAD, scope=Scope.REQUEST, split=True)
QUOTA = Fault(kind=Kind.RATE_LIMITED, message="per day", scope=Scope.ROUTE, status=429)

VERDICTS: list[Completion | Fault] = [
    OK,
    BAD,
    FREE,
    LIMITED,
    replace(LIMITED, wait=5.0),
    TIMED_OUT,
    BROKEN,
    PAID,
    SPLIT,
    KEY,
    MODEL,
    UNREACHABLE,
    QUOTA,
    replace(FREE, wait=3.0),
    replace(LIMITED, wait=1e6),
    replace(LIMITED, retry=False),
]


class Packing:
    """A dialect whose requests serve up to so many jobs."""

    name = "packing"
    params: frozenset[str] = frozenset()

    def __init__(self, limit: int = 1) -> None:
        self._limit = limit

    def pack(self, waiting: Sequence[Job]) -> int:
        pack_group = waiting[0].attempts.pack_group
        first = islice(waiting, self._limit)
        return sum(1 for _ in takewhile(lambda job: job.attempts.pack_group == pack_group, first))

    def request(self, jobs: Sequence[Job]) -> Request:
        return Request(tuple(jobs), jobs[0].route.path, b"", Expected("chat"))

    def item(self, prompt: Prompt) -> tuple[Route, dict[str, Any]]:
        raise NotImplementedError


def dispatch(
    *,
    limit: int = 4,
    pack: int = 1,
    policy: RetryPolicy | None = None,
    patience: PatienceSettings | None = None,
    random: Callable[[], float] = lambda: 0.5,
    events: list[Event] | None = None,
    dedupe: bool = False,
    new_gate: Callable[[], Gate] | None = None,
    worked: Callable[[Route], bool] = lambda route: False,
    hold: bool = False,
) -> Dispatch:
    return Dispatch(
        dialect=Packing(pack),
        new_gate=new_gate or (lambda: fixed_gate(limit)),
        policy=policy or RetryPolicy(),
        patience=patience or PatienceSettings(),
        random=random,
        notify=(events if events is not None else []).append,
        dedupe=dedupe,
        worked=worked,
        hold=hold,
    )


def take(d: Dispatch, now: float = 0.0) -> Request:
    request = d.take(now)
    assert request is not None
    return request


def index(request: Request) -> int:
    return request.jobs[0].identity.index


def settle_next(d: Dispatch, verdict: Completion | Fault, now: float = 0.0) -> list[Outcome]:
    """Take one request and settle all its jobs alike."""
    request = take(d, now)
    return d.settle(request, (verdict,) * len(request.jobs), now)


class Driver:
    """Plays a script of verdicts against dispatch as the pool would, and checks what must hold at every step."""

    def __init__(self, d: Dispatch, limit: int) -> None:
        self.d, self.limit = d, limit
        self.now = 0.0
        self.flying: list[Request] = []
        self.outcomes: Counter[int] = Counter()
        self.sequence: list[Job] = []
        self.left: dict[int, float] = {}

    def take_all(self) -> None:
        while (request := self.d.take(self.now)) is not None:
            flying = [j.identity.index for r in self.flying for j in r.jobs]
            assert not {j.identity.index for j in request.jobs} & set(flying), "a job is in flight twice"
            assert all(j.identity.index not in self.outcomes for j in request.jobs), "a job that is done is sent"
            assert len({j.route for j in request.jobs}) == 1
            self.flying.append(request)
            self.left[id(request)] = self.now
            self.sequence.append(request.jobs[0])
            on_route = [r for r in self.flying if r.jobs[0].route == request.jobs[0].route]
            assert len(on_route) <= self.limit, "more in flight than the gate allows"
            assert self.d.in_flight == sum(len(r.jobs) for r in self.flying)

    def settle(self, place: int, verdicts: Sequence[Completion | Fault], after: float = 0.0) -> None:
        request = self.flying.pop(place)
        self.now += after
        for one in request.jobs:
            one.attempts.latency = self.now - self.left.pop(id(request), self.now)
        self.note(self.d.settle(request, verdicts, self.now))
        if self.d.stop is not None:
            self.d.close()

    def note(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self.outcomes[outcome.job.identity.index] += 1

    def wait(self) -> None:
        """Let time pass until dispatch says there may be something."""
        at = self.d.next_time(self.now)
        assert at < math.inf, "work is waiting, and nobody will ever look for it"
        assert at > self.now, "there is work now, but take did not find it"
        self.now = at


GATES: dict[str, Callable[[int], Gate]] = {
    "fixed": fixed_gate,
    "adaptive": lambda limit: Gate(ConcurrencyLimit(limit, adaptive=True), TokenBucket(), TokenBucket()),
    "limited": lambda limit: Gate(ConcurrencyLimit(limit, adaptive=True), TokenBucket(30.0), TokenBucket(2000.0)),
}


@given(
    st.data(),
    st.integers(1, 12),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from(sorted(GATES)),
)
def test_whatever_happens_every_job_has_one_outcome_or_is_counted_as_not_started(
    data: st.DataObject, jobs: int, routes: int, limit: int, pack: int, dedupe: bool, gates: str
) -> None:
    d = dispatch(
        limit=limit,
        pack=pack,
        policy=RetryPolicy(retries=2),
        random=lambda: 0.25,
        dedupe=dedupe,
        new_gate=lambda: GATES[gates](limit),
    )
    drive = Driver(d, limit)
    all_jobs = [job(n, f"m{n % routes}") for n in range(jobs)]
    for one in all_jobs:
        one.key = f"{one.identity.index % (2 * routes):032x}"
    drive.note(d.add(all_jobs[: jobs // 2]))
    late = all_jobs[jobs // 2 :]
    verdicts = st.sampled_from(VERDICTS)
    for step in range(60):
        drive.take_all()
        if step == 5:
            drive.note(d.add(late))
            continue
        if not d.outstanding and step > 5:
            break
        if drive.flying:
            place = data.draw(st.integers(0, len(drive.flying) - 1))
            count = len(drive.flying[place].jobs)
            after = data.draw(st.sampled_from([0.0, 0.05, 1.0, 30.0]))
            drive.settle(place, [data.draw(verdicts) for _ in range(count)], after)
        elif d.outstanding:
            drive.wait()
    while d.outstanding:  # and then everything goes well
        drive.take_all()
        if drive.flying:
            drive.settle(0, [OK] * len(drive.flying[0].jobs), 1.0)
        else:
            drive.wait()
    assert all(count == 1 for count in drive.outcomes.values())
    assert len(drive.outcomes) + d.not_started == jobs
    assert (d.outstanding, d.queued, d.waiting, d.in_flight) == (0, 0, 0, 0)


@given(st.lists(st.sampled_from([OK, FREE, TIMED_OUT, BROKEN, LIMITED]), max_size=80), st.integers(1, 5))
def test_what_may_be_billed_is_bounded_for_every_job(script: list[Completion | Fault], limit: int) -> None:
    d = dispatch(limit=limit, policy=RetryPolicy(retries=50), random=lambda: 0.25)
    drive, all_jobs = Driver(d, limit), [job(n) for n in range(5)]
    d.add(all_jobs)
    for verdict in script:
        drive.take_all()
        if drive.flying:
            drive.settle(0, [verdict])
        elif d.outstanding:
            drive.wait()
    assert all(j.attempts.unknown_outcomes <= 2 and j.attempts.server_errors <= 3 for j in all_jobs)


# order


def test_new_jobs_go_in_their_order() -> None:
    d = dispatch()
    d.add([job(n) for n in range(4)])
    assert [index(take(d)) for _ in range(4)] == [0, 1, 2, 3]


def due_and_fresh(again: int, fresh: int) -> Dispatch:
    """So many retries that are due at 100, and so many new jobs."""
    d = dispatch(limit=100)
    d.add([job(n) for n in range(again)])
    requests = [take(d) for _ in range(again)]
    for request in requests:
        d.settle(request, (FREE,), 0.0)
    d.add([job(1000 + n) for n in range(fresh)])
    return d


def test_retries_come_first_but_only_every_second_time() -> None:
    d = due_and_fresh(4, 4)
    order = [index(take(d, 100.0)) for _ in range(8)]
    assert [n < 1000 for n in order] == [True, False] * 4


def test_retries_come_one_after_the_other_when_there_is_nothing_new() -> None:
    d = due_and_fresh(3, 0)
    assert [index(take(d, 100.0)) for _ in range(3)] == [0, 1, 2]


def test_models_take_turns() -> None:
    d = dispatch(limit=100)
    d.add([job(n, "a") for n in range(50)] + [job(50 + n, "b") for n in range(2)])
    assert [take(d).jobs[0].route.model for _ in range(5)] == ["a", "b", "a", "b", "a"]


# waiting


def test_a_retry_is_not_sent_before_its_time_and_not_missed_after() -> None:
    d = dispatch()
    d.add([job(0)])
    settle_next(d, replace(FREE, wait=10.0))
    due = d.next_time(0.0)
    assert due >= 10.0
    assert d.take(math.nextafter(due, 0)) is None
    assert d.take(due) is not None


@given(st.floats(0, 9.9), st.floats(0, 100))
def test_the_next_time_never_skips_a_job_that_came_due_a_moment_ago(looked: float, later: float) -> None:
    d = dispatch()
    d.add([job(0)])
    settle_next(d, replace(FREE, wait=10.0))
    assert d.take(looked) is None
    at = d.next_time(looked + later)
    assert at >= looked + later and d.take(at) is not None


def test_the_next_time_knows_when_a_closed_gate_opens() -> None:
    d = dispatch()
    d.add([job(0), job(1)])
    settle_next(d, replace(LIMITED, wait=10.0))
    opens = d.next_time(0.0)
    assert 10.0 <= opens < 20.0
    assert d.take(opens - 0.001) is None and d.take(opens) is not None


def test_with_nothing_to_wait_for_there_is_no_next_time() -> None:
    d = dispatch(limit=1)
    assert d.next_time(0.0) == math.inf
    d.add([job(0), job(1)])
    take(d)
    assert d.next_time(0.0) == math.inf


# throttling


def test_refusals_in_a_row_hold_everybody_on_the_route() -> None:
    d = dispatch(limit=11)
    d.add([job(n) for n in range(11)])
    answered, *refused = [take(d) for _ in range(10)]
    for request in refused:
        d.settle(request, (replace(LIMITED, wait=30.0),), 0.0)
    d.settle(answered, (OK,), 1.0)
    assert d.take(29.0) is None


def test_a_refusal_among_answers_holds_its_own_record_only() -> None:
    d = dispatch()
    d.add([job(n) for n in range(3)])
    first, second = take(d), take(d)
    d.settle(first, (replace(LIMITED, wait=30.0),), 0.0)
    d.settle(second, (OK,), 1.0)
    assert take(d, 1.0).jobs[0].identity.index == 2
    assert d.take(29.9) is None and take(d, 33.1).jobs[0].identity.index == 0


def test_a_refusal_does_not_hold_other_routes() -> None:
    d = dispatch()
    d.add([job(0, "a"), job(1, "b")])
    settle_next(d, replace(LIMITED, wait=30.0))
    assert take(d, 1.0).jobs[0].route.model == "b"


def test_being_refused_any_number_of_times_costs_no_retry() -> None:
    d = dispatch(policy=RetryPolicy(retries=0))
    d.add([job(0)])
    now = 0.0
    for _ in range(20):
        assert settle_next(d, LIMITED, now) == []
        now = d.next_time(now)
    assert [o.verdict for o in settle_next(d, OK, now)] == [OK]


def test_what_waits_to_be_sent_again_is_not_counted_as_sent_again() -> None:
    d = dispatch()
    d.add([job(0)])
    settle_next(d, replace(LIMITED, wait=30.0))
    assert (d.sent, d.resent) == (1, 0)
    again = take(d, 40.0)
    assert (d.sent, d.resent) == (2, 1)
    d.hold_back(again)
    assert (d.sent, d.resent) == (1, 0)


def test_a_wait_longer_than_max_wait_ends_the_run() -> None:
    d = dispatch(patience=PatienceSettings(max_wait=60.0))
    d.add([job(0)])
    settle_next(d, replace(LIMITED, wait=61.0))
    assert isinstance(d.stop, CeilingReached) and "--max-wait 60" in str(d.stop)


def test_a_wait_of_max_wait_is_waited() -> None:
    d = dispatch(patience=PatienceSettings(max_wait=60.0))
    d.add([job(0)])
    settle_next(d, replace(LIMITED, wait=60.0))
    assert d.stop is None


@pytest.mark.parametrize("fault", [FREE, TIMED_OUT, BROKEN])
def test_a_wait_longer_than_max_wait_ends_the_run_whatever_the_fault(fault: Fault) -> None:
    d = dispatch(patience=PatienceSettings(max_wait=60.0))
    d.add([job(0)])
    settle_next(d, replace(fault, wait=86400.0))
    assert isinstance(d.stop, CeilingReached)


def test_an_outage_longer_than_max_outage_ends_the_run() -> None:
    d = dispatch(patience=PatienceSettings(max_outage=900.0))
    d.add([job(0)])
    now = 0.0
    while d.stop is None and now < 3000.0:
        settle_next(d, LIMITED, now)
        now = d.next_time(now)
    assert isinstance(d.stop, CeilingReached) and "--max-outage 900" in str(d.stop)
    assert 900.0 < now < 1100.0


def test_an_answer_in_between_ends_an_outage() -> None:
    d = dispatch(patience=PatienceSettings(max_outage=900.0))
    d.add([job(n) for n in range(50)])
    now = 0.0
    for _ in range(40):
        now = d.next_time(now)
        settle_next(d, replace(LIMITED, wait=500.0), now)
        now += 500.0
        while (request := d.take(now)) is None:
            now = d.next_time(now)
        d.settle(request, (OK,), now)
    assert d.stop is None and now > 10_000


# a server that is gone


def test_a_server_that_was_there_and_cannot_be_reached_is_waited_for_at_no_cost() -> None:
    d = dispatch(policy=RetryPolicy(retries=1))
    d.add([job(n) for n in range(9)])
    settle_next(d, OK)
    now = 1.0
    for _ in range(12):
        assert settle_next(d, UNREACHABLE, now) == []
        assert d.take(now) is None
        now = d.next_time(now)
    assert d.stop is None
    done = 0
    for _ in range(8):
        now = d.next_time(now)
        done += len(settle_next(d, OK, now))
    assert done == 8


def test_a_server_that_stays_away_longer_than_max_outage_ends_the_run() -> None:
    d = dispatch(patience=PatienceSettings(max_outage=900.0))
    d.add([job(n) for n in range(9)])
    settle_next(d, OK)
    now = 0.0
    while d.stop is None and now < 3000.0:
        settle_next(d, UNREACHABLE, now)
        now = d.next_time(now)
    assert isinstance(d.stop, CeilingReached) and "out of reach" in str(d.stop)


def test_a_server_that_never_was_there_stops_the_run_after_a_few_records() -> None:
    d = dispatch(policy=RetryPolicy(retries=2))
    d.add([job(n) for n in range(100)])
    now, outcomes = 0.0, 0
    while d.stop is None:
        while (request := d.take(now)) is None:
            now = d.next_time(now)
        outcomes += len(d.settle(request, (UNREACHABLE,), now))
    assert isinstance(d.stop, ActionNeeded) and outcomes <= 5


# giving up


def test_a_bad_key_stops_the_run_after_a_few_records() -> None:
    d = dispatch()
    d.add([job(n) for n in range(100)])
    for _ in range(3):
        assert d.stop is None
        settle_next(d, KEY)
    assert isinstance(d.stop, ActionNeeded) and "key" in str(d.stop)


def two_models(events: list[Event] | None = None) -> Dispatch:
    """Model `bad` is unknown and just given up, `good` has work left; one job of `bad` waits to be sent again."""
    d = dispatch(limit=100, events=events)
    d.add([job(0, "bad")])
    settle_next(d, replace(FREE, wait=50.0))
    d.add([job(n, "bad") for n in range(1, 10)] + [job(100 + n, "good") for n in range(10)])
    flying = [take(d) for _ in range(8)]
    for request in [r for r in flying if r.jobs[0].route.model == "bad"][:3]:
        d.settle(request, (MODEL,), 0.0)
    return d


def test_an_unknown_model_is_left_out_while_others_go_on() -> None:
    d = two_models()
    assert d.stop is None and isinstance(d.left_out, ActionNeeded)
    sent = []
    while (request := d.take(1000.0)) is not None:
        sent.append(request.jobs[0].route.model)
    assert set(sent) == {"good"} and len(sent) == 6


def test_what_waited_for_a_model_that_is_left_out_is_counted_at_once() -> None:
    d = two_models()
    # Of ten, three have failed and one is in flight; one waited for its time, five were queued.
    assert (d.not_started, d.waiting) == (6, 0)


def test_what_comes_later_for_a_model_that_is_left_out_is_counted() -> None:
    d = two_models()
    before = d.not_started
    d.add([job(500, "bad"), job(501, "good")])
    assert d.not_started == before + 1


@pytest.mark.parametrize("verdict", [LIMITED, FREE])
def test_an_attempt_that_was_on_its_way_for_a_model_left_out_is_not_made_again(verdict: Fault) -> None:
    d = dispatch(limit=100)
    d.add([job(n, "bad") for n in range(4)] + [job(9, "good")])
    flying = [take(d) for _ in range(5)]
    late, *others = [r for r in flying if r.jobs[0].route.model == "bad"]
    for request in others:
        d.settle(request, (MODEL,), 0.0)
    d.settle(late, (verdict,), 0.0)
    assert d.take(10_000.0) is None and d.not_started == 1


def test_the_jobs_of_a_model_left_out_are_named_once() -> None:
    d = two_models()
    assert sorted(j.identity.index for j in d.take_skipped()) == [0, 5, 6, 7, 8, 9]
    assert d.take_skipped() == []


def test_people_are_told_of_a_model_left_out() -> None:
    events: list[Event] = []
    two_models(events)
    assert [e.text for e in events if isinstance(e, Notice) and "'bad' gets no more requests" in e.text]


def test_the_last_model_given_up_ends_the_run() -> None:
    d = dispatch()
    d.add([job(n) for n in range(9)])
    for _ in range(3):
        settle_next(d, MODEL)
    assert isinstance(d.stop, ActionNeeded)


def test_a_daily_quota_that_is_used_up_ends_the_run_to_be_continued_later() -> None:
    d = dispatch()
    d.add([job(n) for n in range(100)])
    settle_next(d, OK)
    failed = 0
    while d.stop is None:
        failed += len(settle_next(d, QUOTA))
    assert isinstance(d.stop, CeilingReached) and failed == 3


@pytest.mark.parametrize("fault", [KEY, CREDIT])
def test_after_an_answer_a_refused_key_is_probed_a_few_times_and_then_fails_record_by_record(fault: Fault) -> None:
    d = dispatch()
    d.add([job(n) for n in range(50)])
    settle_next(d, OK)
    now, failed, attempts = 0.0, 0, 0
    while d.outstanding:
        while (request := d.take(now)) is None:
            now = d.next_time(now)
        attempts += 1
        failed += len(d.settle(request, (fault,), now))
    assert failed == 49 and d.stop is None and d.conclude() is None
    assert attempts <= 49 + 4 and now < 30.0


def test_a_key_that_is_refused_for_a_moment_costs_no_record() -> None:
    d = dispatch()
    d.add([job(n) for n in range(20)])
    settle_next(d, OK)
    crowd = [take(d) for _ in range(4)]
    assert [d.settle(request, (KEY,), 0.5) for request in crowd] == [[]] * 4
    now = d.next_time(0.5)
    assert now > 0.5
    done = 1
    while d.outstanding:
        while (request := d.take(now)) is None:
            now = d.next_time(now)
        done += len(d.settle(request, (OK,), now))
    assert done == 20


@pytest.mark.parametrize("fault", [KEY, CREDIT, MODEL, BAD])
def test_a_resume_with_answers_is_never_stopped_by_what_would_stop_a_first_run(fault: Fault) -> None:
    d = dispatch(worked=lambda route: route.model == "old")
    d.add([job(n, "old") for n in range(40)])
    now = 0.0
    while d.outstanding:
        while (request := d.take(now)) is None:
            now = d.next_time(now)
        d.settle(request, (fault,), now)
    assert d.stop is None and d.conclude() is None
    d.add([job(100 + n, "new") for n in range(40)])
    while d.outstanding and d.stop is None and d.left_out is None:
        while (request := d.take(now)) is None:
            now = d.next_time(now)
        d.settle(request, (fault,), now)
    assert isinstance(d.stop or d.left_out, ActionNeeded)


def test_a_resume_with_answers_waits_for_a_server_that_is_not_there() -> None:
    d = dispatch(worked=lambda route: True, patience=PatienceSettings(max_outage=100.0))
    d.add([job(n) for n in range(9)])
    now = 0.0
    while d.stop is None:
        while (request := d.take(now)) is None:
            now = d.next_time(now)
        assert d.settle(request, (UNREACHABLE,), now) == []
    assert isinstance(d.stop, CeilingReached) and now > 100.0


# what the display shows


def test_the_limit_in_force_and_why_follow_a_pause() -> None:
    d = dispatch(limit=64)
    d.add([job(n) for n in range(200)])
    assert d.routes.limit == (64, "as asked")
    crowd = [take(d) for _ in range(64)]
    for request in crowd:
        d.settle(request, (UNREACHABLE if request is not crowd[0] else OK,), 1.0)
    assert d.routes.limit == (1, "parked, one probe comes next")
    now = d.next_time(1.0)
    probe = take(d, now)
    assert d.routes.limit[1] == "parked, one probe on its way" and d.take(now) is None
    probe.jobs[0].attempts.latency = 1.0
    d.settle(probe, (OK,), now + 1.0)
    assert d.routes.limit == (2, "growing back after a pause")
    take(d, now + 1.0)
    assert d.routes.limit == (3, "growing back after a pause")


def test_its_repr_says_where_the_jobs_are_and_what_each_route_waits_for() -> None:
    d = dispatch(limit=2, dedupe=True)
    d.add([job(0), job(1), job(2), job(2), job(3)])
    first, second = take(d), take(d)
    d.settle(first, (FREE,), 0.0)
    d.settle(second, (UNREACHABLE,), 0.0)
    assert repr(d).startswith("<Dispatch 3 queued, 1 due later, 0 in flight, 1 following, 0 held, 0 dropped, [<RouteQ")
    (queue,) = d.routes
    assert repr(queue).startswith("<RouteQueue m: 2 new, 1 again, <Gate 0 of 1 in flight, parked, one probe comes")
    (gate,) = queue.gate.gates
    assert repr(gate.breaker) == "<CircuitBreaker parked, one probe comes next, 1 refusals in a row>"
    assert repr(gate.limit) == "<ConcurrencyLimit 2 of 2, fixed, as asked>"
    d.close()
    assert "0 queued, 0 due later" in repr(d) and ", closed, [" in repr(d)


# packing


def test_one_request_serves_several_jobs_each_with_its_own_verdict() -> None:
    d = dispatch(pack=3)
    d.add([job(n) for n in range(4)])
    request = take(d)
    assert [j.identity.index for j in request.jobs] == [0, 1, 2] and d.in_flight == 3
    done = d.settle(request, (OK, FREE, BAD), 0.0)
    assert [(o.job.identity.index, o.verdict) for o in done] == [(0, OK), (2, BAD)]
    assert (d.in_flight, d.waiting, d.queued) == (0, 1, 1)


def test_a_packed_request_is_one_in_the_gate() -> None:
    d = dispatch(pack=3, limit=1)
    d.add([job(n) for n in range(6)])
    first = take(d)
    assert d.take(0.0) is None
    d.settle(first, (OK, OK, OK), 0.0)
    assert len(take(d).jobs) == 3


def test_a_packed_request_serves_one_model() -> None:
    d = dispatch(pack=9)
    d.add([job(n, "ab"[n % 2]) for n in range(6)])
    assert [[j.identity.index for j in take(d).jobs] for _ in range(2)] == [[0, 2, 4], [1, 3, 5]]


def test_a_refused_request_is_halved_until_the_one_to_blame_is_alone() -> None:
    d = dispatch(pack=8, limit=1)
    jobs = [job(n) for n in range(8)]
    d.add(jobs)
    sizes, done = [], list[Outcome]()
    while d.outstanding:
        request = take(d)
        sizes.append(len(request.jobs))
        refused = SPLIT if len(request.jobs) > 1 else BAD
        done += d.settle(request, [refused if jobs[5] in request.jobs else OK] * len(request.jobs), 0.0)
    assert sizes == [8, 4, 4, 2, 1, 1, 2]
    assert [o.job.identity.index for o in done if isinstance(o.verdict, Fault)] == [5]
    assert sorted(o.job.identity.index for o in done) == list(range(8))
    seen = [j.attempts for j in jobs]
    assert all(a.retries == a.unknown_outcomes == a.server_errors == 0 for a in seen)


@pytest.mark.parametrize("fault", [TIMED_OUT, BROKEN])
def test_what_may_have_been_billed_together_is_sent_again_one_by_one(fault: Fault) -> None:
    d = dispatch(pack=4, limit=9)
    d.add([job(n) for n in range(4)])
    d.settle(take(d), (fault,) * 4, 0.0)
    assert [len(take(d, 100.0).jobs) for _ in range(4)] == [1, 1, 1, 1]


def test_a_refusal_for_pace_counts_once_for_a_packed_request() -> None:
    events: list[Event] = []
    d = dispatch(pack=4, events=events)
    d.add([job(n) for n in range(4)])
    d.settle(take(d), (LIMITED,) * 4, 0.0)
    assert sum(isinstance(event, Paused) for event in events) == 1
    assert len(take(d, 100.0).jobs) == 4


# equal requests


def equal_jobs(number: int) -> list[Job]:
    made = [job(n) for n in range(number)]
    for one in made:
        one.key = "0" * 32
    return made


def test_equal_requests_are_sent_once_and_the_answer_serves_all() -> None:
    d = dispatch(dedupe=True)
    d.add(equal_jobs(5))
    request = take(d)
    assert d.take(0.0) is None and d.outstanding == 5
    done = d.settle(request, (OK,), 0.0)
    assert [(o.job.identity.index, isinstance(o.verdict, CopiedAnswer)) for o in done] == [(n, n > 0) for n in range(5)]


def test_an_equal_request_that_comes_later_takes_the_answer_at_once() -> None:
    d = dispatch(dedupe=True)
    first, later = equal_jobs(2)
    d.add([first])
    settle_next(d, OK)
    (outcome,) = d.add([later])
    assert outcome.job is later and isinstance(outcome.verdict, CopiedAnswer) and d.take(0.0) is None


def test_when_the_first_of_equal_requests_fails_the_next_is_sent() -> None:
    d = dispatch(dedupe=True)
    d.add(equal_jobs(3))
    settle_next(d, BAD)
    assert [o.job.identity.index for o in settle_next(d, OK)] == [1, 2]


def test_a_failure_that_was_paid_for_serves_all_equal_requests() -> None:
    d = dispatch(dedupe=True)
    *first, later = equal_jobs(4)
    d.add(first)
    done = settle_next(d, MISFIT)
    assert [(o.job.identity.index, isinstance(o.verdict, CopiedAnswer)) for o in done] == [(n, n > 0) for n in range(3)]
    (outcome,) = d.add([later])
    assert isinstance(outcome.verdict, CopiedAnswer) and d.take(0.0) is None and d.outstanding == 0


def test_an_equal_request_that_comes_after_one_was_held_is_held_as_well() -> None:
    d = dispatch(dedupe=True, hold=True, policy=RetryPolicy(unknown_outcomes=0, server_errors=0))
    first, waiting, later = equal_jobs(3)
    d.add([first, waiting])
    assert settle_next(d, TIMED_OUT) == [] and d.held == 2
    assert d.add([later]) == [] and d.held == 3
    assert d.take(0.0) is None and d.outstanding == 0


def test_equal_requests_for_a_model_that_is_left_out_are_all_named() -> None:
    d = dispatch(dedupe=True, limit=100)
    twins = [job(n, "bad") for n in range(8)]
    for one in twins[4:]:
        one.key = "f" * 32
    d.add([*twins, job(9, "good")])
    for request in [r for r in (take(d) for _ in range(5)) if r.jobs[0].identity.index < 3]:
        d.settle(request, (MODEL,), 0.0)
    assert d.left_out is not None
    assert sorted(j.identity.index for j in d.take_skipped()) == [4, 5, 6, 7]


# a disk that refuses


def test_a_request_that_cannot_be_marked_has_not_started_and_is_in_no_doubt() -> None:
    d = dispatch()
    d.add([job(0), job(1)])
    request = take(d)
    assert d.hold_back(request) == []
    d.close()
    assert (d.sent, d.dropped, d.not_started, d.outstanding, request.jobs[0].attempts.sent) == (0, 0, 2, 0, 0)


# stopping


def test_after_closing_nothing_is_handed_out() -> None:
    d = dispatch()
    d.add([job(n) for n in range(5)])
    d.close()
    d.add([job(7)])
    assert d.take(1e9) is None and d.not_started == 6


@pytest.mark.parametrize("verdict", [LIMITED, FREE, TIMED_OUT, BROKEN])
def test_after_closing_a_failed_attempt_is_not_arranged_again(verdict: Fault) -> None:
    d = dispatch()
    d.add([job(0)])
    request = take(d)
    d.close()
    assert d.settle(request, (verdict,), 0.0) == []
    assert (d.outstanding, d.not_started) == (0, 1)


@pytest.mark.parametrize("verdict", [OK, BAD, PAID])
def test_after_closing_an_answer_in_flight_still_counts(verdict: Completion | Fault) -> None:
    d = dispatch()
    d.add([job(0)])
    request = take(d)
    d.close()
    assert [o.verdict for o in d.settle(request, (verdict,), 0.0)] == [verdict]


def test_a_request_that_was_dropped_leaves_its_place_and_its_jobs_uncounted_as_done() -> None:
    d = dispatch(limit=1, pack=2)
    d.add([job(n) for n in range(3)])
    assert d.drop(take(d)) == []
    assert (d.in_flight, d.dropped, d.not_started) == (0, 2, 0) and d.take(0.0) is not None


# what is told


def test_the_attempts_of_a_job_are_counted_by_what_they_may_have_cost() -> None:
    d = dispatch()
    one = job(0)
    d.add([one])
    for now, verdict in enumerate([FREE, LIMITED, TIMED_OUT, BROKEN, OK]):
        settle_next(d, verdict, now * 1000.0)
    seen = one.attempts
    assert (seen.sent, seen.retries, seen.unknown_outcomes, seen.server_errors, seen.possibly_billed) == (5, 1, 1, 1, 2)


def test_retries_and_holds_are_told() -> None:
    events: list[Event] = []
    d = dispatch(events=events, random=lambda: 0.0)
    d.add([job(0), job(1)])
    settle_next(d, replace(LIMITED, wait=7.0))
    settle_next(d, replace(FREE, wait=3.0), 8.0)
    held, retrying = events
    assert isinstance(retrying, Retrying) and retrying.wait == 3.0
    assert isinstance(held, Paused) and (held.wait, held.added) == (7.0, 7.0)


MISFIT = replace(PAID, kind=Kind.NOT_JSON, retry=True)


def paid_again(unusable_answers: int) -> Dispatch:
    return Dispatch(
        dialect=Packing(),  # type: ignore[arg-type]
        new_gate=lambda: fixed_gate(9),
        policy=RetryPolicy(retries=5, unusable_answers=unusable_answers),
        patience=PatienceSettings(),
        random=lambda: 0.5,
        notify=lambda event: None,
    )


def test_a_paid_answer_that_does_not_fit_is_asked_again_as_often_as_allowed() -> None:
    dispatch = paid_again(2)
    dispatch.add([job(0)])
    for _ in range(2):
        ask_again(dispatch)
    (done,) = settle_next(dispatch, MISFIT)
    assert (done.verdict, done.job.attempts.sent, dispatch.outstanding) == (MISFIT, 3, 0)


def ask_again(d: Dispatch) -> None:
    """Settle one request with a paid answer that does not fit, and go on as when it is recorded."""
    assert settle_next(d, MISFIT) == [] and d.take(0.0) is None and d.outstanding
    assert d.recorded(d.take_unrecorded(), 0.0) == []


@pytest.mark.parametrize("hold", [False, True])
def test_every_way_out_hands_back_a_paid_answer_that_waits_for_a_better_one(hold: bool) -> None:
    def waiting() -> Dispatch:
        d = dispatch(hold=hold, policy=RetryPolicy(unusable_answers=1, unknown_outcomes=0, server_errors=0))
        d.add([job(0)])
        return d

    d = waiting()  # stopped before it is recorded
    settle_next(d, MISFIT)
    unrecorded = d.take_unrecorded()
    assert d.close() == [] and [o.verdict for o in d.recorded(unrecorded, 0.0)] == [MISFIT] and not d.outstanding
    d = waiting()  # the better one is cancelled
    ask_again(d)
    (paid,) = d.drop(take(d))
    assert (paid.verdict, paid.job.attempts.possibly_billed, d.dropped, d.outstanding) == (MISFIT, 1, 0, 0)
    d = waiting()  # the outcome of the better one is never learned
    ask_again(d)
    (paid,) = settle_next(d, TIMED_OUT)
    assert (paid.verdict, paid.job.attempts.possibly_billed, d.held, d.outstanding) == (MISFIT, 1, 0, 0)
    d = waiting()  # the better one is refused, and the run is over
    ask_again(d)
    request = take(d)
    d.close()
    assert [o.verdict for o in d.settle(request, [LIMITED], 0.0)] == [MISFIT] and not d.outstanding + d.not_started


def test_a_paid_answer_outlives_the_attempt_to_get_a_better_one() -> None:
    dispatch = paid_again(1)
    dispatch.add([job(0)])
    ask_again(dispatch)
    (done,) = settle_next(dispatch, BAD)
    assert done.verdict is MISFIT


def test_a_paid_answer_is_written_when_the_run_ends_before_a_better_one() -> None:
    dispatch = paid_again(1)
    dispatch.add([job(0), job(1)])
    first, second = dispatch.take(0.0), dispatch.take(0.0)
    assert first is not None and second is not None
    dispatch.settle(first, [MISFIT], 0.0)
    dispatch.recorded(dispatch.take_unrecorded(), 0.0)
    assert [outcome.verdict for outcome in dispatch.close()] == [MISFIT]
    assert [outcome.verdict for outcome in dispatch.settle(second, [MISFIT], 0.0)] == [MISFIT]
    assert (dispatch.outstanding, dispatch.not_started) == (0, 0)
