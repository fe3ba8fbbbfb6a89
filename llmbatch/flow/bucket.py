"""Requests and tokens per minute, counted before they are sent. Pure.

A sliding count over the last minute, not a leaking bucket: a bucket lets up to twice its rate through a window, and
that is a 429.
"""

import math
from collections import deque

__all__ = ["Bucket"]

WINDOW = 60.0


class Bucket:
    """Admits up to `rate` units in any `WINDOW` seconds; infinite until a rate is known.

    Amounts are reserved when a request leaves and corrected when its answer tells the truth. Nothing larger than the
    bucket waits for ever: it goes when the window is empty.
    """

    def __init__(self, rate: float = math.inf) -> None:
        self.rate = rate
        self._spent: deque[tuple[float, float]] = deque()
        """When units were taken, and how many; oldest first. Corrections are entries too."""
        self._sum = 0.0

    def opens(self, now: float, amount: float) -> float:
        """Return when `amount` more units are admitted: `now` or earlier for at once."""
        if self.rate == math.inf:
            return -math.inf
        self._expire(now)
        excess = self._sum + min(amount, self.rate) - self.rate
        if excess <= 1e-9:
            return -math.inf
        for when, units in self._spent:
            excess -= units
            if excess <= 1e-9:
                return when + WINDOW
        return now + WINDOW

    def take(self, now: float, amount: float) -> None:
        """Reserve units."""
        if self.rate < math.inf:
            self._spent.append((now, amount))
            self._sum += amount

    def correct(self, now: float, surplus: float) -> None:
        """Give units back (or, negative, take more): what was reserved differed from what was used."""
        if self.rate < math.inf and surplus:
            self._spent.append((now, -surplus))
            self._sum -= surplus

    def _expire(self, now: float) -> None:
        while self._spent and self._spent[0][0] <= now - WINDOW:
            self._sum -= self._spent.popleft()[1]
        if not self._spent:
            self._sum = 0.0
