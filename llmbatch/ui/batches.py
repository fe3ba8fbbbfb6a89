"""Open batches as a table."""

from collections.abc import Sequence

from llmbatch.app.batch_list import BatchLine
from llmbatch.core.printable import printable
from llmbatch.ui.console import columns, plain_text
from llmbatch.ui.units import duration

__all__ = ["batches_text"]

_STEPS = {
    "asked": "creation not confirmed",
    "running": "running",
    "ended": "ended, not collected",
    "fetched": "collected, being written",
}


def batches_text(lines: Sequence[BatchLine], now: float, width: int | None) -> bytes:
    """Write one line for each batch."""
    heading = ["ticket", "provider", "model", "records", "state", "answered", "age", "batch"]
    return plain_text([columns(heading, [_row(line, now) for line in lines])], width)


def _row(line: BatchLine, now: float) -> list[str]:
    ticket = line.ticket
    state = _STEPS.get(ticket.step, str(ticket.step))
    if ticket.cancelling and ticket.step == "running":
        state = "being cancelled"
    if line.said:
        state += f": {printable(line.said, 80)}"
    answered = line.records_answered
    began = ticket.created_at or ticket.asked_at
    return [
        ticket.tag,
        printable(ticket.provider, 60),
        printable(ticket.model, 60),
        f"{ticket.count:,}",
        state,
        "" if answered is None else f"{answered:,}",
        f"{duration(max(0.0, now - began))} of {duration(ticket.window)}" if began else "",
        printable(ticket.batch or "", 80),
    ]
