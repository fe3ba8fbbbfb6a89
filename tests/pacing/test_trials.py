"""How much a trial sends."""

import pytest

from llmbatch.pacing.circuit_breaker import CircuitBreaker
from llmbatch.pacing.concurrency_limit import SILENT, ConcurrencyLimit
from llmbatch.pacing.refusal_pattern import Pattern, RefusalPattern
from llmbatch.pacing.token_bucket import TokenBucket
from llmbatch.pacing.trials import Trials
from llmbatch.pacing.wall import Wall


def trial(in_flight_at_cuts: list[int], in_flight: int, *, silent: int = SILENT) -> int:
    """Cut a limit with so many in flight, one after the other; return what a trial with more load may send then."""
    limit = ConcurrencyLimit(256, adaptive=True, silent=silent, start=100.0)
    requests, now = TokenBucket(), 1.0
    for number in range(2):
        limit.succeeded(now, 1.0, 1, 1, 1, number)
    for others in in_flight_at_cuts:
        limit.refused(now := now + 10.0, 0.1, others)
    pattern = RefusalPattern()
    pattern.pattern, pattern.raises = Pattern.TRIAL, True
    trials = Trials(limit, requests, Wall(limit, requests, CircuitBreaker(active=True)), pattern)
    trials.begin(now, in_flight, 100)
    assert trials.current is not None and trials.current.most == pytest.approx(pattern.times * in_flight, abs=0.5)
    return trials.current.most


def test_it_sends_a_crowd_where_little_is_in_flight() -> None:
    assert trial([100, 5], 2) == trial([100, 40, 20, 5], 5) == 24


def test_it_sends_no_larger_crowd_than_growth_risks() -> None:
    assert trial([100, 5], 2, silent=8) == 8


def test_it_sends_twice_as_much_where_more_than_half_a_crowd_is_in_flight() -> None:
    assert trial([100], 30) == 60
