"""Live progress on a terminal: a few lines at its bottom, drawn anew five times a second; other lines go above them."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from llmbatch.app.timer import ticking
from llmbatch.core.printable import printable
from llmbatch.core.snapshot import Snapshot
from llmbatch.ui.causes import limits_line
from llmbatch.ui.layout import crop, flow, table
from llmbatch.ui.plain import batches_line, counts, eta, stall_words
from llmbatch.ui.symbols import Symbols
from llmbatch.ui.units import clock, done

__all__ = ["LiveView", "render"]

EVERY = 0.2
"""Seconds between two drawings."""
BAR = 24
"""Cells of the progress bar on a wide terminal."""
MODELS = 6
"""Models that have a line each; more of them have none."""


class LiveView:
    """Shows a run while its context lasts. Its lines are erased at the end, those above them stay.

    rich's own live display leaves stale lines in a terminal that gets narrower; this one does not.
    """

    def __init__(self, console: Console, symbols: Symbols) -> None:
        self._console = console
        self._symbols = symbols
        self._lock = threading.Lock()
        self._drawn: list[Text] = []

    def say(self, text: str) -> None:
        """Show one line."""
        with self._lock, self._console:
            drawn = self._erase()
            self._console.print(Text(text))
            self._draw(drawn)

    def show(self, now: Snapshot) -> None:
        """Draw a moment of the run in the place of the last one."""
        lines = render(now, self._symbols, self._console.width, self._console.height)
        with self._lock, self._console:
            self._erase()
            self._draw(lines)

    @contextmanager
    def __call__(self, snapshot: Callable[[], Snapshot]) -> Iterator[None]:
        """Show the run while the context lasts."""
        try:
            with ticking(EVERY, lambda: self.show(snapshot())):
                yield
        finally:
            with self._lock, self._console:
                self._erase()

    def _draw(self, lines: list[Text]) -> None:
        self._drawn = lines
        if lines:
            self._console.print(Text("\n").join(lines), end="", soft_wrap=True)

    def _erase(self) -> list[Text]:
        """Erase the lines and return them. In a terminal that got narrower since, each may take several rows."""
        drawn, self._drawn = self._drawn, []
        width = max(1, self._console.width)
        rows = sum(max(1, math.ceil(cell_len(line.plain) / width)) for line in drawn)
        if rows:
            line = (ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))
            up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2))
            self._console.control(Control(*line, *(up * (rows - 1))))
        return drawn


def render(now: Snapshot, symbols: Symbols, width: int, height: int) -> list[Text]:
    """Draw one moment of a run for a screen: how much is done, the counts, what limits it, the models.

    What matters least goes first where rows are few; no line is wider than the screen.
    """
    width = max(1, width - 1)  # some terminals wrap a line that fills its row
    lines = [_progress(now, symbols, width)]
    for text in flow(counts(now), width, symbols.dot, symbols.ellipsis):
        line = Text(text)
        line.highlight_regex(r"[\d,]+ ok\b", "green")
        line.highlight_regex(r"(?<![\d,])(?!0 )[\d,]+ failed", "red")
        line.highlight_regex(r"[\d,]+ to be sent again", "yellow")
        lines.append(line)
    if limits := limits_line(now.routes):
        lines.append(Text(crop(limits, width, symbols.ellipsis), "yellow" if now.closed_for else "dim"))
    if batches := batches_line(now):
        lines.append(Text(crop(batches, width, symbols.ellipsis), "cyan"))
    if now.waits:
        words = stall_words(now).removeprefix("; ")
        lines.append(Text(crop(words, width, symbols.ellipsis), "yellow"))
    if 1 < len(now.models) <= MODELS:
        rows = [(printable(name, 80), f"{ok:,} ok", f"{failed:,} failed") for name, ok, failed in now.models]
        aligned = table(("", "", " "), rows, width, drop=(" ",), ellipsis=symbols.ellipsis)
        lines += [Text(line, "dim") for line in aligned[1:]]
    return lines[: max(1, height - 1)]


def _progress(now: Snapshot, symbols: Symbols, width: int) -> Text:
    """Draw the bar with what is done of the whole, and the time."""
    words = [] if now.fraction is None else [f"{done(now.fraction):>4}"]
    if now.total is not None:
        words.append(f"{now.finished:,} of {'' if now.total_is_exact else 'about '}{now.total:,}")
    words.append(clock(now.wall))
    words += eta(now)
    text = symbols.dot.join(words)
    cells = min(BAR, width - cell_len(text) - 1)
    if now.fraction is None or cells < 8:
        return Text(crop(text.strip(), width, symbols.ellipsis))
    filled = int(cells * now.fraction)
    return Text.assemble((symbols.filled * filled, "green"), (symbols.empty * (cells - filled), "dim"), " ", text)
