"""A worker's buckets of shared limits: they are filled by loans. Requests are lent as moments at which they may leave.

Moments keep the pace of all workers even, so that no second has more than its share whoever sends.
"""

import math
import threading
from collections import deque

from llmbatch.pacing.lender import LATE, VALID, Grant
from llmbatch.pacing.token_bucket import Taken, TokenBucket

__all__ = ["LentBucket", "LentRequests"]

LOOKS_AGAIN = 0.02
"""Seconds after which dispatch looks again whether a loan has come."""
STEP = 0.005
"""Seconds that dispatch waits at least for a moment: at high rates several requests leave together."""


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
        self.hungry = True
        self.binds = True
        if rate is not None:
            self.rate = rate
            self._named = True

    @property
    def announced(self) -> bool:
        """Whether the server announces its limit."""
        return self._announced is not None

    def opens(self, now: float, amount: float) -> float:
        """Return when `amount` more units are admitted: now, or when it is worth another look."""
        with self._lock:
            opens = self._closed_until if self._closed_until > now else self._lent_at(now, amount)
        if opens <= now and self._announced is not None:
            opens = super().opens(now, amount)
            self.binds = True
        return opens

    def take(self, now: float, amount: float) -> Taken | None:
        """Use units of the loan."""
        with self._lock:
            self._use(amount)
            self.taken += amount
        if self._announced is not None:
            self._announced.take(now, amount)
        return [now, amount]

    def correct(self, now: float, taken: Taken | None, surplus: float) -> None:
        """Give back units that an estimate had too many of, or take more."""
        with self._lock:
            self._surplus += surplus

    def guess(self, rate: float, now: float, *, lowered: bool = False) -> None:
        """Guess nothing: the lender learns, from all workers."""

    def forget(self) -> None:
        """Forget nothing, for the same reason."""

    def settle(self) -> tuple[float, float, bool]:
        """Give back what is left of the loan; return it, what is needed, and whether more could have been sent."""
        returned, self._surplus = self._give_back() + self._surplus, 0.0
        hungry, self.hungry = self.hungry, False
        return returned, self.needed, hungry

    def receive(self, grant: Grant, asked: float) -> None:
        """Take a loan that was asked for at that time: it ends no later than the lender thinks."""
        self._lent, self._until = grant.tokens, asked + VALID
        if grant.closed_for > 0:
            self._closed_until = asked + grant.closed_for

    def _lent_at(self, now: float, amount: float) -> float:
        if self._lent >= amount and now < self._until:
            return -math.inf
        self.hungry, self.needed = True, max(1.0, amount)
        return now + LOOKS_AGAIN

    def _use(self, amount: float) -> None:
        self._lent -= amount

    def _give_back(self) -> float:
        left, self._lent = self._lent, 0.0
        return max(0.0, left) if math.isfinite(left) else 0.0


class LentRequests(LentBucket):
    """The requests that are lent: each may leave at its moment or a little later. All may while no rate is known."""

    def __init__(self, lock: threading.Lock, rate: float | None) -> None:
        super().__init__(lock, rate)
        self._moments: deque[float] = deque()
        self.learned = 0.0
        """A rate that was learned from the refusals of all workers; 0 for none."""
        self.found = 0.0
        """The rate that this worker found by its own refusals."""
        self.forgets = False

    @property
    def guessed(self) -> bool:
        """Whether a rate was learned."""
        return self.learned > 0

    def guess(self, rate: float, now: float, *, lowered: bool = False) -> None:
        """Tell the lender the rate that this worker found."""
        self.found = rate
        if not self._named and not self.learned:
            self.rate = rate

    def forget(self) -> None:
        """Tell the lender that requests were refused for another reason."""
        self.forgets = self.guessed

    def receive(self, grant: Grant, asked: float) -> None:
        """Take moments, beside those that are left, and the rate that was learned."""
        super().receive(grant, asked)
        self._lent = 0.0
        if math.isinf(grant.requests):
            self._lent = math.inf
            self._moments.clear()
        elif grant.requests > 0:
            first = asked + grant.after
            self._moments.extend(first + place * grant.gap for place in range(int(grant.requests)))
        if not self._named and self._announced is None:
            self.learned, self.rate = grant.learned, grant.learned or math.inf

    def _lent_at(self, now: float, amount: float) -> float:
        if self._lent and now < self._until:
            return -math.inf
        moments = self._moments
        while moments and moments[0] < now - LATE:
            moments.popleft()
        if moments and moments[0] <= now:
            return -math.inf
        self.hungry = True
        return max(moments[0], now + STEP) if moments else now + LOOKS_AGAIN

    def _use(self, amount: float) -> None:
        if self._moments:
            self._moments.popleft()
