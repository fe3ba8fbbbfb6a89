"""One route's gate: what a refusal closes, what a probe opens, and what is learned from both."""

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.exchange import Expected, RateLimits, Request
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.pacing.concurrency_limit import CANARY, ConcurrencyLimit
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.refusal_pattern import Pattern
from llmbatch.pacing.retry import refused_apart
from llmbatch.pacing.token_bucket import TokenBucket
from tests.support.scripted import fixed_gate, job

BUSY = Fault(kind=Kind.OVERLOADED, message="", billing=Billing.THROTTLED, retry=True, status=503)
GONE = Fault(kind=Kind.CONNECTION, message="", scope=Scope.RUN, retry=True)
BROKEN = Fault(kind=Kind.GATEWAY, message="", billing=Billing.DOUBTFUL, retry=True, status=502)
BAD = Fault(kind=Kind.BAD_REQUEST, message="", status=400)


def limited(wait: float | None = None) -> Fault:
    return Fault(kind=Kind.RATE_LIMITED, message="", billing=Billing.THROTTLED, retry=True, wait=wait, status=429)


class Traffic:
    """Requests through one gate, with the time passed along."""

    def __init__(self, gate: Gate, draw: float = 0.5) -> None:
        self.gate, self.draw, self.now = gate, draw, 0.0
        self.left: dict[int, float] = {}

    def opens(self) -> float:
        return self.gate.opens(self.now, 0.0)

    def send(self) -> Request:
        assert self.opens() <= self.now
        request = Request((job(0),), "/", b"", Expected("chat"))
        self.gate.enter(self.now, request)
        self.left[id(request)] = self.now
        return request

    def send_all(self, most: int = 1000) -> list[Request]:
        """Send as many as may leave at this moment."""
        sent: list[Request] = []
        while len(sent) < most and self.opens() <= self.now:
            sent.append(self.send())
        return sent

    def answer(self, request: Request, after: float = 0.0) -> None:
        self.now += after
        request.jobs[0].attempts.latency = self.now - self.left[id(request)]
        self.gate.succeeded(request, self.now, 1)
        self.gate.leave(request)

    def refuse(self, request: Request, fault: Fault = BUSY, after: float = 0.05) -> float | None:
        self.now += after
        added = self.gate.refused(request, fault, self.now, self.now - self.left[id(request)], lambda: self.draw)
        self.gate.leave(request)
        return added

    def fail(self, request: Request, fault: Fault, after: float = 0.05) -> None:
        self.now += after
        request.jobs[0].attempts.latency = self.now - self.left[id(request)]
        self.gate.settle(request, fault, self.now, lambda: self.draw)

    def wait(self) -> float:
        """Let time pass until somebody may leave."""
        before, self.now = self.now, max(self.now, self.opens())
        assert self.now < math.inf
        return self.now - before


def adaptive(ceiling: int = 256) -> Gate:
    return Gate(ConcurrencyLimit(ceiling, adaptive=True), TokenBucket(), TokenBucket())


def test_a_new_gate_is_open() -> None:
    assert fixed_gate(1).opens(5.0, 0.0) <= 5.0


def test_a_full_gate_opens_when_somebody_leaves() -> None:
    traffic = Traffic(fixed_gate(2))
    first, _ = traffic.send(), traffic.send()
    assert traffic.opens() == math.inf
    traffic.answer(first)
    assert traffic.opens() <= traffic.now


@given(st.floats(0.01, 1000), st.floats(0, 0.999))
def test_a_refusal_closes_for_at_least_what_was_asked(asked: float, draw: float) -> None:
    traffic = Traffic(fixed_gate(1), draw)
    traffic.refuse(traffic.send(), limited(asked))
    assert traffic.now + asked <= traffic.opens() <= traffic.now + max(asked, 1.0) + 10.0


def test_a_shorter_wait_does_not_open_what_a_longer_one_closed() -> None:
    traffic = Traffic(fixed_gate(8), draw=0.0)
    *crowd, late = traffic.send_all()
    for request in crowd:
        traffic.refuse(request, limited(60.0), after=0.0)
    traffic.refuse(late, limited(1.0), after=0.5)
    assert traffic.opens() == 60.0


