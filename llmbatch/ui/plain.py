"""Progress where stderr is not a terminal: one line every half minute."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from llmbatch.core.printable import printable
from llmbatch.core.snapshot import Snapshot
from llmbatch.ui.causes import limits_line
from llmbatch.ui.streams import Say
from llmbatch.ui.timer import ticking
from llmbatch.ui.units import clock

__all__ = ["plain_view", "progress_line", "rates", "stall_words"]

EVERY = 30.0


def plain_view(say: Say) -> Callable[[Callable[[], Snapshot]], AbstractContextManager[None]]:
    """Return a view that writes a progress line every half minute, from a thread of its own."""

    @contextmanager
    def view(snapshot: Callable[[], Snapshot]) -> Iterator[None]:
        with ticking(EVERY, lambda: say(f"llmbatch: {progress_line(snapshot())}")):
            yield

    return view


def progress_line(now: Snapshot) -> str:
    """Write a snapshot as one line."""
    parts = [f"{now.done:,} done", f"{now.failed:,} failed", f"{now.in_flight:,} in flight", rates(now)]
    if now.fraction is not None:
        parts.insert(0, f"{now.fraction:.0%}")
    if now.input_tokens or now.output_tokens:
        parts.append(f"{now.input_tokens + now.output_tokens:,} tokens")
    if now.cost is not None:
        parts.append(f"${now.cost:,.4f}" + ("" if now.left is None else f" (${now.left:,.4f} left)"))
    if now.eta is not None and now.wall > 1:
        parts.append(f"{'stopping in' if now.stopping else 'ETA'} {clock(now.eta)}")
    if now.waiting:
        parts.append(f"{now.waiting:,} to be sent again")
    limits = limits_line(now.routes)
    return ", ".join(parts) + (f"; {limits}" if limits else "") + stall_words(now)


def rates(now: Snapshot) -> str:
    """Say how many records a second finish at present, and on average where that differs."""
    present, mean = f"{now.rate:,.1f}/s", f"{now.mean_rate:,.1f}/s"
    return present if present == mean else f"{present} ({mean} on average)"


def stall_words(now: Snapshot) -> str:
    """Say that nothing finishes, and what the oldest records wait for; nothing as long as something does."""
    if not now.waits:
        return ""
    return f"; nothing finished for {clock(now.stalled)}: {printable('; '.join(now.waits), 500)}"
