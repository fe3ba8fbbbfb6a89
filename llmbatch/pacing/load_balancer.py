"""Chooses among several servers of one route, and suspends those that fail. Pure."""

import math
from collections.abc import Sequence

from llmbatch.pacing.fail_fast import FEW
from llmbatch.pacing.gate import Gate

__all__ = ["STORM", "LoadBalancer"]

STORM = 5
"""Server errors in a row set an endpoint aside while others work."""


class LoadBalancer:
    """The gates of one route, one for each server. `places` are those in use; `suspended` ones are only probed."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        self.gates = tuple(gates)
        self.places = list(range(len(gates)))
        self.suspended: set[int] = set()
        self._fatal_faults = [0] * len(gates)
        self._errors = [(0, 0)] * len(gates)
        """Errors of the server since an answer, and how many answers there were."""

    @property
    def weighs(self) -> bool:
        """Whether anybody counts tokens."""
        return any(self.gates[place].tokens.binds for place in self.places)

    @property
    def outage_since(self) -> float | None:
        """Return since when no endpoint works; None while one does."""
        latest = -math.inf
        for place in self.places:
            since = self.gates[place].outage_since
            if since is None:
                return None
            latest = max(latest, since)
        return latest

    def opens(self, now: float, weight: float) -> float:
        """Return when a request of so many tokens may leave for one of them."""
        return min(self.gates[place].opens(now, weight) for place in self.places)

    def least_busy(self, now: float, weight: float) -> int:
        """Choose among those that are open now the one with the fewest requests in flight."""
        gates = self.gates
        # Where a packed request became smaller on the way, none may be open by a hair: then the first that will be.
        return min(
            self.places,
            key=lambda place: (max(now, gates[place].opens(now, weight)), gates[place].in_flight, gates[place].sent),
        )

    def others(self, place: int) -> bool:
        """Tell whether there is another endpoint in use."""
        return any(other != place for other in self.places)

    def others_work(self, place: int) -> bool:
        """Tell whether another endpoint is not known to be down."""
        return any(other != place and self.gates[other].outage_since is None for other in self.places)

    def is_storm(self, place: int) -> bool:
        """Note an error of the server; True when there was a row of them, with no answer between."""
        answers = self.gates[place].answers
        row, before = self._errors[place]
        row = row + 1 if answers == before else 1
        self._errors[place] = row, answers
        return row >= STORM

    def is_hopeless(self, place: int) -> bool:
        """Note a fault that everything at this endpoint meets which never worked; True when it is to be left out."""
        self._fatal_faults[place] += 1
        return self._fatal_faults[place] >= FEW and place in self.places

    def leave_out(self, place: int) -> None:
        """Ask this endpoint no more. There must be another."""
        self.places.remove(place)
