"""Ends a route early when every record would fail alike. Pure."""

from collections import Counter
from collections.abc import Callable

from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.job import Route

__all__ = ["FailFast"]

FEW = 3
"""So many records of a route fail for a common reason, and none succeeded: it is the reason, not the records."""
MANY = 20
"""The same for a plain 400 that names no common reason: an unbroken row as long as this."""


class FailFast:
    """Counts, per route, the records that ended in faults which others would meet too.

    `worked` tells of successes in earlier runs. What worked once is not given up for such faults: they are waited out,
    or end one record each.
    """

    def __init__(self, worked: Callable[[Route], bool] = lambda route: False) -> None:
        self._worked = worked
        self._succeeded: set[Route] = set()
        self._row: Counter[Route] = Counter()
        self._row_of: dict[Route, tuple[Kind, str | None]] = {}
        self._common: dict[Route, Fault] = {}

    def succeeded(self, route: Route) -> None:
        """Note an answer."""
        self._succeeded.add(route)
        if self._row:
            self._row.pop(route, None)

    def has_succeeded(self, route: Route) -> bool:
        """Tell whether there was an answer ever."""
        return route in self._succeeded or self._worked(route)

    def failed(self, route: Route, fault: Fault) -> bool:
        """Note a record's final failure; True when everything else on the route would fail as well.

        Context lengths and content filters speak of one record and never count.
        """
        common = fault.scope in (Scope.ROUTE, Scope.RUN) and fault.billing is not Billing.THROTTLED
        if not common and (fault.kind is not Kind.BAD_REQUEST or self.has_succeeded(route)):
            return False
        if self._row_of.get(route) != (fault.kind, fault.code):
            self._row_of[route] = (fault.kind, fault.code)
            self._row[route] = 0
        self._row[route] += 1
        if common:
            self._common[route] = fault
        if self.has_succeeded(route) and fault.kind is not Kind.RATE_LIMITED:
            return False
        # A daily quota is used up by successes: to wait for it is more than --max-wait allows.
        return self._row[route] >= (FEW if common else MANY)

    def hopeless(self) -> dict[Route, Fault]:
        """Return the routes that only ever failed, and for a common reason: an input shorter than a few can be so."""
        return {route: fault for route, fault in self._common.items() if not self.has_succeeded(route)}
