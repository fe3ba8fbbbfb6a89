"""One route's gate."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.fault import Billing, Fault, Kind
from tests.support.scripted import fixed_gate


def refusal(wait: float | None = None) -> Fault:
    return Fault(kind=Kind.RATE_LIMITED, message="", billing=Billing.THROTTLED, retry=True, wait=wait)


def test_a_new_gate_is_open() -> None:
    assert fixed_gate(1).opens(5.0, 0.0) <= 5.0


def test_a_full_gate_opens_when_somebody_leaves() -> None:
    gate = fixed_gate(2)
    gate.enter(0.0, 0.0)
    gate.enter(0.0, 0.0)
    assert gate.opens(5.0, 0.0) == math.inf
    gate.leave()
    assert gate.opens(5.0, 0.0) <= 5.0


@given(st.floats(0.01, 1000), st.floats(0, 0.999))
def test_a_refusal_closes_for_at_least_what_was_asked(asked: float, r: float) -> None:
    gate = fixed_gate(1)
    gate.refused(refusal(asked), 100.0, lambda: r)
    assert 100.0 + asked <= gate.opens(100.0, 0.0) <= 100.0 + max(asked, 1.0) + 10.0


def test_a_shorter_wait_does_not_open_what_a_longer_one_closed() -> None:
    gate = fixed_gate(1)
    gate.refused(refusal(60.0), 0.0, lambda: 0.0)
    gate.refused(refusal(1.0), 0.5, lambda: 0.0)
    assert gate.opens(1.0, 0.0) == 60.0


def test_only_the_time_that_a_refusal_adds_is_reported() -> None:
    gate = fixed_gate(1)
    assert gate.refused(refusal(60.0), 0.0, lambda: 0.0) == 60.0
    assert gate.refused(refusal(60.0), 10.0, lambda: 0.0) == 10.0
    assert gate.refused(refusal(1.0), 11.0, lambda: 0.0) == 0.0


def test_a_crowd_that_is_refused_together_counts_as_one_refusal() -> None:
    alone, crowd = fixed_gate(64), fixed_gate(64)
    alone.refused(refusal(), 0.0, lambda: 0.9)
    for place in range(64):
        crowd.refused(refusal(), place / 1000, lambda: 0.9)
    assert crowd.closed_until - alone.closed_until < 0.1


def test_refusals_again_and_again_are_waited_out_longer_and_longer() -> None:
    gate, now, source = fixed_gate(1), 0.0, random.Random(3)
    waits = []
    for _ in range(60):
        gate.refused(refusal(), now, source.random)
        waits.append(gate.opens(now, 0.0) - now)
        now = gate.opens(now, 0.0)
    assert sum(waits[20:]) / 40 > 20.0
    assert max(waits) < 61.0


def test_an_answer_ends_the_outage_and_the_growth_of_waits() -> None:
    gate, now = fixed_gate(1), 0.0
    for _ in range(8):
        gate.refused(refusal(), now, lambda: 0.9)
        now = gate.opens(now, 0.0)
    assert gate.outage_since == 0.0
    gate.succeeded(now, 0.1, 1)
    assert gate.outage_since is None
    gate.refused(refusal(), now, lambda: 0.9)
    assert gate.opens(now, 0.0) - now < 1.5
    assert gate.outage_since == now
