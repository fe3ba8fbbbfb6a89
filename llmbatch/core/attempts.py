"""What the attempts of one job did: how many there were, what they cost, and what they left."""

from dataclasses import dataclass
from typing import Any

__all__ = ["ALONE", "Attempts"]

ALONE = -1
"""The `pack_group` of jobs that share a request with no other."""


@dataclass(slots=True)
class Attempts:
    """The attempts of one job in this run, and what they add to those of earlier runs.

    Dispatch and what acts on its behalf (the worker, the budget, the provider's batches) write it, results read it.
    """

    sent: int = 0
    """How many requests for it were sent in this run."""
    retries: int = 0
    """Those of them that `--retries` bounds."""
    unusable_answers: int = 0
    """Paid answers that were not what was asked for."""
    unknown_outcomes: int = 0
    """Requests whose outcome was not learned."""
    server_errors: int = 0
    possibly_billed: int = 0
    """Requests, those of earlier runs too, that may have been billed without an answer."""
    started: float = 0.0
    """Wall time of the last attempt."""
    latency: float = 0.0
    """Seconds that the last attempt took."""
    cost: float | None = None
    """What the answered attempts of this run cost, in US dollars; None while that is unknown."""
    unusable_answer: Any = None
    """A paid answer that is not usable, kept while another one is asked for."""
    pack_group: int = 0
    """Only jobs of equal `pack_group` share a request, and those of `ALONE` none; set when a request is split."""
    batch: str | None = None
    """The provider's batch that serves the job; empty while that is not made yet."""
    no_capacity: tuple[int, float] | None = None
    """How often its service tier had no room, and when that was so first, by the run's clock."""
    refused: tuple[int, int, int] | None = None
    """How often it was refused for pace, and how many answers its gate had at the first and at the last time."""
    apart: int | None = None
    """Its refusals since the last answer of its route, while it waits for all others; None if it does not."""

    @property
    def in_doubt(self) -> int:
        """How many attempts of this run may have been billed without an answer."""
        return self.unknown_outcomes + self.server_errors
