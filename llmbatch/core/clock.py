"""The clock that is passed to everything that needs the time, so that tests can move it; durations as text."""

import math
import re
import time
from typing import Protocol

__all__ = ["DURATION_PART", "Clock", "SystemClock", "duration", "positive_number", "valid_seconds"]


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


_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}

DURATION_PART = r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)"
"""A number and its unit."""

_DURATION = re.compile(rf"(?:{DURATION_PART})+", re.ASCII)


def duration(text: str) -> float | None:
    """Read a Go-style duration (`6m0s`, `120ms`, `45.8s`) or a bare number of seconds; None when it is neither."""
    text = text.strip()
    if _DURATION.fullmatch(text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(DURATION_PART, text, re.ASCII))
        return valid_seconds(seconds)
    return positive_number(text)


def positive_number(text: str) -> float | None:
    """Read a positive, finite number; None when the text is no such number."""
    try:
        return valid_seconds(float(text))
    except ValueError:
        return None


def valid_seconds(seconds: float) -> float | None:
    """Return the seconds when they are finite and positive, else None."""
    return seconds if math.isfinite(seconds) and seconds > 0 else None
