"""A rate limit that a server announces in its headers: a bucket that refills, by limit, remaining and reset. Pure."""

import math

__all__ = ["AnnouncedLimit"]

PERIODS = (1.0, 10.0, 60.0, 3600.0, 86400.0)
"""Periods of limits in seconds: Azure's and Mistral's may be short, Groq's for requests is a day."""
MINUTE = 60.0
LIKE = math.log(2.0)
"""How far, as a logarithm, a measured period may be from one of these: servers round what they announce."""


class AnnouncedLimit:
    """Estimates what is left of one limit. Announcements of the server only ever lower the estimate.

    To some servers the reset is the time until the bucket is full, to others the time until it has gained the
    difference of limit and remaining. Which of the two a server means, and the period, follow from which is plausible.
    """

    def __init__(self) -> None:
        self.period = MINUTE
        self._limit = math.inf
        self._size = 0.0
        """The size of the bucket: the most that ever remained, and the request to which that was announced."""
        self._longest_reset = 0.0
        self._level = math.inf
        self._at = 0.0

    @property
    def per_minute(self) -> float:
        """Return how much the bucket gains in a minute."""
        return self._limit * MINUTE / self.period

    @property
    def paced(self) -> bool:
        """Tell whether requests should leave evenly: the limit of an hour or a day may be used up at once."""
        return self.period <= MINUTE

    def opens(self, now: float, amount: float) -> float:
        """Return when so much is left; for more than the size of the bucket, when it is full."""
        if not self._size:
            return -math.inf  # nothing was announced yet
        short = min(amount, self._size) - self._refilled(now)
        return now + short * self.period / self._limit if short > 1e-9 else -math.inf

    def take(self, now: float, amount: float) -> None:
        """Count units that leave."""
        if self._level < math.inf:
            self._level, self._at = self._refilled(now) - amount, now

    def learn(
        self, limit: float | None, left: float | None, reset: float | None, *, now: float, age: float, since: float
    ) -> None:
        """Learn from an announcement that is `age` seconds old; `since` units have left since then."""
        if limit is not None:
            self._limit = limit
        if left is None or self._limit == math.inf:
            return
        left = min(left, self._limit)
        self._size = min(self._limit, max(self._size, left + 1.0))
        if reset is not None:
            self._longest_reset = max(self._longest_reset, reset)
            self.period = self._period(left, reset) or self.period
        announced = min(self._size, left + age * self._limit / self.period - since)
        self._level, self._at = min(self._refilled(now), announced), now

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
                distance = abs(math.log(measured / period))
                if distance < best and self._longest_reset <= 1.1 * period:
                    best, found = distance, period
        return found
