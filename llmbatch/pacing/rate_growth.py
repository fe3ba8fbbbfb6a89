"""How a rate grows that was learned from refusals: it stays for a while, then rises until the next refusal. Pure.

A limit may have grown since, or be higher than the first refusals showed. So the first span of time is short. A refusal
at about the rate that was learned confirms it, and doubles the span; one at a much higher rate shows that far more is
admitted than was thought, and halves it. Two measurements that agree make it the longest. Only the time counts in which
requests wait for the rate: what is not used proves nothing.
"""

import math

__all__ = ["RateGrowth"]

CAUTION = 0.95
"""A rate starts a little below what was admitted."""
FIRST, SHORTEST, LONGEST = 20.0, 5.0, 60.0
"""Seconds after which it is as high again. Growth is cubic in its exponent, so that it stays there for long, and yet
doubles within another two such spans."""
REQUESTS = 60
"""Requests that a span has at least: the cost of a refusal must be earned first."""
HELD = 30.0
"""A rate that was used for so many seconds without a refusal was measured right."""
ALIKE = 1.25
"""Rates that differ by less than this factor agree."""


class RateGrowth:
    """The growth of one rate per minute."""

    def __init__(self) -> None:
        self._base = self._measured = 0.0
        """The rate at which growth began, and the last one that was measured."""
        self._span = FIRST
        self._used = self._seen = 0.0
        """The seconds in which the rate was used up, and until when that is counted."""

    @property
    def held(self) -> bool:
        """Whether the rate was used for long since it was learned, or lowered."""
        return self._used >= HELD

    def learned(self, rate: float, now: float) -> None:
        """Begin at a rate that was measured between refusals."""
        agrees = self._measured / ALIKE < rate < ALIKE * self._measured
        self._span = LONGEST if agrees else FIRST
        self._measured = rate
        self._begin(rate, now)

    def lowered(self, rate: float, refused_at: float, now: float) -> None:
        """Begin again at a lower rate, since this one grew to `refused_at` and was refused there."""
        grew = refused_at > ALIKE * self._base
        self._span = max(SHORTEST, self._span / 2) if grew else min(LONGEST, 2 * self._span)
        self._begin(rate, now)

    def rate(self, now: float, *, used: bool) -> float:
        """Return the rate by now. `used` says whether requests have waited for it since the last call."""
        if used:
            self._used += now - self._seen
        self._seen = now
        span = max(self._span, REQUESTS * 60.0 / self._base)
        return self._base * math.exp(min(20.0, (1.0 - CAUTION) * (self._used / span) ** 3))

    def _begin(self, rate: float, now: float) -> None:
        self._base = max(1.0, CAUTION * rate)
        self._used, self._seen = 0.0, now
