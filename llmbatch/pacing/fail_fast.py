"""Ends a route early when every record would fail alike. Pure."""

from collections import Counter
from collections.abc import Callable

from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.job import Route

__all__ = ["FailFast"]

FEW = 3
"""When so many records of a route fail for a common reason, and none has succeeded, all others would fail as well."""
MANY = 20
"""The same for a plain 400, which names no common reason: so many in a row."""


class FailFast:
    """Counts, for each route, the records that ended in faults which others would meet too.

    `worked` says whether a route succeeded in earlier runs. A route that worked once is not given up for such faults:
    they pass, or end one record each.
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
        """Tell whether there ever was an answer."""
        return route in self._succeeded or self._worked(route)

    def failed(self, route: Route, fault: Fault) -> bool:
        """Note a record's final failure; True when everything else on the route would fail as well.

        Faults about one record, such as its length or what is in it, never count.
        """
        common = fault.scope in (Scope.ROUTE, Scope.RUN) and fault.billing is not Billing.THROTTLED
        countable = fault.kind is Kind.BAD_REQUEST and fault.scope is not Scope.CONTENT
        if not common and (not countable or self.has_succeeded(route)):
            return False
        if self._row_of.get(route) != (fault.kind, fault.code):
            self._row_of[route] = (fault.kind, fault.code)
            self._row[route] = 0
        self._row[route] += 1
        if common:
            self._common[route] = fault
        if self.has_succeeded(route) and fault.kind is not Kind.RATE_LIMITED:
            return False
        # A daily quota ends a route that worked, too: to wait for the next day is more than --max-wait allows.
        return self._row[route] >= (FEW if common else MANY)

    def hopeless(self) -> dict[Route, Fault]:
        """Return the routes that only failed, for a common reason, though too seldom to be stopped: a short input."""
        return {route: fault for route, fault in self._common.items() if not self.has_succeeded(route)}
