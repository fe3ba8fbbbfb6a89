"""Live progress on a terminal, redrawn five times a second however many records finish."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from llmbatch.core.snapshot import Snapshot
from llmbatch.ui.causes import limits_line
from llmbatch.ui.plain import rates, stall_words
from llmbatch.ui.units import clock

__all__ = ["LiveView"]


class LiveView:
    """Shows a run while its context lasts; other lines appear above the display."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """Show one line."""
        self._console.print(Text(text))

    @contextmanager
    def __call__(self, snapshot: Callable[[], Snapshot]) -> Iterator[None]:
        """Show the run while the context lasts."""
        with Live(
            console=self._console,
            get_renderable=lambda: render(snapshot()),
            refresh_per_second=5,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield


def render(now: Snapshot) -> RenderableType:
    """Draw one moment of a run: how much is done, the counts, and what limits it."""
    first = Table.grid(padding=(0, 1))
    if now.fraction is not None:
        bar = ProgressBar(total=1.0, completed=now.fraction, width=30)
        first.add_row(bar, Text(f"{now.fraction:4.0%}"), Text(f"{clock(now.wall)}{_eta(now)}"))
    else:
        first.add_row(ProgressBar(total=None, pulse=True, width=30), Text(f"{clock(now.wall)}{_eta(now)}"))
    second = Text.assemble(
        (f"{now.ok:,} ok", "green"),
        " · ",
        (f"{now.failed:,} failed", "red" if now.failed else "dim"),
        f" · {rates(now)} · {now.in_flight:,} of {now.limit:,} in flight",
    )
    if now.input_tokens or now.output_tokens:
        second.append(f" · {now.input_tokens:,}+{now.output_tokens:,} tokens")
    if now.cost is not None:
        second.append(f" · ${now.cost:,.4f}" + ("" if now.left is None else f" (${now.left:,.4f} left)"))
    if now.waiting:
        second.append(f" · {now.waiting:,} to be sent again", "yellow")
    lines: list[RenderableType] = [first, second]
    if limits := limits_line(now.routes):
        lines.append(Text(limits, "yellow" if now.closed_for else "dim"))
    if now.waits:
        lines.append(Text(stall_words(now).removeprefix("; "), "yellow"))
    return Group(*lines)


def _eta(now: Snapshot) -> str:
    if now.eta is None:
        return ""
    return f" · stopping, {clock(now.eta)}" if now.stopping else f" · ETA {clock(now.eta)}"