@pytest.mark.parametrize("place", range(7))
def test_one_long_wait_among_short_ones_holds_nothing_back_but_its_own_record(place: int) -> None:
    traffic = Traffic(fixed_gate(7), draw=0.0)
    added = [
        traffic.refuse(request, limited(30.0 if number == place else 2.0), after=0.0)
        for number, request in enumerate(traffic.send_all())
    ]
    assert added == [None] * 6 + [2.0]


def test_only_the_time_that_a_refusal_adds_is_reported() -> None:
    traffic = Traffic(fixed_gate(10), draw=0.0)
    *crowd, late, later = traffic.send_all()
    assert [traffic.refuse(request, limited(60.0), after=0.0) for request in crowd] == [None] * 6 + [60.0, 0.0]
    assert traffic.refuse(late, limited(60.0), after=10.0) == pytest.approx(10.0)
    assert traffic.refuse(later, limited(1.0), after=1.0) == 0.0


def test_what_left_before_a_limit_was_announced_is_refused_for_that_limit_and_holds_back_nothing_else() -> None:
    traffic = Traffic(adaptive())
    crowd = [request for _ in range(30) for request in (traffic.wait(), traffic.send())[1:]]
    traffic.gate.announced(crowd[20], RateLimits(requests=600.0, requests_left=0.0, requests_reset=60.0), traffic.now)

    assert [traffic.refuse(request, limited(), after=0.001) for request in crowd[20:]] == [None] * 10

    while traffic.gate.in_flight < 40:
        traffic.wait()
        traffic.send()
    assert traffic.now < 5.0, "ten a second leave, and silence is good news still"
    later = [request for _ in range(10) for request in (traffic.wait(), traffic.send())[1:]]
    assert any(traffic.refuse(request, limited(), after=0.001) is not None for request in later)


@pytest.mark.parametrize("gate", [fixed_gate(64), adaptive()])
def test_a_crowd_that_is_refused_together_counts_as_one_refusal(gate: Gate) -> None:
    traffic = Traffic(gate)
    traffic.answer(traffic.send(), after=0.01)
    crowd = [request for _ in range(9) for request in (traffic.wait(), traffic.send())[1:]]
    while traffic.refuse(crowd.pop(0)) is None:
        pass
    closed_until = gate.closed_until
    for request in crowd:
        traffic.refuse(request, after=1e-4)
    assert gate.closed_until == closed_until and gate.breaker.refusals_in_row == 1


@pytest.mark.parametrize("fault", [BUSY, GONE, limited()])
def test_after_a_refusal_one_probe_leaves_and_nobody_with_it(fault: Fault) -> None:
    traffic = Traffic(fixed_gate(64))
    crowd = traffic.send_all()
    for request in crowd:
        traffic.refuse(request, fault, after=1e-3)
    for _ in range(10):
        traffic.wait()
        (probe,) = traffic.send_all()
        traffic.refuse(probe, fault)
        assert traffic.opens() > traffic.now


def test_a_probe_that_is_not_refused_as_quickly_as_others_was_admitted() -> None:
    traffic = Traffic(fixed_gate(64))
    traffic.refuse(traffic.send(), limited(), after=0.2)
    traffic.wait()
    traffic.send_all()
    assert 0.2 < traffic.wait() < 1.0


@pytest.mark.parametrize("took", [1e-3, 2.0])
def test_others_follow_the_probe_of_a_server_that_was_gone_like_the_canary_of_a_run(took: float) -> None:
    traffic = Traffic(fixed_gate(64))
    traffic.answer(traffic.send(), after=30.0)
    for _ in range(2):
        traffic.refuse(traffic.send(), GONE, after=took)
        traffic.wait()
    left, silent = traffic.now, max(CANARY, 1.5 * took)
    assert len(traffic.send_all()) == 1
    traffic.wait()
    assert silent - 1e-6 <= traffic.now - left < silent + 0.1, "no answer of 30 seconds is waited for"
    assert len(traffic.send_all()) == 1, "and the next ones leave in a slow start"


def test_refusals_again_and_again_are_waited_out_longer_and_longer() -> None:
    traffic, source, waits = Traffic(fixed_gate(1)), random.Random(3), []
    for _ in range(60):
        traffic.draw = source.random()
        traffic.refuse(traffic.send())
        waits.append(traffic.wait())
    assert waits[0] < 1.0 and sum(waits[20:]) / 40 > 15.0
    assert max(waits) < 31.0


