"""When a server that worked gives nothing any more but errors."""

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.exchange import Expected, Request
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.pacing.failure_streak import FailureStreak
from tests.support.scripted import job

ERROR = Fault(kind=Kind.SERVER_ERROR, message="", billing=Billing.SERVER, retry=True, status=500)
GATEWAY = Fault(kind=Kind.GATEWAY, message="", billing=Billing.DOUBTFUL, retry=True, status=504)


def departed(number: int, took: float) -> Request:
    """Make a request that left as this one of all, and ended after so many seconds."""
    request = Request((job(number),), "/", b"", Expected("chat"))
    request.departure = number
    request.jobs[0].attempts.latency = took
    return request


def worked() -> FailureStreak:
    """Make one whose server has given an answer within a second."""
    failures = FailureStreak()
    failures.answered(departed(0, 1.0))
    return failures


@given(st.permutations(range(1, 11)))
def test_ten_failures_in_a_row_are_a_streak_in_whatever_order_they_come(order: list[int]) -> None:
    failures = worked()
    assert [failures.failed(departed(number, 0.05), 1.0) for number in order] == [False] * 9 + [True]


@given(st.integers(1, 11))
def test_an_answer_to_one_that_left_meanwhile_ends_it(answered: int) -> None:
    failures = worked()
    for number in range(1, 10):
        failures.failed(departed(number, 0.05), 1.0)
    failures.answered(departed(answered, 1.0))
    assert not failures.failed(departed(12, 0.05), 1.0)


def test_quick_failures_among_requests_without_an_answer_yet_are_none() -> None:
    failures = worked()
    assert not any(failures.failed(departed(3 * number, 0.05), 1.9) for number in range(1, 200))


def test_they_are_one_once_the_others_would_have_been_answered() -> None:
    failures = worked()
    assert not any(failures.failed(departed(3 * number, 1.9), 10.0) for number in range(1, 12))
    assert failures.failed(departed(50, 2.1), 10.0)


def test_plain_errors_are_taken_for_those_of_the_records_after_a_while_until_there_is_an_answer() -> None:
    failures = worked()
    row = [failures.failed(departed(number, 0.05), 1.0) for number in range(1, 12)]
    assert row[-1]
    assert not failures.loses_patience(ERROR, None, 100.0) and not failures.loses_patience(ERROR, 71.0, 100.0)
    assert not failures.loses_patience(GATEWAY, 0.0, 100.0)
    assert failures.loses_patience(ERROR, 69.0, 100.0)
    assert not any(failures.failed(departed(number, 0.05), 100.0) for number in range(12, 40))
    failures.answered(departed(40, 1.0))
    assert any(failures.failed(departed(number, 0.05), 101.0) for number in range(41, 52))
