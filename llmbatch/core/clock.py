"""Time as it is passed in, so that tests can turn it."""

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Monotonic seconds for waits and deadlines, wall seconds for what people read."""

    def monotonic(self) -> float:
        """Return seconds that only ever grow."""
        ...

    def wall(self) -> float:
        """Return seconds since 1970."""
        ...


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
