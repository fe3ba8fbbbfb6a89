"""Tells whether a server answers no request any more, although it refuses none. Pure.

A request whose error may have been billed is sent again once or twice only. So a server that gives nothing else must
not meet all requests of a run: until it answers, it is asked one at a time.
"""

from llmbatch.core.exchange import Request
from llmbatch.core.fault import Billing, Fault

__all__ = ["FailureStreak"]

LEAST, OTHERS = 10, 2
"""A streak has so many failures, and only so many others left meanwhile; none of all these was answered."""
LONGER = 2.0
"""More others do not matter once one of them would have been answered: so many times as long as an answer takes."""
PATIENCE = 30.0
"""Seconds after which plain server errors are taken for the fault of the records, which then follow each other."""
WEIGHT = 0.1
"""The weight of the latest answer in how long one takes."""


class FailureStreak:
    """The failures of one route. Departures are counted from 0, times are in seconds."""

    def __init__(self) -> None:
        self._failed: list[tuple[int, float]] = []
        """Departures that failed, and when they left; none that left after them was answered."""
        self._answered = -1
        """The last departure that was answered."""
        self._usual = 0.0
        """How long an answer takes."""
        self._given_up = False

    def answered(self, request: Request) -> None:
        """Note an answer."""
        departure, took = request.departure, request.jobs[0].attempts.latency
        self._usual += (WEIGHT if self._usual else 1.0) * (took - self._usual)
        self._answered = max(self._answered, departure)
        self._given_up = False
        if self._failed:
            self._failed = [failure for failure in self._failed if failure[0] > departure]

    def failed(self, request: Request, now: float) -> bool:
        """Note a failure; True while the server seems to answer none."""
        departure, left = request.departure, now - request.jobs[0].attempts.latency
        if departure > self._answered:
            self._failed = [*self._failed[1 - LEAST :], (departure, left)]
        if len(self._failed) < LEAST or self._given_up:
            return False
        departures = [failure[0] for failure in self._failed]
        is_dense = max(departures) - min(departures) < LEAST + OTHERS
        return is_dense or now - min(failure[1] for failure in self._failed) > LONGER * self._usual

    def loses_patience(self, fault: Fault, since: float | None, now: float) -> bool:
        """Tell whether a failure of a probe is that of its record, so long after the outage began."""
        over = fault.billing is Billing.SERVER and since is not None and now - since > PATIENCE
        self._given_up = self._given_up or over
        return over
