"""A limit as a server announces it: a bucket that refills, known by limit, remaining and reset. Pure."""

import math

__all__ = ["AnnouncedLimit"]

PERIODS = (1.0, 10.0, 60.0, 3600.0, 86400.0)
"""Seconds that limits count in: Azure's and Mistral's may be short, Groq's for requests is a day."""
MINUTE = 60.0
LIKE = math.log(2.0)
"""How far a measured period may be from one of these: remaining is a whole number, and reset is rounded too."""


class AnnouncedLimit:
    """What is left of one limit, as far as it is known. What the server tells only ever lowers it.

    The reset is the time until the bucket is full, or until as much has come in as the limit is above what remains:
    servers mean either. Which it is, and which period the limit counts in, follows from which of both is plausible.
    """

    def __init__(self) -> None:
        self.period = MINUTE
        self._limit = math.inf
        self._size = 0.0
        """The most that the bucket holds: what remained at most, and the request that was told so."""
        self._longest_reset = 0.0
        self._level = math.inf
        self._at = 0.0

    @property
    def per_minute(self) -> float:
        """Return how much comes in a minute."""
        return self._limit * MINUTE / self.period

    @property
    def paced(self) -> bool:
        """Tell whether requests should leave evenly: what comes in an hour or a day may be used up at once."""
        return self.period <= MINUTE

    def opens(self, now: float, amount: float) -> float:
        """Return when so much is left; what is larger than the bucket goes when that is full."""
        if not self._size:
            return -math.inf  # nobody told what is left
        short = min(amount, self._size) - self._refilled(now)
        return now + short * self.period / self._limit if short > 1e-9 else -math.inf

    def take(self, now: float, amount: float) -> None:
        """Count what leaves."""
        if self._level < math.inf:
            self._level, self._at = self._refilled(now) - amount, now

    def learn(
        self, limit: float | None, left: float | None, reset: float | None, *, now: float, age: float, since: float
    ) -> None:
        """Take what a server told `age` seconds ago, when `since` units fewer had left."""
        if limit is not None:
            self._limit = limit
        if left is None or self._limit == math.inf:
            return
        left = min(left, self._limit)
        self._size = min(self._limit, max(self._size, left + 1.0))
        if reset is not None:
            self._longest_reset = max(self._longest_reset, reset)
            self.period = self._period(left, reset) or self.period
        told = min(self._size, left + age * self._limit / self.period - since)
        self._level, self._at = min(self._refilled(now), told), now

    def _refilled(self, now: float) -> float:
        return min(self._size, self._level + (now - self._at) * self._limit / self.period)

    def _period(self, left: float, reset: float) -> float | None:
        """Return the period that fits best; None when none does. A reset is no longer than its period."""
        best, found = LIKE, None
        for full in (self._limit, self._size):
            if full - left < 1.0:
                continue
            measured = self._limit * reset / (full - left)
            for period in PERIODS:
                far = abs(math.log(measured / period))
                if far < best and self._longest_reset <= 1.1 * period:
                    best, found = far, period
        return found
