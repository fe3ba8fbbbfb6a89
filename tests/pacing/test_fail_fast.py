"""Faults that every record would meet end a route; those of single records do not."""

import pytest

from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.job import Route
from llmbatch.pacing.fail_fast import FEW, MANY, FailFast

A, B = Route("/chat/completions", "a"), Route("/chat/completions", "b")

KEY = Fault(kind=Kind.UNAUTHORIZED, message="", scope=Scope.RUN, status=401)
CREDIT = Fault(kind=Kind.NO_CREDIT, message="", scope=Scope.RUN, status=429, code="insufficient_quota")
UNREACHABLE = Fault(kind=Kind.CONNECTION, message="", scope=Scope.RUN, retry=True)
MODEL = Fault(kind=Kind.NOT_FOUND, message="", scope=Scope.ROUTE, status=404)
QUOTA = Fault(kind=Kind.RATE_LIMITED, message="", scope=Scope.ROUTE, status=429)
BAD = Fault(kind=Kind.BAD_REQUEST, message="", status=400)


def failures_until_it_breaks(breaker: FailFast, fault: Fault, route: Route = A, most: int = 1000) -> int | None:
    return next((n for n in range(1, most + 1) if breaker.failed(route, fault)), None)


@pytest.mark.parametrize("fault", [KEY, CREDIT, UNREACHABLE, MODEL, QUOTA])
def test_a_few_records_are_enough_when_nothing_ever_worked(fault: Fault) -> None:
    assert failures_until_it_breaks(FailFast(), fault) == FEW


def test_a_plain_400_needs_a_long_row() -> None:
    assert failures_until_it_breaks(FailFast(), BAD) == MANY


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=Kind.CONTEXT_LENGTH, message="", status=400),
        Fault(kind=Kind.CONTENT_FILTER, message="", status=400),
        Fault(kind=Kind.TOO_LARGE, message="", status=413),
        Fault(kind=Kind.BAD_REQUEST, message="", scope=Scope.CONTENT, status=404),
        Fault(kind=Kind.SERVER_ERROR, message="", billing=Billing.SERVER, status=500),
        Fault(kind=Kind.UNPARSABLE, message="", billing=Billing.BILLED, status=200),
        Fault(kind=Kind.RATE_LIMITED, message="", scope=Scope.ROUTE, billing=Billing.THROTTLED, status=429),
    ],
)
def test_what_speaks_of_one_record_or_one_moment_never_counts(fault: Fault) -> None:
    assert failures_until_it_breaks(FailFast(), fault) is None


@pytest.mark.parametrize("fault", [KEY, CREDIT, UNREACHABLE, MODEL, BAD])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_model_that_worked_once_is_never_given_up(fault: Fault, earlier: bool) -> None:
    breaker = FailFast(lambda route: earlier)
    if not earlier:
        breaker.succeeded(A)
    assert failures_until_it_breaks(breaker, fault) is None
    assert breaker.hopeless() == {}


def test_a_daily_quota_is_used_up_by_successes() -> None:
    breaker = FailFast()
    breaker.succeeded(A)
    assert failures_until_it_breaks(breaker, QUOTA, most=FEW - 1) is None
    breaker.succeeded(A)
    assert failures_until_it_breaks(breaker, QUOTA) == FEW


def test_models_are_counted_apart() -> None:
    breaker = FailFast()
    breaker.succeeded(B)
    assert failures_until_it_breaks(breaker, MODEL, A) == FEW
    assert failures_until_it_breaks(breaker, MODEL, B) is None


def test_different_reasons_do_not_add_up() -> None:
    breaker = FailFast()
    for _ in range(50):
        assert not breaker.failed(A, KEY)
        assert not breaker.failed(A, MODEL)
