"""Tells what keeps a gate from sending more, for the display and the summary. Pure, the clock passed in."""

from llmbatch.core.snapshot import Cause, RouteState
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.refusal_pattern import Pattern

__all__ = ["state_of"]


def state_of(gate: Gate, name: str, now: float) -> RouteState:
    """Return what keeps a gate from sending more, if it has something to send."""
    breaker, scattered = gate.breaker, gate.policy.pattern.pattern is Pattern.SCATTERED
    state = RouteState(name, gate.in_flight, gate.now, None, share=gate.refusals / gate.sent if scattered else None)
    for bucket, unit in ((gate.requests, "requests"), (gate.tokens, "tokens")):
        if bucket.opens(now, 1.0) > max(now, gate.closed_until):
            return state._replace(cause=bucket.origin, rate=bucket.rate, unit=unit)
    if gate.closed_until > now or breaker.awaits_probe or breaker.probe is not None:
        cause = Cause.OUTAGE if breaker.lost else Cause.WALL
        return state._replace(cause=cause, closed_for=max(0.0, gate.closed_until - now))
    if gate.policy.search is not None and gate.policy.search.opens(gate.in_flight) > now:
        return state._replace(cause=Cause.LEARNED_RATE, rate=60.0 * gate.policy.search.rate, unit="requests")
    if gate.in_flight < gate.now and not _spread_out(gate, now):
        return state
    growing = gate.policy.trials.current is not None or gate.now < gate.limit.now  # back, after a pause
    cause = Cause.GROWING if growing else gate.limit.cause
    return state._replace(cause=Cause.SCATTERED if cause is Cause.WALL and scattered else cause)


def _spread_out(gate: Gate, now: float) -> bool:
    """Tell whether a request that the limit allows waits only because departures are spread out."""
    trial, breaker = gate.policy.trials.current, gate.breaker
    if trial is not None and trial.opens(gate.in_flight) > now:
        return True
    return breaker.active and breaker.opens(gate.in_flight) > now
