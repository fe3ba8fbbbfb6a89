"""A worker's side of shared limits: buckets and a budget that are filled by loans."""

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
from llmbatch.pacing.lender import VALID, Ask, Grant
from llmbatch.pacing.token_bucket import Taken, TokenBucket

__all__ = ["Borrower"]

EVERY = 0.2
"""Seconds between two loans."""
LOOKS_AGAIN = 0.02
"""Seconds after which dispatch looks again whether a loan has come."""
SLICES = 50
"""A loan of dollars is at least this part of the budget, so that few are needed."""


class LentBucket(TokenBucket):
    """A bucket whose units are lent, for a short time each. What a server announces is learned as in any other."""

    def __init__(self, lock: threading.Lock, rate: float | None) -> None:
        super().__init__()
        self._lock = lock
        self._lent = 0.0
        self._until = -math.inf
        self._closed_until = -math.inf
        self._surplus = 0.0
        self.needed = 1.0
        self.hungry = False
        self.learned = 0.0
        """A rate that was learned from the refusals of all workers; 0 for none."""
        self.forgets = False
        self.binds = True
        if rate is not None:
            self.rate = rate
            self._named = True

    @property
    def guessed(self) -> bool:
        """Whether a rate was learned."""
        return self.learned > 0

    @property
    def announced(self) -> bool:
        """Whether the server announces its limit."""
        return self._announced is not None

    def opens(self, now: float, amount: float) -> float:
        """Return when `amount` more units are admitted: now, or when it is worth another look."""
        with self._lock:
            if self._closed_until > now:
                return self._closed_until
            if self._lent < amount or now >= self._until:
                self.hungry, self.needed = True, max(1.0, amount)
                return now + LOOKS_AGAIN
        opens = super().opens(now, amount) if self._announced is not None else -math.inf
        self.binds = True
        return opens

    def take(self, now: float, amount: float) -> Taken | None:
        """Use units of the loan."""
        with self._lock:
            self._lent -= amount
            self.taken += amount
        if self._announced is not None:
            self._announced.take(now, amount)
        return [now, amount]

    def correct(self, now: float, taken: Taken | None, surplus: float) -> None:
        """Give back units that an estimate had too many of, or take more."""
        with self._lock:
            self._surplus += surplus

    def guess(self, rate: float, now: float) -> None:
        """Guess nothing: the lender learns, from all workers."""

    def forget(self) -> None:
        """Tell the lender that requests were refused for another reason."""
        self.forgets = self.guessed

    def settle(self) -> tuple[float, float, bool]:
        """Give back what is left of the loan; return it, what is needed, and whether more could have been sent."""
        left = self._lent if math.isfinite(self._lent) else 0.0
        returned, self._lent, self._surplus = max(0.0, left) + self._surplus, 0.0, 0.0
        hungry, self.hungry = self.hungry, False
        return returned, self.needed, hungry

    def receive(self, units: float, closed_for: float, now: float, learned: float = 0.0) -> None:
        """Take a loan."""
        self._lent, self._until = units, now + VALID
        if not self._named and self._announced is None:
            self.learned, self.rate = learned, learned or math.inf
        if closed_for > 0:
            self._closed_until = now + closed_for


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
    """What a worker has borrowed. It asks every fifth of a second while it is at work."""

    def __init__(
        self,
        pace: PaceSettings,
        stop: StopSettings,
        price: Price | None,
        lend: Callable[[Ask], Grant],
        borrow: Callable[[float], float],
    ) -> None:
        self._lend = lend
        self._lock = threading.Lock()
        self._who = f"{socket.gethostname()}.{os.getpid()}.{os.urandom(4).hex()}"
        self._requests, self._tokens = LentBucket(self._lock, pace.rpm), LentBucket(self._lock, pace.tpm)
        self._closed_until = -math.inf
        self._answered = self._refused = 0
        budget = None
        if stop.has_ceiling:
            total, option = stop.ceiling(0.0)
            budget = LentBudget(price, borrow, total, option)
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
            self._requests.receive(grant.requests, grant.closed_for, asked, grant.learned)
            self._tokens.receive(grant.tokens, grant.closed_for, asked)

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
        )
