"""Requests or tokens per minute: no window holds more than the rate, and nothing waits for ever."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.pacing.token_bucket import BURST, Taken, TokenBucket

RATE = 120.0


def leave(bucket: TokenBucket, now: float, amount: float) -> tuple[float, Taken]:
    """Leave as soon as the bucket allows it; return when that was, and what was reserved."""
    while (opens := bucket.opens(now, amount)) > now:
        now = opens
    taken = bucket.take(now, amount)
    assert taken is not None
    return now, taken


def departures(bucket: TokenBucket, amounts: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Let each amount leave as soon as it may, but not before so long after the one before."""
    now, left = 0.0, []
    for pause, amount in amounts:
        now, _ = leave(bucket, now + pause, amount)
        left.append((now, amount))
    return left


def fullest_minute(left: list[tuple[float, float]]) -> float:
    return max((sum(a for when, a in left if begin <= when < begin + 60.0) for begin, _ in left), default=0.0)


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0.1, RATE)), max_size=60))
def test_no_minute_holds_more_than_the_rate(amounts: list[tuple[float, float]]) -> None:
    assert fullest_minute(departures(TokenBucket(RATE), amounts)) <= RATE + 1e-6


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0.1, RATE), st.floats(0.0, 1.0), st.floats(0, 100)), max_size=60))
def test_no_minute_holds_more_than_the_rate_when_estimates_were_too_high(
    amounts: list[tuple[float, float, float, float]],
) -> None:
    bucket, now, used = TokenBucket(RATE), 0.0, []
    answers: list[tuple[float, Taken, float]] = []
    for pause, amount, share, latency in amounts:
        now += pause
        for due in sorted(due for due in answers if due[0] <= now):
            bucket.correct(now, due[1], due[2])
        answers = [due for due in answers if due[0] > now]
        now, taken = leave(bucket, now, amount)
        answers.append((now + latency, taken, amount * (1 - share)))
        used.append((now, amount * share))
    assert fullest_minute(used) <= RATE + 1e-6


@given(st.integers(2, 400))
def test_requests_of_one_kind_leave_evenly(count: int) -> None:
    times = [when for when, _ in departures(TokenBucket(RATE), [(0.0, 1.0)] * count)]
    assert sum(when < 1.0 for when in times) <= (BURST + 1.0) * RATE / 60 + 1
    assert times[-1] <= (count - 1) * 60.25 / RATE + 1.0


@given(st.floats(60, 6_000), st.lists(st.floats(0, 2), max_size=20))
def test_no_slice_of_a_second_holds_more_than_its_share_of_requests(rate: float, pauses: list[float]) -> None:
    share = int(rate / 60)
    moments = [(pause, 1.0) for pause in pauses] + [(0.0, 1.0)] * (4 * share)
    times = [when for when, _ in departures(TokenBucket(rate, sliced=True), moments)]
    span = share * 60.0 / rate  # a second, or less where its share is no whole number
    for place, begin in enumerate(times):
        assert sum(when < begin + 1.01 * span for when in times[place : place + share + 1]) <= share
    steady = times[len(pauses) :]
    assert steady[-1] - steady[0] <= (4 * share) * 60.0 / rate / 0.98


@given(st.lists(st.floats(0.1, 50 * RATE), min_size=1, max_size=20))
def test_whatever_its_size_everything_leaves_within_minutes(amounts: list[float]) -> None:
    left = departures(TokenBucket(RATE), [(0.0, amount) for amount in amounts])
    allowed = list(accumulate(max(1.0, amount / RATE) for amount in amounts))
    assert all(when <= 61.0 * (minutes + 1) for (when, _), minutes in zip(left, allowed, strict=True))


def test_what_is_larger_than_the_bucket_goes_alone() -> None:
    bucket = TokenBucket(RATE)
    first, giant, after = departures(bucket, [(0.0, 1.0), (0.0, 5 * RATE), (0.0, 1.0)])
    assert giant[0] >= first[0] + 60.0 and after[0] >= giant[0] + 60.0


def test_a_guess_grows_only_while_requests_wait_for_it() -> None:
    bucket, now, moments = TokenBucket(), 0.0, []
    bucket.guess(600.0, now)
    for _ in range(600):
        now = max(now, bucket.opens(now, 1.0))
        bucket.take(now, 1.0)
        moments.append(now)
    assert sum(when < 12.0 for when in moments) == pytest.approx(0.95 * 120, abs=5)
    assert bucket.rate > 1.5 * 600
    unused = TokenBucket()
    unused.guess(600.0, 0.0)
    for second in range(300):
        assert unused.opens(float(second), 1.0) <= second
    assert unused.rate == pytest.approx(570.0)


def test_what_the_user_names_is_not_guessed_or_learned() -> None:
    bucket = TokenBucket(RATE)
    bucket.guess(7.0, 0.0)
    bucket.learn(7.0, 0.0, 0.0)
    assert bucket.rate == RATE and not bucket.guessed