def test_an_answer_ends_the_outage_and_the_growth_of_waits() -> None:
    traffic = Traffic(fixed_gate(1))
    for _ in range(8):
        traffic.refuse(traffic.send())
        traffic.wait()
    assert traffic.gate.outage_since == 0.05
    traffic.answer(traffic.send(), after=0.1)
    assert traffic.gate.outage_since is None
    traffic.refuse(traffic.send())
    assert traffic.wait() < 1.5


def test_an_answer_to_what_left_before_the_outage_does_not_end_it() -> None:
    traffic = Traffic(fixed_gate(3))
    first, second, third = traffic.send_all()
    traffic.refuse(first, GONE)
    traffic.answer(second, after=0.01)
    traffic.wait()
    probe = traffic.send()
    traffic.answer(third, after=0.01)
    assert traffic.gate.outage_since is not None
    traffic.answer(probe, after=0.01)
    assert traffic.gate.outage_since is None


def test_a_straggler_of_the_crowd_does_not_close_what_a_probe_opened() -> None:
    traffic = Traffic(fixed_gate(3))
    first, slow = traffic.send_all()[:2]
    traffic.refuse(first, GONE)
    traffic.wait()
    traffic.answer(traffic.send(), after=0.01)
    traffic.refuse(slow, GONE, after=0.01)
    assert traffic.opens() <= traffic.now and traffic.gate.outage_since is None


@pytest.mark.parametrize(("fault", "is_open"), [(BAD, True), (BROKEN, False)])
def test_a_probe_with_a_fault_of_its_own_shows_whether_the_server_works(fault: Fault, is_open: bool) -> None:
    traffic = Traffic(fixed_gate(8))
    for _ in range(2):
        traffic.refuse(traffic.send())
        traffic.wait()
    traffic.fail(traffic.send(), fault)
    assert (traffic.opens() <= traffic.now) is is_open


def test_a_probe_that_is_taken_back_leaves_its_place_to_another() -> None:
    traffic = Traffic(fixed_gate(8))
    for _ in range(2):
        traffic.refuse(traffic.send())
        traffic.wait()
    traffic.gate.leave(traffic.send())
    traffic.wait()
    assert len(traffic.send_all()) == 1


def test_after_an_outage_others_follow_a_silent_probe_in_a_slow_start_and_the_first_refusal_ends_it() -> None:
    traffic = Traffic(fixed_gate(100))
    traffic.answer(traffic.send(), after=3.0)
    for _ in range(8):
        traffic.wait()
        traffic.refuse(traffic.send())
    traffic.wait()
    began = traffic.now
    left: list[float] = []
    while len(left) < 16:
        traffic.wait()
        last = traffic.send()
        left.append(traffic.now - began)
    assert left[1] > 0.05, "the probe goes first"
    assert sum(moment < 0.3 for moment in left) <= 8 and left[-1] < 1.0
    traffic.refuse(last)
    assert traffic.gate.breaker.refusals_in_row == 1 and traffic.opens() > traffic.now


def test_a_server_that_comes_back_and_does_not_answer_meets_few_requests_and_all_once_it_answers() -> None:
    traffic = Traffic(fixed_gate(100))
    traffic.answer(traffic.send(), after=3.0)
    for _ in range(4):
        traffic.wait()
        traffic.refuse(traffic.send(), GONE)
    traffic.wait()
    silent = [traffic.send()]
    while traffic.opens() < math.inf:
        traffic.wait()
        silent.append(traffic.send())
    assert len(silent) == traffic.gate.now == 16
    traffic.fail(silent.pop(), BROKEN)
    assert len(traffic.send_all()) <= 1, "another one takes its place"
    traffic.answer(silent.pop(0), after=1.0)
    began, others = traffic.now, 0
    while traffic.opens() < math.inf:
        traffic.wait()
        traffic.send()
        others += 1
    assert others >= 80 and traffic.now - began < 1.5


