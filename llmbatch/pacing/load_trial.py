"""The load of a trial: fewer requests in flight, and fewer that leave a second, than before; or many more. Pure."""

import math

__all__ = ["LOAD", "TWICE", "LoadTrial"]

LOAD = 0.85
"""The part of the load that is sent: so much less that a wall refuses next to nothing."""
TWICE = 2.0
"""Or at least so many times the load, so that a wall refuses many: a few departures show it."""


class LoadTrial:
    """The bounds of one trial, which sends so many times the load.

    `load` is what was in flight, `rate` what left a second; 0 where that is unknown.
    """

    def __init__(self, load: int, rate: float, *, times: float = LOAD) -> None:
        self.load = load
        self.raises = times > 1.0
        self.most = max(1, round(times * load))
        """How many requests may be in flight."""
        self._gap = 1.0 / (times * rate) if rate else 0.0
        self._opens = -math.inf

    def opens(self, in_flight: int) -> float:
        """Return when a request may leave; infinity for "when another one ends"."""
        return self._opens if in_flight < self.most else math.inf

    def departed(self, now: float) -> None:
        """Note a departure."""
        self._opens = max(now, self._opens) + self._gap
