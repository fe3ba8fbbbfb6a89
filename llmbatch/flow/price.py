"""What tokens cost, in US dollars. Pure."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from llmbatch.core.job import Job
from llmbatch.core.outcome import Usage

__all__ = ["FlatPrice", "Price", "estimate", "terms_of", "worst_case"]

MILLION = 1e6
WORST = 4
"""Times the estimate of a prompt, which takes four bytes of text for a token: no tokenizer makes two of one byte."""


class Price(Protocol):
    """A price list."""

    def of(self, model: str, usage: Usage, terms: Mapping[str, str]) -> float | None:
        """Return what so many tokens of a model cost under these terms, None when that is not known."""
        ...


class FlatPrice(NamedTuple):
    """One price per million tokens in and out for every model; cached tokens cost as much as others."""

    input: float
    output: float

    def of(self, model: str, usage: Usage, terms: Mapping[str, str]) -> float | None:
        """Return what so many tokens cost, None when they were not counted."""
        if usage.input_tokens is None and usage.output_tokens is None:
            return None
        return ((usage.input_tokens or 0) * self.input + (usage.output_tokens or 0) * self.output) / MILLION


def terms_of(job: Job) -> Mapping[str, str]:
    """Return what changes the price of a job's request, under the names genai-prices knows."""
    return {name: value for name in ("service_tier", "speed") if isinstance(value := job.item.get(name), str)}


def worst_case(price: Price, job: Job) -> float | None:
    """Return the most that a job's request may cost, None without a price or a token cap.

    Four times the estimate in, which is a token for every byte of text, and every choice as long as it may be out.
    """
    output = _longest(job)
    return None if output is None else price.of(job.route.model, Usage(job.tokens * WORST, output), terms_of(job))


def estimate(price: Price, job: Job) -> tuple[float | None, float | None]:
    """Return about what a job's prompt costs alone, and with answers of full length; None for what is not known."""
    output, model, terms = _longest(job), job.route.model, terms_of(job)
    least = price.of(model, Usage(job.tokens, 0), terms)
    return least, None if output is None else price.of(model, Usage(job.tokens, output), terms)


def _longest(job: Job) -> int | None:
    """Return how many tokens all choices together may have."""
    if job.token_cap is None:
        return None
    counts = (job.item.get("n"), job.item.get("best_of"))
    return job.token_cap * max([1, *(count for count in counts if isinstance(count, int))])