def test_a_probe_waits_for_a_part_of_what_the_outage_took_so_far() -> None:
    traffic, began = Traffic(fixed_gate(1)), 0.05
    traffic.draw = 1.0
    for _ in range(10):
        traffic.refuse(traffic.send())
        assert traffic.wait() <= 1.0 + 0.4 * (traffic.now - began)


@pytest.mark.parametrize("fault", [BUSY, GONE, limited()])
def test_an_outage_is_no_reason_for_fewer_in_flight_afterwards(fault: Fault) -> None:
    traffic = Traffic(adaptive(64))
    crowd: list[Request] = []
    while len(crowd) < 64:
        if traffic.opens() <= traffic.now:
            crowd.append(traffic.send())
        elif traffic.opens() < math.inf:
            traffic.wait()
        else:
            traffic.answer(crowd.pop(0), after=0.1)
    for request in [crowd.pop() for _ in range(8)]:
        traffic.refuse(request, fault, after=1e-3)
    for request in crowd:
        traffic.answer(request, after=1e-3)
    for _ in range(3):
        traffic.wait()
        traffic.refuse(traffic.send(), fault)
    assert traffic.gate.limit.now == 64


def test_refusals_beside_a_few_where_many_are_allowed_do_not_lower_the_limit_to_these() -> None:
    traffic = Traffic(adaptive(64))
    traffic.gate.limit.resume(64.0)
    crowd = traffic.send_all()
    for request in [crowd.pop() for _ in range(8)]:
        traffic.refuse(request, limited(), after=1e-3)
    for request in crowd:
        traffic.answer(request, after=0.01)
    few: list[Request] = []
    while len(few) < 4:
        traffic.wait()
        few.append(traffic.send())
    traffic.answer(few.pop(0), after=1.0)
    before = traffic.gate.limit.now
    traffic.refuse(few.pop(), limited())
    assert traffic.gate.limit.now == before, "others were admitted at more load"
    for _ in range(5):
        traffic.wait()
        traffic.refuse(traffic.send(), limited())
    assert traffic.gate.breaker.refusals_in_row >= 5 and traffic.gate.limit.now > 20


def test_connections_refused_beyond_slots_lower_the_limit_and_stop_nobody_else() -> None:
    traffic = Traffic(adaptive())
    crowd = [traffic.send()]
    for _ in range(3):
        traffic.answer(crowd.pop(), after=0.5)
        crowd += traffic.send_all(12 - len(crowd))
    assert traffic.refuse(crowd.pop(), GONE) is None
    assert traffic.opens() < math.inf or traffic.gate.in_flight
    assert traffic.gate.outage_since is None


def at_a_known_wall(latency: float = 1.0) -> tuple[Traffic, list[Request]]:
    """Fill a gate whose wall is known, after a pause; return what is in flight."""
    traffic = Traffic(adaptive())
    gate = traffic.gate
    traffic.answer(traffic.send(), after=latency)
    gate.limit.resume(40.0)
    gate.limit.refused(traffic.now, 0.0, 40)
    traffic.now += 5.0
    for departure in range(9):
        gate.policy.pattern.refused(departure, 10)
    gate.sent = 40
    gate.policy.wall.found(traffic.now, 40, 1)
    crowd: list[Request] = []
    while traffic.opens() < math.inf:
        traffic.wait()
        crowd.append(traffic.send())
    assert gate.policy.pattern.pattern is Pattern.WALL and len(crowd) == 36
    return traffic, crowd


def test_what_is_refused_together_for_the_load_costs_no_pause_at_a_known_wall() -> None:
    traffic, crowd = at_a_known_wall()
    together, named = crowd[-3:], replace(BUSY, wait=20.0)
    assert [traffic.refuse(request, named, after=0.01) for request in together] == [None] * 3
    for request in crowd[:10]:
        traffic.answer(request, after=0.1)
    traffic.wait()
    added = traffic.refuse(traffic.send(), named, after=0.01)
    assert added is not None and added > 15.0, "less in flight did not help"


def test_a_rate_that_refuses_several_together_closes_the_route() -> None:
    traffic, crowd = at_a_known_wall()
    found = [traffic.refuse(request, limited(20.0), after=0.01) for request in crowd[-2:]]
    assert found[0] is None and found[1] is not None and found[1] > 15.0


