"""The first record of each route goes live before the first batch, so that a wrong parameter shows in seconds. Pure."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from llmbatch.core.events import Finished
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Outcome

__all__ = ["FirstRecords", "Place"]


class Place(Enum):
    """Where a record goes."""

    BATCH = "batch"
    LIVE = "live"
    WAITS = "waits"
    """Until the first record of its route has an end."""


@dataclass(slots=True)
class _Route:
    works: bool
    first: Job | None = None
    waiting: deque[Job] = field(default_factory=deque)


class FirstRecords:
    """Knows of each route whether its first record was answered. `works` says of which that is known already."""

    def __init__(self, works: Callable[[Route], bool]) -> None:
        self._works = works
        self._routes: dict[Route, _Route] = {}

    def place(self, job: Job) -> Place:
        """Say where a record goes, and keep it if it has to wait."""
        route = self._routes.get(job.route)
        if route is None:
            route = self._routes[job.route] = _Route(works=self._works(job.route))
        if route.works:
            return Place.BATCH
        if route.first is None:
            route.first = job
            return Place.LIVE
        route.waiting.append(job)
        return Place.WAITS

    def is_settled(self, route: Route) -> bool:
        """Say whether no record of a route waits for its first."""
        known = self._routes.get(route)
        return known is None or (known.first is None and not known.waiting)

    @property
    def all_settled(self) -> bool:
        """Whether no record waits at all."""
        return all(route.first is None and not route.waiting for route in self._routes.values())

    @property
    def waiting(self) -> int:
        """Count the records that wait."""
        return sum(len(route.waiting) for route in self._routes.values())

    def ended(self, event: Finished) -> Iterator[tuple[Route, bool]]:
        """Yield the routes whose first record is among those that ended, and whether the route works."""
        firsts = {id(route.first): key for key, route in self._routes.items() if route.first is not None}
        if not firsts:
            return
        for outcome in event.outcomes:
            key = firsts.get(id(outcome.job)) if isinstance(outcome, Outcome) else None
            if key is not None and isinstance(outcome, Outcome):
                yield key, outcome.is_paid

    def unanswered(self) -> Route | None:
        """Return a route whose first record has no end yet."""
        return next((key for key, route in self._routes.items() if route.first is not None), None)

    def answered(self, key: Route, *, works: bool) -> tuple[list[Job], Job | None]:
        """Note how the first record of a route ended; return the records that may go into batches, or the next first.

        Only a route that works lets the others go.
        """
        route = self._routes[key]
        route.first = None
        if works:
            route.works = True
            released, route.waiting = list(route.waiting), deque()
            return released, None
        route.first = route.waiting.popleft() if route.waiting else None
        return [], route.first

    def drop(self) -> int:
        """Forget the records that wait; return how many there were."""
        count = self.waiting
        for route in self._routes.values():
            route.waiting.clear()
        return count
