"""What follows a fault, for its job, its route and the run: one decision at a time."""

from dataclasses import replace

import pytest

from llmbatch.core.errors import CeilingReached
from llmbatch.core.exchange import Expected, Request
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.job import Job
from llmbatch.core.settings import PatienceSettings
from llmbatch.engine.retries import NextStep, Retries
from llmbatch.engine.routes import RouteQueue
from llmbatch.pacing.fail_fast import FailFast
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.retry import RetryPolicy
from tests.support.scripted import fixed_gate, job

FREE = Fault(kind=Kind.CONNECTION, message="reset", retry=True)
REFUSED = Fault(kind=Kind.RATE_LIMITED, message="slow down", billing=Billing.THROTTLED, retry=True)
LOST = Fault(kind=Kind.TIMEOUT, message="no answer", billing=Billing.DOUBTFUL, retry=True)
PAID = Fault(kind=Kind.NOT_JSON, message="prose", billing=Billing.BILLED, retry=True)
GONE = Fault(kind=Kind.CONNECTION, message="refused", scope=Scope.RUN, retry=True)
PATIENCE = PatienceSettings(max_wait=60.0, max_outage=900.0)


def decide(fault: Fault, one: Job, *, hold: bool = False, ending: bool = False, tell_gate: bool = True) -> NextStep:
    return decided(fault, one, hold=hold, ending=ending, tell_gate=tell_gate)[0]


def decided(
    fault: Fault,
    one: Job,
    *,
    hold: bool = False,
    ending: bool = False,
    tell_gate: bool = True,
    answers: int = 0,
    others: int = 0,
) -> tuple[NextStep, Gate]:
    """Return what follows a fault after so many answers, with so many others in flight, and the gate."""
    policy = RetryPolicy(retries=1, unusable_answers=1, unknown_outcomes=0 if hold else 1)
    retries = Retries(policy, PATIENCE, FailFast(), lambda: 0.5, hold=hold)
    queue = RouteQueue(one.route, [fixed_gate(4)])
    request = Request((one,), "/", b"", Expected("chat"))
    gate = queue.gate.gate_for(request)
    gate.answers += answers
    for _ in range(others):
        gate.enter(0.0, Request((job(1),), "/", b"", Expected("chat")))
    gate.enter(0.0, request)
    step = retries.after(queue, request, one, fault, 1.0, tell_gate=tell_gate, ending=ending)
    assert retries.holds(one, fault) is (hold and fault is LOST)
    return step, gate


@pytest.mark.parametrize("fault", [FREE, LOST, PAID])
def test_a_fault_is_tried_again_as_often_as_its_kind_allows(fault: Fault) -> None:
    one = job(0)
    first, second = decide(fault, one), decide(fault, one)
    assert first.wait is not None and not first.with_route and second.wait is None


def test_a_refusal_closes_the_gate_and_costs_the_job_nothing() -> None:
    one = job(0)
    step = decide(REFUSED, one)
    assert (step.wait, step.with_route, one.attempts.retries) == (0.0, True, 0)
    assert step.added is not None and step.added > 0


def test_a_longer_wait_than_patience_allows_ends_the_run() -> None:
    for fault in (FREE, REFUSED):
        assert decide(replace(fault, wait=60.0), job(0)).stop is None
        assert isinstance(decide(replace(fault, wait=61.0), job(0)).stop, CeilingReached)


def test_what_may_be_billed_is_not_sent_again_under_hold() -> None:
    one = job(0)
    assert decide(LOST, one, hold=True).wait is None and one.attempts.possibly_billed == 1


def test_a_paid_answer_is_not_asked_for_again_once_nothing_more_is_sent() -> None:
    one = job(0)
    assert decide(PAID, one, ending=True) == NextStep() and one.attempts.unusable_answer is None


def test_a_server_out_of_reach_closes_the_gate() -> None:
    assert decide(GONE, job(0)).with_route


@pytest.mark.parametrize("kind", [Kind.CONNECTION, Kind.PROTOCOL, Kind.GATEWAY])
@pytest.mark.parametrize(("answers", "others"), [(0, 0), (1, 0), (0, 3)])
def test_an_end_without_an_answer_is_a_refusal_for_the_pace_if_the_server_works(
    kind: Kind, answers: int, others: int
) -> None:
    """One that never worked fails the records instead: it is no outage that ends."""
    dropped = Fault(kind=kind, message="", billing=Billing.DOUBTFUL, retry=True)
    step, gate = decided(dropped, job(0), answers=answers, others=others)
    assert step.wait is not None and gate.refusals == (answers + others > 0)
    assert decided(LOST, job(0), answers=answers, others=others)[1].refusals == 0


def test_a_record_that_is_refused_while_others_go_on_waits_longer_and_longer_up_to_a_bound() -> None:
    one = job(0)
    waits = [decide(REFUSED, one, tell_gate=False).wait for _ in range(12)]
    assert waits[:5] == [0.25, 0.5, 1.0, 2.0, 4.0] and set(waits[5:]) == {4.0}  # half of the bounds


@pytest.mark.parametrize("was_there", [False, True])
def test_a_server_that_took_requests_and_is_gone_is_waited_for_as_in_any_outage(was_there: bool) -> None:
    """Without a first answer one that cannot be reached ends the run, unless it was there before."""
    retries = Retries(RetryPolicy(retries=2), PATIENCE, FailFast(), lambda: 0.5, hold=False)
    queue, now = RouteQueue(job(0).route, [fixed_gate(4)]), 0.0
    stops = []
    for fault in [*[LOST] * was_there, *[GONE] * 6]:
        request = Request((job(0),), "/", b"", Expected("chat"))
        now = max(now, queue.gate.opens(now, 0.0))
        queue.gate.enter(now, request)
        stops.append(retries.after(queue, request, request.jobs[0], fault, now, tell_gate=True, ending=False).stop)
        queue.gate.leave(request)
    assert any(stops) is not was_there
