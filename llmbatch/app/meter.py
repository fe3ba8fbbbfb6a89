"""Measures by samples how fast a run goes and what limits it, and estimates its total. Pure, the clock passed in."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llmbatch.core.snapshot import Cause, RouteState

__all__ = ["EVERY", "Meter", "estimated_total"]

EVERY = 0.2
"""Seconds between two samples."""
RECENT = 10.0
"""Seconds that the present rate is measured over at least."""
ENOUGH = 10
"""And so many records, if so many have finished: a rate of fewer is mostly chance."""


class _Moment(NamedTuple):
    """How many records had finished by then, in all and of each model."""

    at: float
    done: int
    of_models: Mapping[str, int]
    lost: float = 0.0
    """Seconds of outages until then."""


class Meter:
    """Measures a run. `routes` are those of the last sample."""

    def __init__(self, began: float) -> None:
        self.routes: Sequence[RouteState] = ()
        self.waited = 0.0
        """Seconds in which a route was closed, because its server refused or was not there."""
        self._began = self._at = began
        self._moments = deque([_Moment(began, 0, {})])
        """Those at which records had finished, since the one from which the present rate is measured."""
        self._limited: dict[Cause, float] = {}
        """Seconds by cause."""
        self._lost = 0.0
        """Seconds in which no server was there: they say nothing about the time that is left."""

    def sample(self, now: float, done: int, routes: Sequence[RouteState], of_models: Mapping[str, int] = {}) -> None:
        """Note how many records have finished in this run, also of each model, and what limits each route."""
        self._credit(now, routes)
        self.routes = routes
        moments = self._moments
        if done > moments[-1].done:
            moments.append(_Moment(now, done, of_models, self._lost))
        while len(moments) > 1 and moments[1].at <= now - RECENT and done - moments[1].done >= ENOUGH:
            moments.popleft()

    def end(self, now: float) -> None:
        """Measure for the last time: the run has ended."""
        self._credit(now, self.routes)
        self.routes = ()

    def rate(self, now: float, done: int) -> float:
        """Return how many records a second finish at present."""
        since = self._moments[0]
        return (done - since.done) / (now - since.at) if now > since.at else 0.0

    def time_left(
        self, now: float, done: int, left: int, of_models: Mapping[str, int], waiting: Mapping[str, int]
    ) -> float | None:
        """Return the seconds in which `left` records finish at the present rate, and those that wait for each model.

        None before any has finished. `of_models` are the records of each model that have finished. Outages do not
        count: after one of ten seconds the present rate is that of nothing.
        """

        def worked(since: _Moment) -> float:
            return now - since.at - (self._lost - since.lost)

        first = self._moments[0]
        if done <= first.done or now <= first.at:
            return None
        times = [left * worked(first) / (done - first.done)]
        for model, count in waiting.items():
            for since in (first, _Moment(self._began, 0, {})):
                finished = of_models.get(model, 0) - since.of_models.get(model, 0)
                if finished >= ENOUGH:
                    times.append(count * worked(since) / finished)
                    break
        return max(times)

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
        if causes and all(cause in (Cause.OUTAGE, Cause.LOADING) for cause in causes):
            self._lost += seconds
        if any(route.closed_for > 0 for route in routes):
            self.waited += seconds


def estimated_total(read: int, part: float | None, *, limit: int | None) -> int | None:
    """Estimate how many records the input has, from those in the part that was read; None when that is unknown."""
    if part == 1.0:
        return read
    total = round(read / part) if part and read else None
    return total if limit is None or (total is not None and total < limit) else limit