@pytest.mark.parametrize(("wait", "latency"), [(20.0, 1.0), (3.0, 0.3)])
def test_answers_that_make_room_bring_an_early_probe_in_a_pause_of_several_round_trips(
    wait: float, latency: float
) -> None:
    traffic, crowd = at_a_known_wall(latency)
    for request in crowd[-8:]:
        traffic.refuse(request, limited(wait), after=0.01)
    opens = [traffic.opens() for request in crowd[:20] if traffic.answer(request, after=0.05) is None]
    assert opens[0] > traffic.now + wait / 2 and opens[-1] <= traffic.now


def test_a_pause_of_about_a_second_is_waited_out() -> None:
    traffic, crowd = at_a_known_wall(latency=0.1)
    for request in crowd[-8:]:
        traffic.refuse(request, limited(1.2), after=0.01)
    for request in crowd[:20]:
        traffic.answer(request, after=0.005)
    assert traffic.opens() > traffic.now + 1.0


def test_an_early_probe_that_is_refused_is_the_only_one_of_its_pause_but_not_of_the_run() -> None:
    traffic, crowd = at_a_known_wall()
    for _ in range(2):
        for request in [crowd.pop() for _ in range(8)]:
            traffic.refuse(request, limited(20.0), after=0.01)
        while traffic.opens() > traffic.now:
            traffic.answer(crowd.pop(0), after=0.05)
        traffic.refuse(traffic.send(), limited(20.0), after=0.01)
        for request in crowd:
            traffic.answer(request, after=0.05)
            assert traffic.opens() > traffic.now + 10.0
        traffic.wait()
        traffic.answer(traffic.send(), after=0.05)
        crowd.clear()
        while traffic.opens() < math.inf:
            traffic.wait()
            crowd.append(traffic.send())


def test_a_wall_that_is_contradicted_is_left_without_a_trial_for_the_load_that_was_refused_last() -> None:
    traffic = Traffic(adaptive())
    gate = traffic.gate
    traffic.answer(traffic.send(), 1.0)
    gate.limit.refused(traffic.now, 0.0, 10)
    gate.requests.guess(600.0, traffic.now)
    gate.policy.pattern.pattern = Pattern.SCATTERED
    gate.policy.trials.begin(traffic.now, 3, 50)
    assert gate.policy.trials.current is None and gate.limit.now == gate.limit.plateau == 10
    assert gate.limit.tolerant and not gate.requests.guessed


def test_a_learned_rate_comes_back_when_twice_the_load_is_refused() -> None:
    traffic = Traffic(adaptive())
    gate = traffic.gate
    traffic.answer(traffic.send(), 1.0)
    for departure in range(9):
        gate.policy.pattern.refused(departure, 10)
    gate.requests.guess(600.0, traffic.now)
    gate.policy.wall.found(traffic.now, 64, 1)
    while gate.policy.pattern.pattern is Pattern.WALL:
        for _ in range(2):
            traffic.wait()
            traffic.answer(traffic.send(), 1.0)
        before = gate.requests.rate
        traffic.wait()
        traffic.refuse(traffic.send(), limited())
    assert gate.policy.pattern.raises and not gate.requests.guessed
    while gate.policy.pattern.pattern is Pattern.TRIAL:
        traffic.wait()
        traffic.refuse(traffic.send(), limited())
    assert 0.8 * before <= gate.requests.rate <= before


def test_more_refusals_than_usual_lower_the_limit_at_once_without_a_trial() -> None:
    traffic = Traffic(adaptive())
    gate = traffic.gate
    for count, in_flight in enumerate((10, 12, 16, 19, 24), 1):
        gate.policy.pattern.refused(20 * count, 20 * count + 1, in_flight, growing=True)
    gate.sent, usual = 101, gate.policy.pattern.share
    assert usual > 0.0
    traffic.answer(traffic.send(), 1.0)
    gate.limit.resume(40.0)
    gate.limit.refused(traffic.now, 0.0, 40)  # it does not grow any more
    before = gate.limit.now
    traffic.now += 5.0
    sent = [request for _ in range(30) for request in (traffic.wait(), traffic.send())[1:]]
    for request in sent[::2]:
        assert traffic.refuse(request, after=0.01) is None and gate.policy.trials.current is None
    assert 1 < gate.limit.now < before


