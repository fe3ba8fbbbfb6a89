"""Chooses among several servers of one route, and suspends those that fail. Pure."""

import math
from collections.abc import Sequence

from llmbatch.pacing.fail_fast import FEW
from llmbatch.pacing.gate import Gate

__all__ = ["STORM", "LoadBalancer"]

STORM = 5
"""So many server errors in a row suspend a server while others work."""


class LoadBalancer:
    """The gates of one route, one for each server. `servers` are those in use; `suspended` ones are only probed."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        self.gates = tuple(gates)
        self.servers = list(range(len(gates)))
        self.suspended: set[int] = set()
        self._fatal_faults = [0] * len(gates)
        self._errors = [(0, 0)] * len(gates)
        """For each server: its errors since its last answer, and how many answers it had given by then."""

    @property
    def weighs(self) -> bool:
        """Whether a limit of tokens binds."""
        return any(self.gates[server].tokens.binds for server in self.servers)

    @property
    def outage_since(self) -> float | None:
        """Return since when no server works; None while one does."""
        latest = -math.inf
        for server in self.servers:
            since = self.gates[server].outage_since
            if since is None:
                return None
            latest = max(latest, since)
        return latest

    def opens(self, now: float, weight: float) -> float:
        """Return when a request of so many tokens may leave for one of them."""
        return min(self.gates[server].opens(now, weight) for server in self.servers)

    def least_busy(self, now: float, weight: float) -> int:
        """Choose among those that are open now the one with the fewest requests in flight."""
        gates = self.gates
        # A packed request that became smaller may find none open yet: then the one that opens first.
        return min(
            self.servers,
            key=lambda server: (
                max(now, gates[server].opens(now, weight)),
                gates[server].in_flight,
                gates[server].sent,
            ),
        )

    def others(self, server: int) -> bool:
        """Tell whether another server is in use."""
        return any(other != server for other in self.servers)

    def others_work(self, server: int) -> bool:
        """Tell whether another server is in use, and not known to be down."""
        return any(other != server and self.gates[other].outage_since is None for other in self.servers)

    def is_storm(self, server: int) -> bool:
        """Note an error of a server; True when it has made STORM of them without an answer between."""
        answers = self.gates[server].answers
        row, before = self._errors[server]
        row = row + 1 if answers == before else 1
        self._errors[server] = row, answers
        return row >= STORM

    def is_hopeless(self, server: int) -> bool:
        """Note a fault that every request to this server meets, which never worked; True when it should be left out."""
        self._fatal_faults[server] += 1
        return self._fatal_faults[server] >= FEW and server in self.servers

    def leave_out(self, server: int) -> None:
        """Ask this server no more. There must be another."""
        self.servers.remove(server)
