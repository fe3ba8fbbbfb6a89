"""The till: what answers cost, what is set aside for those in flight, and the ceiling of both. Pure."""

import math
from collections.abc import Sequence

from llmbatch.core.fault import Billing, Fault
from llmbatch.core.job import Job
from llmbatch.core.outcome import Completion
from llmbatch.flow.price import Price, terms_of

__all__ = ["Till"]

_FREE = (Billing.UNBILLED, Billing.THROTTLED)


class Till:
    """Prices attempts as they settle, and lets none leave that might cost more than is left.

    `before` is what earlier runs spent under the same ceiling. What may have been billed without an answer, or has no
    price, counts as its worst case: the ceiling holds whatever the bill says.
    """

    def __init__(self, price: Price | None = None, *, ceiling: float = math.inf, before: float = 0.0) -> None:
        self.ceiling = ceiling
        self.before = before
        self.spent = before
        self.short = False
        """A request did not fit; none fits before one in flight is settled."""
        self._price = price
        self._reserved = 0.0

    @property
    def left(self) -> float | None:
        """Return what may still be spent, what is in flight included; None without a ceiling."""
        return max(0.0, self.ceiling - self.spent) if self.ceiling < math.inf else None

    def reserve(self, jobs: Sequence[Job]) -> bool:
        """Set aside the worst case of a request; False when the ceiling forbids it."""
        if self.ceiling == math.inf:
            return True
        worst = sum(job.worst for job in jobs)
        if self.spent + self._reserved + worst > self.ceiling:
            self.short = True
            return False
        self._reserved += worst
        return True

    def settle(self, job: Job, verdict: Completion | Fault) -> None:
        """Put what an attempt cost in the place of its worst case, and add it to its job's."""
        cost = verdict.cost
        if cost is None and self._price is not None and verdict.usage is not None:
            terms = terms_of(job)
            cost = self._price.of(job.route.model, verdict.usage, terms)
            if cost is None and isinstance(verdict, Completion) and verdict.model is not None:
                cost = self._price.of(verdict.model, verdict.usage, terms)  # what was asked for is an alias
        if cost is not None:
            job.cost = cost if job.cost is None else job.cost + cost
        if self.ceiling < math.inf:
            free = isinstance(verdict, Fault) and verdict.billing in _FREE
            self.spent += cost if cost is not None else 0.0 if free else job.worst
            self._reserved -= job.worst
            self.short = False