def test_no_herd_leaves_after_a_pause() -> None:
    traffic = Traffic(fixed_gate(200))
    for _ in range(3):
        traffic.refuse(traffic.send(), replace(BUSY, wait=20.0))
        traffic.wait()
    traffic.answer(traffic.send(), after=1.0)
    began, sent = traffic.now, []
    flying: list[Request] = []
    while traffic.now < began + 4.0:
        fresh = traffic.send_all()
        sent += [traffic.now - began] * len(fresh)
        flying += fresh
        if flying and traffic.left[id(flying[0])] + 1.0 <= traffic.now + 0.001:
            traffic.answer(flying.pop(0))
        else:
            traffic.now += 0.001
    assert sum(moment < 0.01 for moment in sent) <= 3
    assert sum(moment < 0.3 for moment in sent) <= 10
    assert len(sent) > 300


def apart_after(refusals: int, *, answers: int) -> list[int | None]:
    """Refuse a job so often, with so many answers to others between two refusals."""
    one = job(7)
    return [refused_apart(one.attempts, answers * number) for number in range(refusals)]


def test_a_job_that_is_refused_again_and_again_while_others_are_answered_is_set_apart() -> None:
    assert apart_after(8, answers=4) == [None] * 5 + [0, 0, 0]


def test_refusals_of_a_job_that_is_apart_count_while_nothing_is_answered() -> None:
    one = job(7)
    found = [refused_apart(one.attempts, answers) for answers in (0, 9, 18, 27, 36, 45, 45, 45, 46, 46)]
    assert found == [None] * 5 + [0, 1, 2, 0, 1]


def test_the_last_job_of_a_run_is_not_set_apart_by_a_limit_that_refuses_it_alone() -> None:
    last = job(7)
    answers = [20, 31, *[52] * 30]  # what was in flight at the first refusals is answered, and nothing is left
    assert {refused_apart(last.attempts, number) for number in answers} == {None}


def test_in_slow_start_a_quick_answer_lets_two_more_follow() -> None:
    limit = ConcurrencyLimit(256, adaptive=True, start=64.0)
    limit.departed(0.0)
    limit.succeeded(1.0, 1.0, 1, 1, 1, 0)
    limit.succeeded(2.0, 1.0, 1, 64, 5, 4)
    assert limit.now == 66


@pytest.mark.parametrize(("refused", "searches"), [((4, 6), False), ((4, 5), True)])
def test_before_any_answer_two_refusals_in_a_row_start_a_search_for_a_rate(
    refused: tuple[int, int], searches: bool
) -> None:
    traffic = Traffic(adaptive())
    sent: list[Request] = []
    while len(sent) < 7:
        traffic.wait()
        sent.append(traffic.send())

    for number in refused:
        traffic.refuse(sent[number], limited(), after=0.001)

    assert (traffic.gate.policy.search is not None) == searches


def test_in_a_storm_no_job_is_set_apart() -> None:
    assert apart_after(50, answers=3) == [None] * 50


@pytest.mark.parametrize(("start", "most"), [(0.0, 12), (100.0, 100), (1000.0, 256)])
def test_the_first_answer_lets_as_many_leave_as_a_run_before_found(start: float, most: int) -> None:
    limit = ConcurrencyLimit(256, adaptive=True, start=start)
    assert limit.now == 1, "one request goes first, whatever was found before"
    limit.succeeded(1.0, 0.5, 10, 1, 1, 0)
    assert limit.now == most


@pytest.mark.parametrize("asked", [None, 1.0])
def test_a_probe_leaves_when_the_minute_of_a_burst_ends_and_no_sooner_than_was_asked(asked: float | None) -> None:
    traffic = Traffic(adaptive(), draw=0.8)
    traffic.answer(traffic.send(), after=0.3)
    for request in traffic.send_all():
        traffic.answer(request, after=0.01)
    probes: list[float] = []
    while traffic.now < 70.0:
        traffic.wait()
        probes.append(traffic.now)
        traffic.refuse(traffic.send(), limited(asked))
    assert any(60.0 < when < 62.0 for when in probes)
    assert all(later - earlier > (asked or 0.0) for earlier, later in pairwise(probes) if earlier > 5.0)
