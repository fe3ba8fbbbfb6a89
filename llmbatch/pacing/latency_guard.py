"""Says how many requests may be in flight when a service answers much more slowly than at its best. Pure.

The first answers of a crowd are its quickest ones, and while the load grows most answers are such. So an answer counts
once nearly all that left with it must have been answered, in the order in which they left. By Little's law half as many
in a queue are answered in half the time: where less in flight does not make answers quicker, they are slow for another
reason, and the limit comes back.
"""

import heapq
import math
from collections import deque

__all__ = ["LatencyGuard"]

SAMPLES = 64
"""Answers whose median counts."""
EACH = 8
"""Answers between two looks."""
TRIPS = 3.0
"""An answer counts so many mean round trips after its request left. By then nine of ten have ended, also in a first
crowd of which only the quickest are known, if latencies are log-normal with a sigma of 0.9."""
DRIFT = 1.0005
"""The best latency grows by this factor with every look, so that one lucky minute does not count for ever."""
HOLD, BACK_OFF = 1.8, 2.5
"""How much slower than at its best a service may answer before growth stops, and before the limit is cut."""
CUT, MOST = 0.85, 0.5
"""The part of the limit that is left: what brings the latency of a queue down to that, within bounds."""
TRIED, HELPS = 0.5, 0.75
"""At this part of the limit answers must take less than this part of the time, or less in flight does not help."""


class LatencyGuard:
    """The latencies of one route, each divided by the length of its answer."""

    def __init__(self) -> None:
        self.holds = False
        """Whether answers are so slow that there should be no more in flight."""
        self.last_cut = -math.inf
        self._best: float | None = None
        self._waiting: list[tuple[float, float]] = []
        """When a request left, and its latency: those that do not count yet, as a heap."""
        self._recent: deque[float] = deque(maxlen=SAMPLES)
        self._counted = 0
        self._tried: tuple[float, float] | None = None
        """The limit before it was cut, and how much slower answers were at most since then."""
        self._left = 0.0
        """The limit after the last cut."""

    def answered(self, now: float, latency: float, output_tokens: int, mean: float, limit: float) -> float | None:
        """Note an answer; return another limit where there should be one.

        `mean` is how long answers take, as `latency` in seconds; `limit` is how many may be in flight.
        """
        left = now - latency
        if left < self.last_cut:
            return None  # it says nothing about the time after the cut
        heapq.heappush(self._waiting, (left, latency / max(1, output_tokens)))
        while self._waiting and self._waiting[0][0] <= now - TRIPS * mean:
            self._recent.append(heapq.heappop(self._waiting)[1])
            self._counted += 1
            if self._counted % EACH == 0 and len(self._recent) >= SAMPLES:
                return self._judge(now, limit)
        return None

    def _judge(self, now: float, limit: float) -> float | None:
        ordered = sorted(self._recent)
        usual = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2  # the median
        self._best = usual if self._best is None or usual < self._best else self._best * DRIFT
        slower = usual / self._best if self._best > 0 else 1.0
        self.holds = slower > HOLD
        if not self.holds or limit < self._left:  # a refusal has lowered it since: there is no way back to more
            self._tried = None
        if slower <= BACK_OFF:
            return None
        before, slowest = self._tried or (limit, slower)
        if limit <= TRIED * before:
            if slower > HELPS * slowest:
                self._best, self._tried, self.holds = usual, None, False
                return before
            before, slowest = limit, slower
        self._tried = before, max(slowest, slower)
        self.last_cut = now
        self._waiting.clear()
        self._recent.clear()
        self._left = max(1.0, limit * min(CUT, max(MOST, BACK_OFF / slower)))
        return self._left
