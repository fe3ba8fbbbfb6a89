"""One route's gate: how many requests may be in flight, and until when nobody may pass. Pure."""

import math
from collections.abc import Callable

from llmbatch.core.fault import Fault
from llmbatch.flow.retry import backoff

__all__ = ["Gate"]


class Gate:
    """Admits attempts on one route, shared by all workers.

    `outage_since` is when the route began to refuse or fail for free, None while it works.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self.closed_until = -math.inf
        self.outage_since: float | None = None
        self._refusals = 0

    def opens(self, now: float) -> float:
        """Return when an attempt may start: `now` or earlier for at once, infinity for when another one ends."""
        return math.inf if self.in_flight >= self.limit else self.closed_until

    def enter(self) -> None:
        """Count an attempt in."""
        self.in_flight += 1

    def leave(self) -> None:
        """Count an attempt out."""
        self.in_flight -= 1

    def succeeded(self) -> None:
        """Note that the service works."""
        self._refusals = 0
        self.outage_since = None

    def refused(self, fault: Fault, now: float, random: Callable[[], float]) -> float:
        """Close after a refusal for pace or overload; return by how many seconds that puts the opening off.

        Refusals that come while the gate is closed belong to the crowd that closed it, and count as one.
        """
        if self.outage_since is None:
            self.outage_since = now
        if now >= self.closed_until:
            self._refusals += 1
        asked = fault.wait if fault.wait is not None else 0.0
        until = now + max(asked, backoff(self._refusals, 1.0, random)) + random() * min(10.0, 0.25 + 0.1 * asked)
        before = max(self.closed_until, now)
        self.closed_until = max(self.closed_until, until)
        return max(0.0, until - before)
