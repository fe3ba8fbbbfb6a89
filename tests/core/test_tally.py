"""The running count of a run."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.counts import MOST_NAMES, OTHER, percentiles
from llmbatch.core.events import Finished
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.outcome import Completion, Outcome, Usage
from llmbatch.core.tally import Tally
from llmbatch.results.stats import Stats
from tests.support.scripted import ROUTE, invalid, job

LATENCY = st.floats(0, 1000, width=32)


def done(latency: float = 1.0, *, usage: Usage | None = None, cost: float | None = None) -> Outcome:
    one = job(0)
    one.attempts.sent, one.attempts.latency, one.attempts.cost = 1, latency, cost
    return Outcome(one, Completion("t", "stop", "m", usage))


def failed(kind: Kind, billing: Billing = Billing.UNBILLED) -> Outcome:
    return Outcome(job(0), Fault(kind=kind, message="", billing=billing))


@given(st.lists(LATENCY, min_size=1, max_size=200), st.integers(0, 100))
def test_percentiles_are_exact_by_nearest_rank(latencies: list[float], rank: int) -> None:
    # The smallest value that at least so many percent of all do not exceed.
    smallest = next(
        v for v in sorted(latencies) if Fraction(sum(o <= v for o in latencies), len(latencies)) >= Fraction(rank, 100)
    )
    assert percentiles(latencies, rank) == [smallest]


@pytest.mark.parametrize(("count", "rank"), [(100, 50), (100, 99), (20, 95), (2, 50), (1, 99), (1000, 7)])
def test_the_nearest_rank_counts_from_one(count: int, rank: int) -> None:
    assert percentiles(range(1, count + 1), rank) == [ceil(Fraction(rank * count, 100))]


def test_without_latencies_there_are_no_percentiles() -> None:
    assert percentiles([], 50, 99) == [] and Tally().latency_s() == {}


def test_every_line_is_counted_once() -> None:
    tally = Tally()
    tally(Finished([done(), failed(Kind.BAD_REQUEST), invalid(2)]))
    tally(Finished([failed(Kind.BAD_REQUEST)]))
    assert (tally.ok, dict(tally.failed), tally.done) == (1, {"bad_request": 2, "invalid_record": 1}, 4)


def test_tokens_and_costs_are_summed_and_unknown_costs_stay_unknown() -> None:
    tally = Tally()
    tally(Finished([done(usage=Usage(9, 2)), done(usage=Usage(None, 3))]))
    assert (tally.input_tokens, tally.output_tokens, tally.cost) == (9, 5, None)
    tally(Finished([done(cost=0.5), done(cost=0.25)]))
    assert tally.cost == 0.75


def test_failures_with_a_paid_answer_are_counted_even_when_it_is_empty() -> None:
    tally = Tally()
    tally(Finished([failed(Kind.UNPARSABLE, Billing.BILLED), failed(Kind.BAD_REQUEST)]))
    assert tally.billed_failures == 1


def test_requests_and_doubtful_attempts_are_those_of_written_jobs() -> None:
    tally, one = Tally(), job(0)
    one.attempts.sent, one.attempts.possibly_billed = 4, 3
    tally(Finished([Outcome(one, Completion("t", None, None, None))]))
    assert (tally.requests, tally.possibly_billed) == (4, 3)


def asked(model: str, index: int = 0) -> Outcome:
    one = job(index, model)
    one.attempts.sent, one.attempts.latency, one.attempts.cost = 1, float(index), 0.5
    return Outcome(one, Completion("t", "stop", "answering", Usage(2, 3)))


def test_models_have_shares_that_add_up() -> None:
    tally = Tally()
    tally(Finished([asked("a", 1), asked("b", 2), asked("a", 3), failed(Kind.BAD_REQUEST), invalid(2)]))
    assert {name: (share.ok, share.failed) for name, share in tally.models.items()} == {
        "a": (2, 0),
        "b": (1, 0),
        ROUTE.model: (0, 1),
    }
    assert tally.models["a"].as_json()["latency_s"] == {"p50": 1.0, "p95": 3.0, "p99": 3.0}
    assert (tally.ok, tally.input_tokens, tally.output_tokens, tally.cost) == (3, 6, 9, 1.5)


def test_no_more_models_are_told_apart_than_anybody_reads() -> None:
    tally = Tally()
    tally(Finished([asked(f"model-{n}") for n in range(3 * MOST_NAMES)]))
    assert len(tally.models) == MOST_NAMES + 1 and tally.models[OTHER].ok == 2 * MOST_NAMES
    assert tally.ok == 3 * MOST_NAMES


def test_records_that_shared_a_request_are_one_request_together() -> None:
    line = {"status": "ok", "attempts": 1, "packed": 3, "model": "m"}
    account = Stats()
    for _ in range(6):
        account.add(line)
    account.add({"status": "ok", "attempts": 2, "model": "m"})
    assert account.requests == account.as_json()["requests"] == 4
    tally = Tally()
    for index in range(6):
        outcome = asked("m", index)
        outcome.job.attempts.sent = 1
        assert isinstance(outcome.verdict, Completion)
        outcome.verdict.extra["packed"] = 3
        tally.add(outcome)
    assert tally.requests == 2
