"""When nothing has finished for a while: which records wait longest, and for what. Pure."""

from collections.abc import Sequence

from llmbatch.core.job import Job

__all__ = ["STALL", "waits"]

STALL = 60.0
"""Seconds without a finished record after which people wonder."""


def waits(
    now: float, in_flight: Sequence[tuple[float, Job]], due: Sequence[tuple[float, Job]], *, queued: int, held: bool
) -> tuple[str, ...]:
    """Say what each record waits for: an answer since a moment, or its turn at a moment; oldest and soonest first.

    `queued` others could leave now, if the limits let them; under `held` everybody knows why they do not.
    """
    said = [f"{_name(job)} in flight for {now - since:,.0f} s" for since, job in in_flight]
    said += [f"{_name(job)} to be sent again in {max(0.0, at - now):,.0f} s" for at, job in due]
    if queued and not in_flight and not held:
        said.append(f"{queued:,} records ready, held back by the limits a minute or by --max-cost")
    return tuple(said)


def _name(job: Job) -> str:
    identity = job.identity
    attempt = f", attempt {job.sent}" if job.sent > 1 else ""
    return f"record {identity.index} (id {identity.id!r}{attempt})"
