"""Measures by samples how fast a run goes and what limits it, and estimates its total. Pure, the clock passed in."""

from collections import deque
from collections.abc import Sequence

from llmbatch.core.snapshot import Cause, RouteState

__all__ = ["EVERY", "Meter", "estimated_total"]

EVERY = 0.2
"""Seconds between two samples."""
RECENT = 10.0
"""Seconds that the present rate is measured over."""
ENOUGH = 10
"""So many records must have finished in that time: a rate of fewer is mostly chance."""


class Meter:
    """Measures a run. `routes` are those of the last sample."""

    def __init__(self, began: float) -> None:
        self.routes: Sequence[RouteState] = ()
        self.waited = 0.0
        """Seconds in which a route was closed, because its server refused or was not there."""
        self._began = self._at = began
        self._done: deque[tuple[float, int]] = deque([(began, 0)])
        """Moments of the last seconds, and how many records had finished by then."""
        self._limited: dict[Cause, float] = {}
        """Seconds by cause."""

    def sample(self, now: float, done: int, routes: Sequence[RouteState]) -> None:
        """Note how many records have finished in this run, and what limits each route."""
        self._credit(now, routes)
        self.routes = routes
        self._done.append((now, done))
        while self._done[1][0] <= now - RECENT:
            self._done.popleft()

    def end(self, now: float) -> None:
        """Measure for the last time: the run has ended."""
        self._credit(now, self.routes)
        self.routes = ()

    def rate(self, now: float, done: int) -> float:
        """Return how many records a second finish at present, or in the run so far while those are few."""
        since, before = self._done[0]
        if done - before < ENOUGH:
            since, before = self._began, 0
        return (done - before) / (now - since) if now > since else 0.0

    def shares(self, wall: float) -> dict[str, float]:
        """Return the share of the run's time for each cause that limited it; together they are at most 1."""
        if wall <= 0:
            return {}
        ordered = sorted(self._limited.items(), key=lambda item: -item[1])
        shares = {str(cause): int(seconds / wall * 1000) / 1000 for cause, seconds in ordered}
        return {cause: share for cause, share in shares.items() if share}

    def _credit(self, now: float, routes: Sequence[RouteState]) -> None:
        """Share the time since the last sample among the causes. The input counts only if there is no other cause."""
        seconds, self._at = max(0.0, now - self._at), max(now, self._at)
        causes = [route.cause for route in routes if route.cause is not None]
        busy = [cause for cause in causes if cause is not Cause.INPUT] or causes
        for cause in busy:
            self._limited[cause] = self._limited.get(cause, 0.0) + seconds / len(busy)
        if any(route.closed_for > 0 for route in routes):
            self.waited += seconds


def estimated_total(read: int, part: float | None, *, limit: int | None) -> int | None:
    """Estimate how many records the input has, from those in the part that was read; None when that is unknown."""
    if part == 1.0:
        return read
    total = round(read / part) if part and read else None
    return total if limit is None or (total is not None and total < limit) else limit
