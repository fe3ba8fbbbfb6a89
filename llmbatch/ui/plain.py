"""Progress where stderr is not a terminal: one line every half minute."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from llmbatch.app.timer import ticking
from llmbatch.core.plural import counted
from llmbatch.core.printable import printable
from llmbatch.core.snapshot import Snapshot
from llmbatch.ui.causes import limits_line
from llmbatch.ui.streams import Say, log_object
from llmbatch.ui.units import clock, done, duration, money

__all__ = ["counts", "eta", "json_view", "plain_view", "progress_line", "rates", "stall_words"]

EVERY = 30.0


def plain_view(say: Say) -> Callable[[Callable[[], Snapshot]], AbstractContextManager[None]]:
    """Return a view that writes a progress line every half minute, from a thread of its own."""

    @contextmanager
    def view(snapshot: Callable[[], Snapshot]) -> Iterator[None]:
        with ticking(EVERY, lambda: say(f"llmbatch: {progress_line(snapshot())}")):
            yield

    return view


@contextmanager
def json_view(snapshot: Callable[[], Snapshot]) -> Iterator[None]:
    """Write an object every half minute: the line, and its figures for programs."""

    def tell() -> None:
        now = snapshot()
        figures = {
            "done": now.finished,
            "expected": now.total,
            "ok": now.ok,
            "failed": now.failed,
            "in_flight": now.in_flight,
            "records_per_s": round(now.rate, 1),
            "cost_usd": now.cost,
            "eta_s": None if now.eta is None else round(now.eta),
        }
        log_object(message=progress_line(now), progress=figures)

    with ticking(EVERY, tell):
        yield


def progress_line(now: Snapshot) -> str:
    """Write a snapshot as one line."""
    parts = [clock(now.wall)]
    if now.fraction is not None:
        parts.append(done(now.fraction))
    if now.total is not None:
        parts.append(f"{now.finished:,} of {'' if now.total_is_exact else 'about '}{now.total:,}")
    parts += counts(now)
    if now.wall > 1:
        parts += eta(now)
    limits = limits_line(now.routes)
    batches = batches_line(now)
    return ", ".join(parts) + (f"; {batches}" if batches else "") + (f"; {limits}" if limits else "") + stall_words(now)


def counts(now: Snapshot) -> list[str]:
    """Say what came out so far and how fast it goes, as parts of a line."""
    parts = [f"{now.ok:,} ok", f"{now.failed:,} failed"]
    if now.waiting:
        parts.append(f"{now.waiting:,} to be sent again")
    parts += [rates(now), f"{now.in_flight:,} of {now.limit:,} in flight"]
    if now.latency is not None:
        parts.append(f"{duration(now.latency)} an answer")
    if now.input_tokens or now.output_tokens:
        parts.append(f"{now.input_tokens:,} tokens in, {now.output_tokens:,} out")
    if now.cost is not None:
        parts.append(money(now.cost) + ("" if now.left is None else f" ({money(now.left)} left)"))
    return parts


def batches_line(now: Snapshot) -> str:
    """Say where the batches at providers stand; nothing without any."""
    state = now.batches
    if state is None:
        return ""
    parts = []
    if state.running or not state.uploading:
        parts.append(f"{counted(state.running, 'batch', 'batches')} running")
    if state.answered is not None:
        parts.append(f"{state.answered:,} of {state.records:,} answered")
    elif state.running:
        parts.append(counted(state.records, "record"))
    if state.running:
        parts.append(f"{'oldest ' if state.running > 1 else ''}{duration(state.age)} of {duration(state.window)}")
    if state.uploading:
        more = f"{state.uploading:,} more" if state.running else counted(state.uploading, "batch", "batches")
        parts.append(f"{more} on the way to the provider")
    if state.queued:
        model = f" of {printable(state.model, 60)}" if state.model else ""
        parts.append(f"{counted(state.queued, 'waits', 'wait')} for room in the queue{model}")
    if state.trouble:
        parts.append(printable(state.trouble, 200))
    return ", ".join(parts)


def eta(now: Snapshot) -> list[str]:
    """Say how long it will take, as parts of a line: none when that cannot be known."""
    if now.eta is None:
        return []
    return [f"stopping, {clock(now.eta)}" if now.stopping else f"ETA {clock(now.eta)}"]


def rates(now: Snapshot) -> str:
    """Say how many records a second finish at present, and on average where that differs."""
    present, mean = f"{now.rate:,.1f}/s", f"{now.mean_rate:,.1f}/s"
    return present if present == mean else f"{present} ({mean} on average)"


def stall_words(now: Snapshot) -> str:
    """Say that nothing finishes, and what the oldest records wait for; nothing as long as something does."""
    if not now.waits:
        return ""
    return f"; nothing finished for {clock(now.stalled)}: {printable('; '.join(now.waits), 500)}"
