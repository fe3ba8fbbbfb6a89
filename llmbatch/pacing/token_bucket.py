"""Limits requests or tokens per minute, counted before they are sent. Pure.

All of these bounds hold. No window of a minute has more than the rate: a plain token bucket lets up to twice that
through, which is a 429. Units leave at an even pace. Of requests that the user limited, no second has more than its
share: many providers enforce a limit per minute in slices of a second.
"""

import math
from collections import deque

from llmbatch.core.snapshot import Cause
from llmbatch.pacing.announced_limit import AnnouncedLimit
from llmbatch.pacing.rate_growth import RateGrowth

__all__ = ["BURST", "Taken", "TokenBucket"]

MINUTE = 60.0
WINDOW = 60.25
"""Seconds. A little more than a minute, since requests do not all take equally long to arrive."""
BURST = 0.25
"""So many seconds' worth of units may leave at once."""
SLICE = 1.018
"""Seconds in which no more than a second's share leaves: a little longer, for the same reason."""

Taken = list[float]
"""When units were taken, and how many."""


class TokenBucket:
    """Admits up to `rate` units in any window; infinite until a rate is known.

    Amounts are reserved when a request leaves and corrected when its answer reports the truth. A request larger than
    the bucket leaves when the window is empty, so that none waits for ever. `sliced` is for requests, each of one unit.
    `window` is the time in which no more than the rate leaves, `burst` for how much of it units may leave at once.
    """

    def __init__(
        self, rate: float | None = None, *, sliced: bool = False, window: float = WINDOW, burst: float = BURST
    ) -> None:
        self._window, self._burst = window, burst
        self._period = MINUTE
        """The seconds in which no more than the rate leaves; the window is a little longer."""
        self.rate = math.inf if rate is None else rate
        share = max(1, int(self.rate / 60.0)) if sliced and rate is not None else 1
        self._slice: deque[float] | None = deque(maxlen=share) if sliced and rate is not None else None
        """When the last requests left, as many as may leave in a slice: a second's share, or one."""
        self._slice_span = SLICE * share * 60.0 / self.rate
        self.binds = rate is not None
        """Whether a rate is known."""
        self._named = rate is not None
        self._is_guess = False
        self._growth = RateGrowth()
        self._spent: deque[Taken] = deque()
        """When units were taken, and how many; oldest first."""
        self._sum = 0.0
        self.taken = 0.0
        """Units that have left, with or without a rate."""
        self._announced: AnnouncedLimit | None = None
        self._unknown = -1.0
        """Units that had left when a limit was announced first."""
        self.due = self._even_since = -math.inf
        """When the units taken since an even pace began would have left at that pace; and when it began."""

    @property
    def guessed(self) -> bool:
        """Whether the rate is a guess."""
        return self._is_guess

    @property
    def held(self) -> bool:
        """Whether the rate is a guess that was used for long without a refusal."""
        return self._is_guess and self._growth.held

    @property
    def origin(self) -> Cause:
        """Where the rate comes from."""
        if self._named:
            return Cause.NAMED_RATE
        return Cause.LEARNED_RATE if self.guessed else Cause.ANNOUNCED_RATE

    def opens(self, now: float, amount: float) -> float:
        """Return when `amount` more units are admitted: `now` or earlier for at once."""
        if not self.binds:
            return -math.inf
        opens, announced = -math.inf, self._announced
        if announced is not None:
            opens = announced.opens(now, amount)
            if announced.is_exact:
                return opens
        self._grow(now)
        self._expire(now)
        opens = max(opens, self._window_opens(now, amount))
        if announced is not None and not announced.contradicted:
            return opens
        opens = max(opens, self.due - self._burst)
        if self._slice is not None and len(self._slice) == self._slice.maxlen:
            opens = max(opens, self._slice[0] + self._slice_span)
        return opens

    def room(self, now: float) -> float:
        """Return how many units of a known rate may leave now, together."""
        self._grow(now)
        self._expire(now)
        paced = (now + self._burst - max(self.due, now)) * self.rate / 60.0
        return max(0.0, min(self.rate - self._sum, paced))

    def fill(self, now: float) -> None:
        """Count a full window as taken, evenly: what was taken before is not known."""
        pieces = min(1000, max(1, int(self.rate))) if self.binds else 0
        for piece in range(pieces):
            self._add(now - self._window * (1.0 - (piece + 1) / pieces), self.rate / pieces)

    def take(self, now: float, amount: float) -> Taken | None:
        """Reserve units; None while no rate is known."""
        self.taken += amount
        if self._announced is not None:
            self._announced.take(now, amount)
        if not self.binds:
            return None
        self.due = max(self.due, now) + amount * 60.0 / self.rate
        self._expire(now)
        if self._slice is not None:
            self._slice.append(now)
        return self._add(now, amount)

    def correct(self, now: float, taken: Taken | None, surplus: float) -> None:
        """Return the units of a reservation that were not used, or, if negative, take more.

        They leave the window with the reservation: returned later, they would count twice.
        """
        if taken is not None and surplus:
            if self._announced is not None:
                self._announced.take(now, -surplus)
            self.due -= surplus * 60.0 / self.rate
            if taken[0] > max(now - self._window, self._even_since):
                taken[1] -= surplus
                self._sum -= surplus

    def learn(
        self,
        rate: float | None,
        left: float | None,
        now: float,
        *,
        reset: float | None = None,
        age: float = 0.0,
        since: float = 0.0,
        exact: bool = True,
    ) -> None:
        """Learn what the server announced `age` seconds and `since` units ago, unless the user set the rate.

        `exact` says that units are counted, and not estimated as tokens are.
        """
        if self._named or (rate is None and self._announced is None):
            return
        if self._announced is None:
            self._announced = AnnouncedLimit(self.taken)
            self._unknown = self.taken
        self._announced.learn(rate, left, reset, now=now, age=age, since=since, exact=exact)
        if not self.binds and rate is not None and left is not None:
            # What left before is not known one by one.
            self._add(now - age, max(0.0, rate - left))
            self._add(now, since)
        self.binds = True
        self.rate = self._announced.per_minute
        self._period = min(MINUTE, self._announced.period)
        self._window = self._period + min(WINDOW - MINUTE, (SLICE - 1.0) * self._period)
        self._is_guess = False

    def guess(self, rate: float, now: float, *, lowered: bool = False) -> None:
        """Try a rate that seems to be the server's, which announces none; it grows until the next refusal.

        `lowered` says that it is the last guess, lowered because it was refused, and not measured anew.
        """
        if not self._named and rate > 0:
            if lowered:
                self._growth.lowered(rate, self.rate, now)
            else:
                self._growth.learned(rate, now)
            self.rate = self._growth.rate(now, used=False)
            self._is_guess = self.binds = True

    def refused(self, now: float) -> None:
        """Note that a server with such a limit refused for its pace.

        The first time that contradicts what was announced, an even pace begins: what left before was admitted.
        """
        announced = self._announced
        if announced is None:
            return
        believed = announced.is_exact
        announced.refused(now)
        if believed and not announced.is_exact and not announced.slides:
            self.due = self._even_since = now
            self._spent.clear()
            self._sum = 0.0

    def explains(self, taken: float) -> bool:
        """Tell whether the limit was announced only after a request had left, as the last of so many units."""
        return taken <= self._unknown

    def forget(self) -> None:
        """Drop a guessed rate: it was not for the rate that requests were refused."""
        if self._is_guess:
            self._is_guess = False
            self.rate, self.binds = math.inf, False

    def _grow(self, now: float) -> None:
        """Raise a guessed rate by the time in which requests waited for it."""
        if self._is_guess:
            self.rate = self._growth.rate(now, used=self.due >= now - self._burst - 60.0 / self.rate)

    def _add(self, now: float, amount: float) -> Taken:
        taken = [now, amount]
        self._spent.append(taken)
        self._sum += amount
        return taken

    def _window_opens(self, now: float, amount: float) -> float:
        most = self.rate * self._period / MINUTE
        excess = self._sum + min(amount, most) - most
        if excess <= 1e-9:
            return -math.inf
        for when, units in self._spent:
            excess -= units
            if excess <= 1e-9:
                return when + self._window
        return now + self._window

    def _expire(self, now: float) -> None:
        while self._spent and self._spent[0][0] <= now - self._window:
            self._sum -= self._spent.popleft()[1]
        if not self._spent:
            self._sum = 0.0
