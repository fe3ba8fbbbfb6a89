"""Prices tokens, and enforces --max-cost by a budget that reserves the worst case of requests in flight. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from llmbatch.core.fault import Billing, Fault
from llmbatch.core.job import Job
from llmbatch.core.outcome import Completion, Usage

__all__ = ["Budget", "FlatPrice", "Price", "estimate", "price_terms", "worst_case"]

MILLION = 1e6

WORST = 4
"""Times the estimate of a prompt, which counts four bytes of text as a token: no tokenizer makes two of one byte."""


class Price(Protocol):
    """A price list."""

    def of(self, model: str, usage: Usage, terms: Mapping[str, str]) -> float | None:
        """Return what the tokens of a model cost under these terms, None when that is unknown."""
        ...


class FlatPrice(NamedTuple):
    """One price per million tokens in and out for every model; cached tokens cost as much as others."""

    input: float
    output: float

    def of(self, model: str, usage: Usage, terms: Mapping[str, str]) -> float | None:
        """Return what the tokens cost, None when they were not counted."""
        if usage.input_tokens is None and usage.output_tokens is None:
            return None
        return ((usage.input_tokens or 0) * self.input + (usage.output_tokens or 0) * self.output) / MILLION


def price_terms(job: Job) -> Mapping[str, str]:
    """Return what changes the price of a job's request, under the names of genai-prices."""
    terms = {name: value for name in ("service_tier", "speed") if isinstance(value := job.item.get(name), str)}
    return terms if job.attempts.batch is None else {**terms, "processing": "batch"}


def answered_terms(job: Job, verdict: Completion | Fault) -> Mapping[str, str]:
    """Return what changes the price of an answer: the tier that it names, and not the one that was asked for.

    A provider may answer at another tier; one that has tiers says which, and names none for the usual one.
    """
    terms = price_terms(job)
    answer = verdict if isinstance(verdict, Completion) else getattr(verdict, "completion", None)
    tier = answer.extra.get("service_tier") if answer is not None and job.attempts.batch is None else None
    if tier is None and "service_tier" not in terms:
        return terms
    usual = {name: value for name, value in terms.items() if name != "service_tier"}
    return usual if tier is None else {**usual, "service_tier": tier}


def worst_case(price: Price, job: Job) -> float | None:
    """Return the most that a job's request may cost, None without a price or a token cap.

    That is four times the estimated input, which is a token for every byte of text, and the longest output that each
    choice may have.
    """
    output = _longest(job)
    return None if output is None else price.of(job.route.model, Usage(job.tokens * WORST, output), price_terms(job))


def estimate(price: Price, job: Job) -> tuple[float | None, float | None]:
    """Return the estimated cost of a job's prompt alone, and with answers of full length; None if unknown."""
    output, model, terms = _longest(job), job.route.model, price_terms(job)
    least = price.of(model, Usage(job.tokens, 0), terms)
    return least, None if output is None else price.of(model, Usage(job.tokens, output), terms)


def _longest(job: Job) -> int | None:
    """Return the most tokens that all choices together may have."""
    if job.token_cap is None:
        return None
    counts = (job.item.get("n"), job.item.get("best_of"))
    return job.token_cap * max([1, *(count for count in counts if isinstance(count, int))])


_FREE = (Billing.UNBILLED, Billing.THROTTLED)


class Budget:
    """Prices attempts when they settle, and lets none leave that might cost more than is left.

    `before` is what earlier runs spent under the same ceiling. An attempt that may have been billed without an answer,
    or has no price, counts as its worst case, so that the bill never exceeds the ceiling.
    """

    def __init__(
        self,
        price: Price | None = None,
        *,
        ceiling: float = math.inf,
        before: float = 0.0,
        option: str = "--max-cost",
    ) -> None:
        self.option = option
        """The flag that sets the ceiling."""
        self.ceiling = ceiling
        self.before = before
        self.spent = before
        self.short = False
        """Whether a request did not fit: none fits before one in flight is settled."""
        self._price = price
        self._reserved = 0.0

    @property
    def left(self) -> float | None:
        """Return what may still be spent, including what is in flight; None without a ceiling."""
        return max(0.0, self.ceiling - self.spent) if self.ceiling < math.inf else None

    def reserve(self, jobs: Sequence[Job]) -> bool:
        """Reserve the worst case of a request; False when the ceiling forbids it."""
        if self.ceiling == math.inf:
            return True
        worst = sum(job.worst_cost for job in jobs)
        if self.spent + self._reserved + worst > self.ceiling:
            self.short = True
            return False
        self._reserved += worst
        return True

    def hold(self, worst: float) -> None:
        """Set aside what a batch may cost that is under way already, whatever is left."""
        self._reserved += worst

    def settle(self, job: Job, verdict: Completion | Fault) -> None:
        """Replace the worst case of an attempt by its cost, and add that to the cost of its job."""
        cost = verdict.cost
        if cost is None and self._price is not None and verdict.usage is not None:
            terms = answered_terms(job, verdict)
            cost = self._price.of(job.route.model, verdict.usage, terms)
            if cost is None and isinstance(verdict, Completion) and verdict.model is not None:
                cost = self._price.of(
                    verdict.model, verdict.usage, terms
                )  # the model that was asked for may be an alias
        if cost is not None:
            job.attempts.cost = cost if job.attempts.cost is None else job.attempts.cost + cost
        if self.ceiling < math.inf:
            free = isinstance(verdict, Fault) and verdict.billing in _FREE
            self.spent += cost if cost is not None else 0.0 if free else job.worst_cost
            self._reserved -= job.worst_cost
            self.short = False
