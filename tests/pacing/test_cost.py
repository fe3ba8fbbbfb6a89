"""Money: no order of sending and settling lets a run spend more than its ceiling."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.job import Identity, Job, Route
from llmbatch.core.outcome import Completion, Usage
from llmbatch.pacing.cost import Budget, FlatPrice, estimate, worst_case

PRICE = FlatPrice(2.0, 10.0)


def job(tokens: int = 10, cap: int | None = 100, **item: object) -> Job:
    return Job(Identity(0, None, "r"), "k", Route("/chat/completions", "m"), item, {}, tokens, cap)


def answer(usage: Usage | None, cost: float | None = None, model: str = "m") -> Completion:
    return Completion("yes", "stop", model, usage, cost)


def fault(billing: Billing, **more: object) -> Fault:
    return Fault(kind=Kind.SERVER_ERROR, message="no", billing=billing, **more)  # type: ignore[arg-type]


@given(st.data(), st.floats(0.0, 0.01))
def test_whatever_is_sent_and_however_it_ends_the_bill_stays_under_the_ceiling(
    data: st.DataObject, before: float
) -> None:
    budget, flying, billed = Budget(PRICE, ceiling=0.01, before=before), list[Job](), before
    for _ in range(data.draw(st.integers(1, 40))):
        if flying and data.draw(st.booleans()):
            one = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
            most = one.worst_cost
            billing = data.draw(st.sampled_from([None, *Billing]))
            if billing is None:
                usage = Usage(data.draw(st.integers(0, one.tokens * 4)), data.draw(st.integers(0, one.token_cap or 0)))
                told = data.draw(st.booleans())
                budget.settle(one, answer(usage if told else None))
                billed += PRICE.of("m", usage, {}) or 0.0
            else:
                budget.settle(one, fault(billing))
                billed += 0.0 if billing in (Billing.UNBILLED, Billing.THROTTLED) else data.draw(st.floats(0, most))
        else:
            one = job(data.draw(st.integers(1, 100)), data.draw(st.integers(1, 300)))
            one.worst_cost = worst_case(PRICE, one) or 0.0
            if budget.reserve([one]):
                flying.append(one)
            else:
                assert budget.short
        assert billed + sum(one.worst_cost for one in flying) <= max(budget.ceiling, before) * (1 + 1e-9)


def test_a_request_that_does_not_fit_waits_for_one_in_flight_to_cost_less_than_it_might() -> None:
    one, other = job(), job()
    one.worst_cost = other.worst_cost = 0.6
    budget = Budget(PRICE, ceiling=1.0)
    assert budget.reserve([one])
    assert not budget.reserve([other]) and budget.short
    assert budget.left == 1.0
    budget.settle(one, answer(Usage(10, 10)))
    assert not budget.short and budget.reserve([other])
    assert budget.left == pytest.approx(1.0 - 0.00012)
    assert Budget(PRICE).left is None


def test_a_job_costs_what_all_its_answers_cost_and_the_providers_own_figure_wins() -> None:
    one, budget = job(), Budget(PRICE)
    budget.settle(one, fault(Billing.UNBILLED))
    assert one.attempts.cost is None
    budget.settle(one, fault(Billing.SERVER, usage=Usage(1000, 0)))
    budget.settle(one, answer(Usage(1000, 1000), cost=0.5))
    assert one.attempts.cost == pytest.approx(0.502)


def test_without_a_price_a_cost_is_unknown_not_nothing() -> None:
    one = job()
    Budget().settle(one, answer(Usage(1000, 1000)))
    assert one.attempts.cost is None
    Budget(PRICE).settle(one, answer(None))
    assert one.attempts.cost is None


def test_a_model_that_is_asked_for_by_another_name_has_the_price_of_the_one_that_answers() -> None:
    class ByModel:
        def of(self, model: str, usage: Usage, terms: Mapping[str, str]) -> float | None:
            return 1.0 if model == "m-2026-05" else None

    one = job()
    Budget(ByModel()).settle(one, answer(Usage(1, 1), model="m-2026-05"))
    assert one.attempts.cost == 1.0


def test_the_worst_case_is_every_byte_a_token_and_every_choice_at_its_longest() -> None:
    assert worst_case(PRICE, job(tokens=10, cap=100)) == pytest.approx((40 * 2 + 100 * 10) / 1e6)
    assert worst_case(PRICE, job(tokens=10, cap=100, n=3)) == pytest.approx((40 * 2 + 300 * 10) / 1e6)
    assert worst_case(PRICE, job(tokens=10, cap=100, n=2, best_of=5)) == pytest.approx((40 * 2 + 500 * 10) / 1e6)
    assert worst_case(PRICE, job(cap=None)) is None
    assert estimate(PRICE, job(tokens=10, cap=None)) == (pytest.approx(2e-5), None)
