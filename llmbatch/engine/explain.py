"""Says why a run ends early or waits: what happened, and what to do next. Pure."""

import math
from collections.abc import Sequence

from llmbatch.core.errors import ActionNeeded, CeilingReached, LlmbatchError
from llmbatch.core.events import ServerChange
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion
from llmbatch.core.plural import counted
from llmbatch.pacing.cost import Budget

__all__ = ["STALL", "cost_reached", "gave_up", "no_capacity", "outage", "server_changed", "wait_too_long", "waits"]


def wait_too_long(fault: Fault, max_wait: float) -> LlmbatchError:
    """Say that the server asks for a longer wait than --max-wait allows."""
    return CeilingReached(
        f"the provider asks to wait {fault.wait:,.0f} s, longer than --max-wait {max_wait:g} allows: {fault.message}",
        "Run the same command again later.",
        by="wait",
    )


def no_capacity(fault: Fault, max_wait: float) -> LlmbatchError:
    """Say that the service tier had no room for too long."""
    return CeilingReached(
        f"the service tier had no room for longer than --max-wait {max_wait:g} s: {fault.message}",
        "Run the same command again later, or without --tier.",
        by="wait",
    )


def outage(fault: Fault, max_outage: float) -> LlmbatchError:
    """Say that the server was out of reach for too long."""
    what = "has refused" if fault.billing is Billing.THROTTLED else "was out of reach"
    return CeilingReached(
        f"the provider {what} for longer than --max-outage {max_outage:g} s: {fault.message}",
        "Run the same command again later.",
        by="outage",
    )


def cost_reached(budget: Budget, worst: float) -> LlmbatchError:
    """Say that the next request might cost more than is left."""
    if budget.option == "--max-run-cost":
        ceiling, spent, before = budget.ceiling - budget.before, budget.spent - budget.before, " in this run"
    else:
        ceiling, spent = budget.ceiling, budget.spent
        before = f", ${budget.before:,.6g} of it before this run" if budget.before else ""
    return CeilingReached(
        f"{budget.option} ${ceiling:,.6g}: ${spent:,.6g} is spent{before}, "
        f"and the next request may cost up to ${worst:,.6g}",
        f"Raise {budget.option}, or lower --max-tokens if answers are short; then run the same command again.",
        by="ceiling",
    )


def gave_up(fault: Fault, route: Route) -> LlmbatchError:
    """Say that everything on a route fails alike."""
    if fault.kind is Kind.RATE_LIMITED:
        advice = "Run the same command again when the quota is there again."
        return CeilingReached(_stopped(fault, route), advice, by="quota")
    return ActionNeeded(_stopped(fault, route), _ADVICE.get(fault.kind))


def server_changed(name: str, change: ServerChange, route: Route, verdict: Completion | Fault) -> str:
    """Say what became of one of several servers."""
    if isinstance(verdict, Completion):
        return f"{name} {change.value}"
    return f"{name} {change.value}: {gave_up(verdict, route) if change is ServerChange.LEFT_OUT else verdict.message}"


def _stopped(fault: Fault, route: Route) -> str:
    what = {
        Kind.UNAUTHORIZED: "the provider refuses the key",
        Kind.NO_CREDIT: "the provider says the account has no credit left",
        Kind.NOT_FOUND: f"the provider does not know model {route.model!r} at {route.path}",
        Kind.FORBIDDEN: f"the provider does not allow model {route.model!r} with this key",
        Kind.CONNECTION: "the server cannot be reached",
        Kind.GATEWAY: "the gateway gets no answer from the server",
        Kind.TIMEOUT: "no request is answered in time",
        Kind.TLS: "no safe connection to the server",
        Kind.REDIRECT: "the server answers with a redirect, which is never followed",
        Kind.UNPARSABLE: "the server answers with web pages",
        Kind.BAD_REQUEST: "the provider refuses every request",
        Kind.RATE_LIMITED: f"the quota for model {route.model!r} is used up",
    }.get(fault.kind, "every request fails")
    details = ", ".join(str(d) for d in (f"HTTP {fault.status}" if fault.status else None, fault.code) if d)
    return f"{what}{f' ({details})' if details else ''}: {fault.message}"


_ADVICE = {
    Kind.UNAUTHORIZED: "Check the key in the environment, then run the same command again.",
    Kind.NO_CREDIT: "Add credit or raise the limit at the provider, then run the same command again.",
    Kind.NOT_FOUND: "Check -m/--model and --base-url, then run the same command again.",
    Kind.FORBIDDEN: "Ask for access or choose another model, then run the same command again.",
    Kind.CONNECTION: "Check --base-url and that the server runs, then run the same command again; "
    "with --wait-ready 10m it waits for a server that starts.",
    Kind.GATEWAY: "Check the server behind the gateway, then run the same command again; "
    "with --wait-ready 10m it waits for a server that starts.",
    Kind.TIMEOUT: "Check the server, or raise --timeout, then run the same command again.",
    Kind.TLS: "Check --base-url; name your own certificate authority with --ca-file.",
    Kind.REDIRECT: "Set --base-url to the address it redirects to, if you trust it.",
    Kind.UNPARSABLE: "Check --base-url: most end in /v1. The pages are in the results; --redo all sends again.",
    Kind.BAD_REQUEST: "Look at one request with --dry-run --limit 1.",
}

STALL = 60.0
"""Seconds without a finished record after which displays explain what is waited for."""


def waits(
    now: float, in_flight: Sequence[tuple[float, Job]], due: Sequence[tuple[float, Job]], *, queued: int, paused: bool
) -> tuple[str, ...]:
    """Say what each record waits for: an answer since a moment, or its next attempt; oldest and soonest first.

    `queued` others could leave now, if the limits let them; when a route is `paused`, displays show why already.
    """
    lines = [f"{_name(job)} in flight for {now - since:,.0f} s" for since, job in in_flight]
    for at, job in due:
        when = "after all others" if at == math.inf else f"in {max(0.0, at - now):,.0f} s"
        lines.append(f"{_name(job)} to be sent again {when}")
    if queued and not in_flight and not paused:
        lines.append(f"{counted(queued, 'record')} ready, held back by the limits a minute or by --max-cost")
    return tuple(lines)


def _name(job: Job) -> str:
    identity = job.identity
    attempt = f", attempt {job.attempts.sent}" if job.attempts.sent > 1 else ""
    return f"record {identity.index} (id {identity.id!r}{attempt})"
