"""Sums up a run that has ended: counts, the reason, the exit code and what to do next. The numbers must add up."""

from collections.abc import Iterable
from dataclasses import replace

from llmbatch.app.meter import Meter
from llmbatch.app.servers import Servers
from llmbatch.core.errors import CeilingReached, ExitCode, LlmbatchError, OutputError
from llmbatch.core.fault import Kind
from llmbatch.core.outcome import AlreadyDone
from llmbatch.core.settings import Tolerance
from llmbatch.core.tally import ServerTraffic, Summary, Tally
from llmbatch.engine.pipeline import Pipeline

__all__ = ["summarize", "why_it_stopped", "worst"]

_PRECEDENCE = (
    ExitCode.BUG,
    ExitCode.OUTPUT,
    ExitCode.INTERRUPT,
    ExitCode.TERMINATED,
    ExitCode.HANGUP,
    ExitCode.READER_GONE,
    ExitCode.USAGE,
    ExitCode.INPUT,
    ExitCode.ACTION,
    ExitCode.CEILING,
    ExitCode.PENDING,
    ExitCode.HELD,
    ExitCode.BUSY,
    ExitCode.FAILURES,
    ExitCode.OK,
)


def why_it_stopped(pipeline: Pipeline) -> LlmbatchError | None:
    """Return the most serious reason why a run ended early, or None when it finished its input."""
    stops = pipeline.progress.stops or [stop for stop in (pipeline.dispatch.conclude(),) if stop is not None]
    return min(stops, key=_precedence, default=None)


def summarize(
    reason: LlmbatchError | None,
    pipeline: Pipeline,
    tally: Tally,
    meter: Meter,
    servers: Servers,
    *,
    fail_on: Tolerance,
    wall_s: float,
    orphans: int,
) -> Summary:
    """Sum up a run that has ended, early if there is a `reason`; `orphans` are result lines without a record.

    Raises LlmbatchError, a bug, when the numbers do not add up to the input.
    """
    redact = servers.redact  # a server may quote the key
    failed = sum(tally.failed.values())
    progress, dispatch = pipeline.progress, pipeline.dispatch
    kept = progress.kept
    batches = pipeline.batches
    held = dispatch.held + kept[AlreadyDone.HELD]
    not_started, pending, others = dispatch.not_started, kept[AlreadyDone.PENDING], 0
    if batches is not None:
        batches.end_account()
        held += batches.account.held
        not_started += batches.account.not_started
        pending += batches.pending - batches.earlier.resolved
        others = batches.earlier.others
    total = tally.ok + failed + kept[AlreadyDone.OK] + kept[AlreadyDone.FAILED] + held + pending
    total += pipeline.writer.unwritten + not_started + dispatch.dropped
    read = progress.read + others
    if total != read:
        raise LlmbatchError(f"read {read} records but can account for {total}: this is a bug")
    only_batches = pending and not not_started and not dispatch.dropped and not pipeline.writer.unwritten
    if isinstance(reason, CeilingReached) and reason.by == "deadline" and only_batches:
        reason = None
    code = _exit_code(
        reason,
        pending=pending + not_started,  # what has no batch yet goes into one the next time
        held=held,
        too_many_failed=fail_on.exceeded(failed + kept[AlreadyDone.FAILED], total),
    )
    return Summary(
        read=progress.read,
        ok=tally.ok,
        failed=dict(tally.failed),
        examples={kind: replace(one, message=redact(one.message)) for kind, one in tally.examples.items()},
        done_before=kept[AlreadyDone.OK],
        failed_before=kept[AlreadyDone.FAILED],
        held=held,
        pending=pending,
        collected=tally.collected,
        others=others,
        orphans=orphans,
        dropped=dispatch.dropped,
        not_started=not_started,
        unwritten=pipeline.writer.unwritten,
        requests=dispatch.sent,
        servers=[ServerTraffic(*t) for t in dispatch.routes.traffic()] if servers.more_urls else [],
        retries=dispatch.resent,
        possibly_billed=tally.possibly_billed,
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
        cached_input_tokens=tally.cached_input_tokens,
        cost_usd=tally.cost,
        models=dict(tally.models),
        wall_s=wall_s,
        waited_s=min(meter.waited, wall_s),
        limited_by=meter.shares(wall_s),
        latency_s=tally.latency_s(),
        stopped=reason.message if reason is not None else None,
        stopped_by=reason.by if reason is not None else None,
        hint=_hint(reason, tally, servers),
        exit_code=code,
    )


def _exit_code(reason: LlmbatchError | None, *, pending: int, held: int, too_many_failed: bool) -> ExitCode:
    if reason is not None:
        return reason.exit_code
    if pending:
        return ExitCode.PENDING
    if held:
        return ExitCode.HELD
    return ExitCode.FAILURES if too_many_failed else ExitCode.OK


def _hint(reason: LlmbatchError | None, tally: Tally, servers: Servers) -> str | None:
    """Say what to do next; after a refused key, name the flag that would send the one that was found."""
    if reason is None:
        return None
    unused = servers.unused_key
    if unused is not None and tally.failed.get(Kind.UNAUTHORIZED):
        return f"{unused} is set but was not sent to this host; --key-env {unused} sends it."
    return reason.hint


def worst(codes: Iterable[int]) -> int:
    """Return the exit code of several runs together."""
    return min(codes, key=_PRECEDENCE.index, default=ExitCode.OK)


def _precedence(stop: LlmbatchError) -> tuple[int, bool]:
    """Return a sort key for reasons to end early: the first is reported."""
    return _PRECEDENCE.index(stop.exit_code), not (isinstance(stop, OutputError) and stop.rescued)
