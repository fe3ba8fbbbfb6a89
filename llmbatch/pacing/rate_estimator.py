"""Learns from refusals how many requests a minute a server admits that announces no limit. Pure.

Between two refusals a server admitted what its limit allows. Over a cycle of sending until it refuses, and being
refused until it admits again, that is true for every kind of limit.
"""

from collections import deque

__all__ = ["APART", "MINUTE", "RateEstimator"]

MINUTE = 60.0
RECENT = 2.0
"""Seconds over which the present rate is measured."""
WINDOW = 60.25
"""Seconds. A little more than a minute, since requests do not all take equally long to arrive."""
SAME, APART = 20, 5.0
"""Refusals with fewer admitted requests and seconds between them have one reason: fewer in flight did not help."""
ENOUGH, SPAN = 8, 1.0
"""So many admitted requests, in so many seconds, are evidence of a rate."""
CYCLE = 30.0
"""The least seconds of a cycle of sending and being refused: a shorter one may be the gap that a burst leaves."""
LATEST = 3.0
"""The last part of a cycle is so many times as long as all was refused at its end."""


class RateEstimator:
    """Watches the counts of requests sent and refused. `mark` must be called once a second, at a departure."""

    def __init__(self) -> None:
        self.due = float("-inf")
        self._marks: deque[tuple[float, int]] = deque()
        self._last: tuple[float, int, int] | None = None
        """The time of the last refusal, and how many were sent, and seemed admitted, by then."""
        self._first: tuple[float, int] | None = None
        self.repeated = 0
        """How many refusals in a row after the first had the same reason."""
        self._wall = (0.0, 0)
        self._reopened = float("-inf")

    def mark(self, now: float, admitted: int) -> None:
        """Note how many were admitted before this departure."""
        while self._marks and self._marks[0][0] < now - 2 * MINUTE:
            self._marks.popleft()
        self._marks.append((now, admitted))
        self.due = now + 1.0

    def recent(self, now: float, admitted: int) -> float:
        """Return how many a second were admitted in the last few seconds, 0 when that is unknown."""
        then, before = next((mark for mark in reversed(self._marks) if mark[0] <= now - RECENT), (now, 0))
        if then == now and self._marks:
            then, before = self._marks[0]
        return (admitted - before) / (now - then) if now - then >= RECENT / 8 else 0.0

    def over(self, seconds: float, now: float, admitted: int) -> float:
        """Return how many a minute were admitted over so many seconds."""
        before = next((count for then, count in self._marks if then >= now - seconds), admitted)
        return (admitted - before) * MINUTE / seconds

    def refused(self, now: float, sent: int, refusals: int) -> float | None:
        """Note the first refusal of a crowd; return the rate per minute once that is evident."""
        admitted = sent - refusals
        if admitted > self._wall[1]:
            self._wall = now, admitted
        last, self._last = self._last, (now, sent, admitted)
        if last is None or admitted - last[2] >= SAME or now - last[0] > APART:
            self._first = None
            self.repeated = 0
            return None
        self.repeated += 1
        # Requests that left before the last refusal have ended by now, and all refusals but this one are theirs.
        then, count = last[0], last[1] - (refusals - 1)
        if self._first is None:
            self._first = then, count
            return None
        since, before = self._first
        if then - since < SPAN or count - before < ENOUGH or now - self._reopened < CYCLE:
            return None
        self._last = self._first = None
        self.repeated = 0
        # A limit per minute admits as much again as in the last one, of which the first refusal may have ended a burst.
        minute = self._mark_since(then - MINUTE)
        return max((count - before) * MINUTE / (then - since), float(count - minute[1]))

    def reopened(self, now: float) -> float | None:
        """Return the rate per minute over the cycle of sending and being refused that a probe has just ended."""
        wall, admitted = self._wall
        minute = self._mark_since(wall - MINUTE)
        since, before = self._mark_since(max(wall - MINUTE, self._reopened))
        if now - since < CYCLE or now - wall < APART:
            return None
        self._reopened = now
        if admitted == before:
            return None  # it was not ready, or down: that shows no rate
        latest, earlier = self._mark_since(max(since, now - LATEST * (now - wall)))
        # The rate of the cycle holds for every kind of limit; a limit per minute admitted as much in the last minute,
        # and one that grows with use admitted more in the last part of the cycle.
        return max(
            (admitted + 1 - before) * MINUTE / (now - since),
            float(admitted - minute[1]),
            (admitted + 1 - earlier) * MINUTE / (now - latest),
        )

    def window_ends(self) -> float:
        """Return when a limit per minute must have room again, counted from the last refusal of a request."""
        return self._mark_since(self._wall[0] - MINUTE)[0] + WINDOW

    def _mark_since(self, moment: float) -> tuple[float, int]:
        return next((mark for mark in self._marks if mark[0] >= moment), self._wall)
