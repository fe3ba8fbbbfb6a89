"""Whether and when a failed attempt is made again."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.attempts import Attempts
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.pacing.retry import CAP, RetryPolicy, backoff


def fault(billing: Billing, wait: float | None = None, *, retry: bool = True) -> Fault:
    return Fault(kind=Kind.SERVER_ERROR, message="", billing=billing, retry=retry, wait=wait)


def resends(policy: RetryPolicy, billing: Billing) -> int:
    """Count how often one job is sent again when every attempt fails alike."""
    one, count = Attempts(), 0
    while count < 50:
        match billing:
            case Billing.DOUBTFUL:
                one.unknown_outcomes += 1
            case Billing.SERVER:
                one.server_errors += 1
            case Billing.UNBILLED:
                one.retries += 1
        if policy.wait(one, fault(billing), lambda: 0.0) is None:
            return count
        count += 1
    return count


@given(st.integers(1, 5000), st.sampled_from([0.5, 1.0, 2.0]), st.floats(0, 1, exclude_max=True))
def test_backoff_is_drawn_from_nothing_to_the_doubled_base_under_a_cap(attempt: int, base: float, r: float) -> None:
    ceiling = min(CAP, base * 2 ** min(attempt - 1, 100))
    assert backoff(attempt, base, lambda: r) == pytest.approx(r * ceiling)


def test_backoff_uses_the_whole_range() -> None:
    source = random.Random(1)
    draws = [backoff(4, 0.5, source.random) for _ in range(500)]
    assert min(draws) < 0.2 and 3.8 < max(draws) < 4.0


@given(st.sampled_from([b for b in Billing if b is not Billing.BILLED]), st.floats(0.001, 1e6), st.floats(0, 0.999))
def test_what_the_server_asks_is_a_minimum_with_little_more(billing: Billing, asked: float, r: float) -> None:
    one = Attempts()
    one.retries = one.unknown_outcomes = one.server_errors = 1
    wait = RetryPolicy().wait(one, fault(billing, asked), lambda: r)
    assert wait is not None and asked <= wait <= max(asked, 2.0) + min(10.0, 1 + asked / 10)


@pytest.mark.parametrize("retries", [0, 1, 5, 40])
def test_unbilled_faults_are_sent_again_as_often_as_retries_says(retries: int) -> None:
    assert resends(RetryPolicy(retries=retries), Billing.UNBILLED) == retries


@pytest.mark.parametrize("retries", [0, 5, 40])
def test_what_may_be_billed_is_sent_again_once_whatever_retries_says(retries: int) -> None:
    assert resends(RetryPolicy(retries=retries), Billing.DOUBTFUL) == 1


@pytest.mark.parametrize("retries", [0, 5, 40])
def test_a_plain_500_is_sent_again_twice_whatever_retries_says(retries: int) -> None:
    assert resends(RetryPolicy(retries=retries), Billing.SERVER) == 2


@pytest.mark.parametrize("billing", [Billing.DOUBTFUL, Billing.SERVER])
def test_under_hold_nothing_that_may_be_billed_is_sent_again(billing: Billing) -> None:
    assert resends(RetryPolicy(unknown_outcomes=0, server_errors=0), billing) == 0


def test_being_throttled_costs_no_retry() -> None:
    one = Attempts()
    one.retries, one.sent = 99, 99
    assert RetryPolicy(retries=0).wait(one, fault(Billing.THROTTLED), lambda: 0.5) is not None


def test_a_paid_answer_is_never_sent_again() -> None:
    assert RetryPolicy().wait(Attempts(), fault(Billing.BILLED), lambda: 0.5) is None


@pytest.mark.parametrize("billing", list(Billing))
def test_what_is_not_to_be_retried_is_not(billing: Billing) -> None:
    assert RetryPolicy().wait(Attempts(), fault(billing, retry=False), lambda: 0.5) is None
