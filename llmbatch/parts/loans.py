"""A worker's side of shared limits: asks for loans, which fill its buckets and its budget."""

import math
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

from llmbatch.app.shared import Shared
from llmbatch.app.timer import ticking
from llmbatch.core.events import Event, Finished, Paused, Retrying
from llmbatch.core.fault import Billing, Kind
from llmbatch.core.job import Job
from llmbatch.core.settings import PaceSettings, StopSettings
from llmbatch.pacing.cost import Budget, Price
from llmbatch.pacing.lender import Ask, Grant
from llmbatch.parts.lent_buckets import LentBucket, LentRequests

__all__ = ["Borrower"]

EVERY = 0.2
"""Seconds between two loans."""
SLICES = 50
"""A loan of dollars is at least this part of the budget, so that few are needed."""


class LentBudget(Budget):
    """A budget that asks for more when a request does not fit any more."""

    def __init__(self, price: Price | None, borrow: Callable[[float], float], total: float, option: str) -> None:
        super().__init__(price, ceiling=0.0, option=option)
        self._borrow, self._slice, self._total = borrow, total / SLICES, total

    def reserve(self, jobs: Sequence[Job]) -> bool:
        """Reserve the worst case of a request; False when the budget of all workers is used up."""
        worst = sum(job.worst_cost for job in jobs)
        missing = self.spent + self._reserved + worst - self.ceiling
        if missing > 0:
            self.ceiling += self._borrow(max(0.0, min(max(missing, self._slice), self._total - self.ceiling)))
        return super().reserve(jobs)


class Borrower:
    """What a worker has borrowed. It asks every fifth of a second while it is at work.

    `before` is what earlier runs spent under the ceiling of this worker alone.
    """

    def __init__(
        self,
        pace: PaceSettings,
        stop: StopSettings,
        price: Price | None,
        lend: Callable[[Ask], Grant],
        borrow: Callable[[float], float],
        before: float = 0.0,
    ) -> None:
        self._lend = lend
        self._lock = threading.Lock()
        self._who = f"{socket.gethostname()}.{os.getpid()}.{os.urandom(4).hex()}"
        self._requests, self._tokens = LentRequests(self._lock, pace.rpm), LentBucket(self._lock, pace.tpm)
        self._closed_until = -math.inf
        self._answered = self._refused = 0
        budget = None
        if stop.has_ceiling:
            total, option = stop.ceiling(before)
            budget = LentBudget(price, borrow, max(0.0, total - before), option)
        self.shared = Shared(
            self._requests if pace.rpm is not None or pace.share_limits is not None else None,
            self._tokens if pace.tpm is not None else None,
            budget,
        )

    @classmethod
    def of(
        cls,
        pace: PaceSettings,
        stop: StopSettings,
        price: Price | None,
        lend: Callable[[Ask], Grant],
        borrow: Callable[[float], float],
    ) -> "Borrower | None":
        """Return the borrower of a worker, None where there is nothing to share."""
        if pace.rpm is None and pace.tpm is None and not stop.has_ceiling and pace.share_limits is None:
            return None
        return cls(pace, stop, price, lend, borrow)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Borrow while the context lasts; give back what is left at its end."""
        self._renew()
        with ticking(EVERY, self._renew):
            yield
        with self._lock:
            ask = self._ask()
        self._lend(ask._replace(hungry=False))

    def see(self, event: Event) -> None:
        """Note refusals that close the server for all, and answers that show that it is there."""
        if isinstance(event, Paused) and event.fault.billing is Billing.THROTTLED:
            self._closed_until = max(self._closed_until, monotonic() + event.wait)
        elif isinstance(event, Retrying):
            if event.fault.kind is Kind.RATE_LIMITED and not self._requests.announced:
                self._refused += 1
        elif isinstance(event, Finished):
            self._answered += len(event.outcomes)

    def _renew(self) -> None:
        asked = monotonic()  # the loan begins later, with the lender, and must not end later than it says
        with self._lock:
            ask = self._ask()
        grant = self._lend(ask)
        with self._lock:
            self._requests.receive(grant, asked)
            self._tokens.receive(grant, asked)

    def _ask(self) -> Ask:
        requests, needed, hungry = self._requests.settle()
        tokens, weight, thirsty = self._tokens.settle()
        closed_for, self._closed_until = self._closed_until - monotonic(), -math.inf
        forgets, self._requests.forgets = self._requests.forgets, False
        return Ask(
            self._who,
            (requests, tokens),
            (needed, weight),
            hungry or thirsty,
            max(0.0, closed_for),
            self._answered,
            int(self._requests.taken),
            self._refused,
            self._requests.learned,
            forgets,
            self._requests.found,
        )
