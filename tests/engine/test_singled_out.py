"""Records that are refused again and again while others are not: large ones get their answer, hopeless ones fail."""

import pytest

from llmbatch.core.exchange import Request
from llmbatch.core.fault import Kind
from llmbatch.core.outcome import Outcome
from tests.support.clients import llmbatch_takes
from tests.support.services import BurstBucket, Service, log_normal

LARGE = 40.0
"""How many times as much as a small record a large one takes of a limit."""


def weighing(large: int, burst: float, *, seed: int) -> Service:
    """Make a service with a bucket of tokens that nobody announces, where one record in so many is a large one."""

    def units(request: Request) -> float:
        return LARGE if request.jobs[0].identity.index % large == large // 2 else 1.0

    return Service(weighing=[BurstBucket(200, burst)], units=units, latency=log_normal(1.0), seed=seed)


@pytest.mark.parametrize("large", [60, 120])
def test_large_records_get_an_answer_where_small_ones_take_all_that_is_free(large: int) -> None:
    for seed in range(1, 11):
        service = weighing(large, 200, seed=seed)
        ideal = (600 + (LARGE - 1) * (600 // large) - 200) / 200 * 60
        assert llmbatch_takes(600, service, seed) <= 1.3 * ideal


@pytest.mark.parametrize("large", [100, 600])
def test_records_that_no_limit_ever_admits_fail_two_minutes_after_the_others_are_done(large: int) -> None:
    for seed in range(1, 4):
        service, failed = weighing(large, LARGE - 1, seed=seed), list[Outcome]()
        took = llmbatch_takes(600, service, seed, failed=failed)
        assert [outcome.job.identity.index % large for outcome in failed] == [large // 2] * (600 // large)
        assert {outcome.verdict.kind for outcome in failed} == {Kind.RATE_LIMITED}
        assert max(outcome.job.attempts.sent for outcome in failed) <= 20, "it waits until nothing else is sent"
        assert 120.0 <= took - max(service.answered) <= 180.0
