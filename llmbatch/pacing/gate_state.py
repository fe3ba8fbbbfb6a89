"""Tells what keeps a gate from sending more, for the display and the summary. Pure, the clock passed in."""

from llmbatch.core.snapshot import Cause, RouteState
from llmbatch.pacing.gate import Gate

__all__ = ["state_of"]


def state_of(gate: Gate, name: str, now: float) -> RouteState:
    """Return what keeps a gate from sending more, if it has something to send."""
    state, breaker = RouteState(name, gate.in_flight, gate.now, None), gate.breaker
    if gate.closed_until > now or breaker.awaits_probe or breaker.probe is not None:
        cause = Cause.OUTAGE if gate.lost else Cause.WALL
        return state._replace(cause=cause, closed_for=max(0.0, gate.closed_until - now))
    for bucket, unit in ((gate.requests, "requests"), (gate.tokens, "tokens")):
        if bucket.opens(now, 1.0) > now:
            return state._replace(cause=bucket.origin, rate=bucket.rate, unit=unit)
    if gate.in_flight < gate.now:
        return state
    if gate.trial is not None:
        return state._replace(cause=Cause.SCATTERED, share=gate.refusals / gate.sent)
    return state._replace(cause=gate.limit.cause)
