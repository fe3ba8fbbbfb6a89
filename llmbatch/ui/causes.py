"""What limits a run, in words: for each route at present, and for the whole run in shares of its time."""

from collections.abc import Iterable, Mapping

from llmbatch.core.printable import printable
from llmbatch.core.snapshot import Cause, RouteState

__all__ = ["limits_line", "shares_line"]

SHOWN = 3
"""Routes that are shown separately."""

_PRESENT = {
    Cause.NAMED_RATE: "limited to {rate} a minute",
    Cause.ANNOUNCED_RATE: "limited to {rate} a minute, announced by the server",
    Cause.LEARNED_RATE: "limited to about {rate} a minute, learned from refusals",
    Cause.WALL: "the server refuses more",
    Cause.SCATTERED: "the server refuses {share} of the requests, whatever the load",
    Cause.OUTAGE: "the server cannot be reached",
    Cause.LOADING: "the server is not ready yet",
    Cause.LATENCY: "more in flight would only be slower",
    Cause.CEILING: "at the ceiling of {allowed} in flight",
    Cause.GROWING: "growing",
    Cause.INPUT: "waiting for input",
}

_SUMMED_UP = {
    Cause.NAMED_RATE: "--rpm or --tpm",
    Cause.ANNOUNCED_RATE: "the rate that the server announces",
    Cause.LEARNED_RATE: "the rate learned from refusals",
    Cause.WALL: "refusals",
    Cause.SCATTERED: "scattered refusals",
    Cause.OUTAGE: "a server out of reach",
    Cause.LOADING: "a server not ready",
    Cause.LATENCY: "answers that get slower",
    Cause.CEILING: "the ceiling in flight",
    Cause.GROWING: "finding the pace",
    Cause.INPUT: "the input",
}


def limits_line(routes: Iterable[RouteState]) -> str:
    """Say what keeps each route from sending more; routes are named where they differ. Empty when nothing does."""
    words = {route.name: _words(route) for route in routes if route.cause is not None}
    different = set(words.values())
    if len(different) <= 1:
        return next(iter(different), "")
    lines = [f"{printable(name, 60)}: {text}" for name, text in words.items()]
    more = len(lines) - SHOWN
    return "; ".join(lines[:SHOWN]) + (f"; and {more:,} more" if more > 0 else "")


def shares_line(limited_by: Mapping[str, float]) -> str:
    """Say what limited a run, in shares of its time."""
    parts = [f"{_SUMMED_UP[Cause(name)]} {share:.0%}" for name, share in limited_by.items() if share >= 0.01]
    return ", ".join([f"{parts[0]} of the time", *parts[1:]]) if parts else ""


def _words(route: RouteState) -> str:
    assert route.cause is not None
    text = _PRESENT[route.cause].format(
        rate=f"{route.rate or 0.0:,.0f} {route.unit}",
        share="some" if route.share is None else f"{route.share:.0%}",
        allowed=f"{route.allowed:,}",
    )
    if route.share is not None and route.cause is not Cause.SCATTERED:
        text += f"; {route.share:.0%} of the requests are refused, whatever the load"
    if route.closed_for > 0:
        return f"{route.reason or text}, {max(1.0, route.closed_for):.0f} s"
    return text
