"""Chooses among several servers of one route, and suspends those that fail. Pure."""

import math
from collections.abc import Callable, Sequence

from llmbatch.core.events import ServerChange
from llmbatch.core.exchange import RateLimits, Request
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.outcome import Completion
from llmbatch.pacing.fail_fast import FEW
from llmbatch.pacing.gate import Gate

__all__ = ["STORM", "LoadBalancer"]

STORM = 5
"""So many server errors in a row suspend a server while others work."""


class LoadBalancer:
    """The gates of one route, one for each server, asked as one gate is.

    `in_use` leaves out servers that never worked. A suspended one is asked one request at a time.
    """

    def __init__(self, gates: Sequence[Gate]) -> None:
        self.gates = tuple(gates)
        self.in_use = list(gates)
        self._suspended: set[Gate] = set()
        self._fatal_faults = [0] * len(gates)
        self._errors = [(0, 0)] * len(gates)
        """For each server: its errors since its last answer, and how many answers it had given by then."""

    def __repr__(self) -> str:
        """Show the gates, and how many are left out or suspended."""
        out, suspended = len(self.gates) - len(self.in_use), len(self._suspended)
        return f"<LoadBalancer {out} left out, {suspended} suspended, {self.gates}>"

    @property
    def weighs(self) -> bool:
        """Whether a limit of tokens binds at any of them."""
        return any(gate.weighs for gate in self.in_use)

    @property
    def outage_since(self) -> float | None:
        """Return since when no server works; None while one does."""
        latest = -math.inf
        for gate in self.in_use:
            if gate.outage_since is None:
                return None
            latest = max(latest, gate.outage_since)
        return latest

    @property
    def refusals_in_row(self) -> int:
        """Return how many refusals in a row every server gave at least."""
        return min(gate.refusals_in_row for gate in self.in_use)

    @property
    def is_recovering(self) -> bool:
        """Tell whether each server refuses, or has not answered since."""
        return all(gate.is_recovering for gate in self.in_use)

    @property
    def closed_until(self) -> float:
        """Return until when no request may pass to any of them."""
        return min(gate.closed_until for gate in self.in_use)

    def opens(self, now: float, weight: float) -> float:
        """Return when a request of so many tokens may leave for one of them."""
        return min(gate.opens(now, weight) for gate in self.in_use)

    def enter(self, now: float, request: Request) -> None:
        """Choose among those that are open the one with the fewest requests in flight, and count the attempt in."""
        # A packed request that became smaller may find none open yet: then the one that opens first.
        gate = min(self.in_use, key=lambda gate: (max(now, gate.opens(now, request.weight)), gate.in_flight, gate.sent))
        request.server = self.gates.index(gate)
        gate.enter(now, request)

    def gate_for(self, request: Request) -> Gate:
        """Return the gate that a request went through."""
        return self.gates[request.server]

    def announced(self, request: Request, limits: RateLimits, now: float) -> float:
        """Learn limits that a server announced; return the seconds until they let another request pass there."""
        return self.gate_for(request).announced(request, limits, now)

    def succeeded(self, request: Request, now: float, output_tokens: int) -> None:
        """Note that the server of a request works. Comes before `settle`."""
        self.gate_for(request).succeeded(request, now, output_tokens)

    def counted(self, request: Request, tokens: int, now: float) -> None:
        """Correct what was reserved for a request to the tokens that it had."""
        self.gate_for(request).counted(request, tokens, now)

    def leave(self, request: Request) -> None:
        """Count an attempt out that has no verdict."""
        self.gate_for(request).leave(request)

    def has_alternative(self, request: Request) -> bool:
        """Tell whether a server other than the request's is in use, and not known to be down."""
        asked = self.gate_for(request)
        return any(gate is not asked and gate.outage_since is None for gate in self.in_use)

    def blames_server(self, request: Request, fault: Fault) -> bool:
        """Note a fault; True when it is that of a server that never worked, while there are others."""
        asked = self.gate_for(request)
        common = fault.scope in (Scope.ROUTE, Scope.RUN) and fault.billing is Billing.UNBILLED and not fault.retry
        if not common or asked.answers or all(gate is asked for gate in self.in_use):
            return False
        self._fatal_faults[request.server] += 1
        return True

    def settle(
        self, request: Request, verdict: Completion | Fault, now: float, random: Callable[[], float]
    ) -> ServerChange | None:
        """Count an attempt out, by its first verdict; return what that changes about its server."""
        gate = self.gate_for(request)
        change = self._compare(gate, request, verdict, now, random)
        gate.settle(request, verdict, now, random)
        return change

    def _compare(
        self, gate: Gate, request: Request, verdict: Completion | Fault, now: float, random: Callable[[], float]
    ) -> ServerChange | None:
        """Suspend a server that keeps failing while others work, and leave out one that never worked."""
        if isinstance(verdict, Completion):
            if gate in self._suspended and gate.outage_since is None:
                self._suspended.discard(gate)
                return ServerChange.WORKS_AGAIN
            return None
        if self._fatal_faults[request.server] >= FEW and gate in self.in_use and len(self.in_use) > 1:
            self.in_use.remove(gate)
            return ServerChange.LEFT_OUT
        lost = verdict.kind is Kind.CONNECTION and verdict.scope is Scope.RUN
        broken = verdict.billing in (Billing.SERVER, Billing.DOUBTFUL) or (verdict.kind is Kind.CONNECTION and not lost)
        if broken and self._is_storm(request.server) and self.has_alternative(request):
            gate.set_aside(request, now, random)
        down = gate.outage_since is not None and (lost or broken or gate.breaker.walled)
        if not down or gate in self._suspended:
            return None
        self._suspended.add(gate)
        return ServerChange.SUSPENDED

    def _is_storm(self, server: int) -> bool:
        """Note an error of a server; True when it has made STORM of them without an answer between."""
        answers = self.gates[server].answers
        row, before = self._errors[server]
        row = row + 1 if answers == before else 1
        self._errors[server] = row, answers
        return row >= STORM
