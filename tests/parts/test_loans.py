"""What a worker borrows: moments for requests, dollars beside those that were spent before."""

import threading

import pytest

from llmbatch.core.job import Identity, Job, Route
from llmbatch.core.settings import PaceSettings, StopSettings
from llmbatch.pacing.cost import FlatPrice
from llmbatch.pacing.lender import LATE, Grant
from llmbatch.parts.lent_buckets import LentRequests
from llmbatch.parts.loans import Borrower


@pytest.mark.parametrize(("stop", "most"), [(StopSettings(max_cost=1.0), 2), (StopSettings(max_run_cost=1.0), 10)])
def test_what_the_results_file_cost_before_counts_under_max_cost(stop: StopSettings, most: int) -> None:
    borrower = Borrower(
        PaceSettings(share_limits="key"), stop, FlatPrice(1.0, 1.0), lambda ask: Grant(), lambda dollars: dollars, 0.75
    )
    budget = borrower.shared.budget
    assert budget is not None
    job = Job(Identity(0, None, "r"), "k", Route("/chat/completions", "m"), {}, {}, 1, 1)
    job.worst_cost = 0.1
    assert sum(budget.reserve([job]) for _ in range(20)) == most


def test_requests_leave_at_their_moments_or_a_little_later_but_never_too_late() -> None:
    bucket = LentRequests(threading.Lock(), 600.0)
    bucket.receive(Grant(3.0, after=0.2, gap=0.1), 10.0)
    assert bucket.opens(10.0, 1.0) == pytest.approx(10.2)
    assert bucket.opens(10.2, 1.0) <= 10.2
    bucket.take(10.2, 1.0)
    assert bucket.opens(10.2, 1.0) == pytest.approx(10.3)
    assert bucket.opens(10.4 + LATE / 2, 1.0) <= 10.4 + LATE / 2, "the second is too late, the third is not"
    bucket.take(10.4 + LATE / 2, 1.0)
    assert bucket.opens(10.4 + LATE / 2, 1.0) > 10.4 + LATE / 2 and bucket.hungry


def test_all_requests_may_leave_while_no_rate_is_known_until_the_lender_falls_silent() -> None:
    bucket = LentRequests(threading.Lock(), None)
    bucket.receive(Grant(float("inf")), 10.0)
    assert bucket.opens(10.0, 1.0) <= 10.0
    assert bucket.opens(10.6, 1.0) > 10.6
    bucket.receive(Grant(float("inf"), closed_for=2.0), 11.0)
    assert bucket.opens(11.0, 1.0) == pytest.approx(13.0)
