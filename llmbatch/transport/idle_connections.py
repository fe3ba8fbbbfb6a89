"""Closes idle connections while others wait for a first answer: some servers serve only so many connections at a time.

A thread or process that serves one connection until it is closed leaves the others waiting, however idle that one is.
"""

from dataclasses import dataclass

from llmbatch.transport.base import BaseLane, Trace

__all__ = ["IdleConnections", "LaneState"]

FEW = 4
"""So many new connections must wait: one may ask for a long answer."""
LONGER = 4.0
"""How many times longer than usual they must have waited."""
LEAST = 2.0
"""Seconds that they must have waited at any rate: it takes a while to open thousands of connections."""
WEIGHT = 0.1
"""The weight of the latest answer in how long one usually takes."""


@dataclass(slots=True, eq=False)
class LaneState:
    """What one lane is doing."""

    lane: BaseLane
    trace: Trace | None = None
    """The trace of the request that it has in flight."""
    since: float = 0.0
    """When that left, or the one before."""

    def waits_for_longer_than(self, seconds: float, now: float) -> bool:
        """Tell whether a request waits on a new connection for the first byte of its answer."""
        trace = self.trace
        return trace is not None and trace.fresh and not trace.answered and now - self.since > seconds


class IdleConnections:
    """Those of the lanes to one server; times are in seconds, by one clock."""

    def __init__(self) -> None:
        self._lanes: list[LaneState] = []
        self._usual = 0.0
        """How long an answer takes on a connection that was kept, or the first one took; 0 before there is any."""

    def add(self, lane: BaseLane) -> LaneState:
        """Watch one more lane."""
        state = LaneState(lane)
        self._lanes.append(state)
        return state

    def answered(self, state: LaneState, now: float) -> None:
        """Note that the request of a lane was answered."""
        took = now - state.since
        if not self._usual:
            self._usual = took
        elif state.trace is not None and not state.trace.fresh:
            self._usual += WEIGHT * (took - self._usual)

    async def close_for_waiting(self, now: float) -> None:
        """Close the connections that are idle, if requests on new ones wait for much longer than usual."""
        if not self._usual:
            return
        long = max(LEAST, LONGER * self._usual)
        if sum(state.waits_for_longer_than(long, now) for state in self._lanes) < FEW:
            return
        for state in self._lanes:
            if state.trace is None:
                await state.lane.aclose()
