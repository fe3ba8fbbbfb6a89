"""Tells how much slower than at its best a service answers. Pure."""

from collections import deque

__all__ = ["LatencyGuard"]

SAMPLES = 64
"""Answers whose median counts; half of them are needed at first."""
EACH = 8
"""Answers between two looks."""
DRIFT = 1.0005
"""The best latency grows by this factor with every look, so that one lucky minute does not count for ever."""


class LatencyGuard:
    """The latencies of one route, each divided by the length of its answer."""

    def __init__(self) -> None:
        self._best: float | None = None
        self._recent: deque[float] = deque(maxlen=SAMPLES)
        self._seen = 0

    def slowdown(self, latency: float) -> float | None:
        """Note an answer; return how many times longer than at best they take by now, None between two looks."""
        self._recent.append(latency)
        self._seen += 1
        if self._seen % EACH or len(self._recent) < SAMPLES // 2:
            return None
        ordered = sorted(self._recent)
        usual = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2  # the median
        if self._best is None or usual < self._best:
            self._best = usual
        else:
            self._best *= DRIFT
        return usual / self._best if self._best > 0 else 1.0
