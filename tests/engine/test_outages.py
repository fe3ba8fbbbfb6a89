"""Servers that take requests and answer none, from the start or from some moment on. In virtual time."""

import math
import random

import pytest

from llmbatch.core.errors import ActionNeeded, CeilingReached
from llmbatch.core.exchange import Reply, Request
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.outcome import Outcome
from llmbatch.core.settings import PatienceSettings
from llmbatch.pacing.concurrency_limit import ConcurrencyLimit
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.token_bucket import TokenBucket
from tests.support.scripted import TIMED_OUT, Attempt, Run, Script, answer, error, job, play
from tests.support.services import Outage, Service, log_normal

RESET = Fault(kind=Kind.CONNECTION, message="connection reset by peer", billing=Billing.DOUBTFUL, retry=True)
FIXED = pytest.mark.parametrize("fixed", [None, 16])


def run(
    records: int, script: object, *, fixed: int | None, seed: int = 1, patience: PatienceSettings | None = None
) -> Run:
    """Run a job to its end."""
    ceiling = fixed or 256
    return play(
        (job(index) for index in range(records)),
        script,  # type: ignore[arg-type]
        workers=ceiling,
        batch=64,
        patience=patience,
        random=random.Random(seed).random,
        new_gate=lambda: Gate(ConcurrencyLimit(ceiling, adaptive=fixed is None), TokenBucket(), TokenBucket()),
    )


def failures(run: Run) -> int:
    """Count the records that failed."""
    return sum(isinstance(one, Outcome) and isinstance(one.verdict, Fault) for one in run.sink.outcomes)


@FIXED
def test_a_server_that_answers_no_more_is_asked_one_at_a_time(fixed: int | None) -> None:
    for seed in range(11, 16):
        service = Service(latency=log_normal(0.5), seed=seed, outages=[Outage(4.0, math.inf, TIMED_OUT, 30.0)])
        ended = run(5000, service, fixed=fixed, seed=seed)
        (stop,) = ended.stops
        assert isinstance(stop, CeilingReached) and stop.by == "outage"
        assert failures(ended) <= 2
        answered = len(ended.sink.outcomes) - failures(ended)
        assert ended.dispatch.sent - answered <= 2 * (fixed or 256) + 60


@FIXED
@pytest.mark.parametrize(
    ("fault", "takes"), [(RESET, 0.01), (error(502), 0.01), (TIMED_OUT, 5.0)], ids=["reset", "502", "time-out"]
)
def test_a_server_that_never_answers_ends_the_run_long_before_each_record_was_tried(
    fault: Fault | Reply, takes: float, fixed: int | None
) -> None:
    def script(request: Request, number: int) -> Attempt:
        return takes, fault

    ended = run(1000, script, fixed=fixed)
    assert isinstance(ended.stops[0], ActionNeeded) and ended.stops[0].hint
    assert "every request fails" not in ended.stops[0].message
    assert ended.dispatch.sent <= 100 and failures(ended) <= 2
    short = run(60, script, fixed=fixed)  # the probes are records that were sent once
    assert isinstance(short.stops[0], ActionNeeded) and failures(short) <= 8


@FIXED
def test_a_gateway_whose_server_is_not_there_yet_is_waited_for(fixed: int | None) -> None:
    service = Service(latency=log_normal(0.5), seed=1, outages=[Outage(0.0, 40.0, error(502), 0.01)])
    ended = run(4, service, fixed=fixed, patience=PatienceSettings(wait_ready=60.0))
    assert ended.sink.ok == 4 and ended.took < 50.0
    assert failures(run(4, service, fixed=fixed)) == 4
    ended = run(4, lambda request, number: (0.01, error(502)), fixed=fixed, patience=PatienceSettings(wait_ready=60.0))
    assert 60.0 <= ended.took < 90.0 and ended.sink.ok == 0
    slow = run(4, lambda request, number: (5.0, error(502)), fixed=fixed, patience=PatienceSettings(wait_ready=60.0))
    assert slow.dispatch.sent <= 8  # it may have been computed


@FIXED
def test_records_that_fail_and_stand_together_cost_no_outage(fixed: int | None) -> None:
    def script(bad: range) -> Script:
        return lambda request, number: (0.1, error(500)) if request.jobs[0].identity.index in bad else (1.0, answer())

    good, some_bad = (run(1000, script(bad), fixed=fixed) for bad in (range(0), range(500, 560)))
    assert some_bad.sink.ok == 940 and failures(some_bad) == 60
    assert some_bad.took <= good.took + 8.0, "another record shows soon that the server works"


@pytest.mark.parametrize(("records", "fixed"), [(60, None), (60, 16), (1000, 16)])
@pytest.mark.parametrize("lasts", [2.0, 5.0, 20.0])
@pytest.mark.parametrize("fault", [RESET, error(502), error(500)], ids=["reset", "502", "500"])
def test_an_outage_in_which_all_fails_at_once_takes_no_record(
    fault: Fault | Reply, lasts: float, records: int, fixed: int | None
) -> None:
    for seed in range(11, 16):
        service = Service(latency=log_normal(1.0), seed=seed, outages=[Outage(0.6, 0.6 + lasts, fault, 0.03)])
        ended = run(records, service, fixed=fixed, seed=seed)
        assert ended.sink.ok == records


@FIXED
@pytest.mark.parametrize("fault", [error(502), error(500)], ids=["502", "500"])
def test_a_single_record_outlasts_a_fault_of_two_seconds(fault: Reply, fixed: int | None) -> None:
    for seed in range(11, 16):
        service = Service(latency=log_normal(1.0), seed=seed, outages=[Outage(0.0, 2.0, fault, 0.03)])
        ended = run(1, service, fixed=fixed, seed=seed)
        assert ended.sink.ok == 1 and ended.took < 8.0


@FIXED
def test_errors_of_a_server_that_never_worked_are_not_taken_for_an_outage(fixed: int | None) -> None:
    tries = 2

    def script(request: Request, number: int) -> Attempt:
        return 0.1, error(500) if request.jobs[0].attempts.sent <= tries else answer()

    for seed in range(11, 16):
        ended = run(6, script, fixed=fixed, seed=seed)
        assert ended.sink.ok == 6 and ended.took < 8.0
