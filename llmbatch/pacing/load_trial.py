"""The lower load of a trial: fewer requests in flight, and fewer that leave a second, than before. Pure."""

import math

__all__ = ["LoadTrial"]

LOAD = 0.85
"""The part of the load that is sent: so much less that a wall refuses next to nothing."""


class LoadTrial:
    """The bounds of one trial. `load` is what was in flight, `rate` what left a second; 0 where that is unknown."""

    def __init__(self, load: int, rate: float) -> None:
        self.most = max(1, round(LOAD * load))
        """How many requests may be in flight."""
        self._gap = 1.0 / (LOAD * rate) if rate else 0.0
        self._opens = -math.inf

    def opens(self, in_flight: int) -> float:
        """Return when a request may leave; infinity for "when another one ends"."""
        return self._opens if in_flight < self.most else math.inf

    def departed(self, now: float) -> None:
        """Note a departure."""
        self._opens = max(now, self._opens) + self._gap
