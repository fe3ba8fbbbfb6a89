"""Tables as plain text, for stdout: no colours, nothing that a terminal acts on, nothing cut off."""

from collections.abc import Iterable, Sequence
from io import StringIO

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from llmbatch.core.printable import printable

__all__ = ["columns", "facts", "plain_text"]

WIDE = 160
"""Where there is no terminal; a line is only as long as it must be."""


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """Return a table of names and values."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows:
        table.add_row(_text(name), _text(value))
    return table


def columns(names: Sequence[str], rows: Iterable[Sequence[str]], *, words: bool = False) -> Table:
    """Return a table with a heading, numbers in all columns but the first, unless they hold `words`."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(names):
        table.add_column(_text(name), justify="right" if place and not words else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def plain_text(parts: Iterable[RenderableType], width: int | None) -> bytes:
    """Render to text of at most so many columns, blank lines at both ends left out."""
    out = StringIO()
    console = Console(
        file=out,
        width=width or WIDE,
        force_terminal=False,
        color_system=None,
        markup=False,
        highlight=False,
        emoji=False,
    )
    for part in parts:
        console.print(part)
    text = "\n".join(line.rstrip() for line in out.getvalue().split("\n"))
    return (text.strip("\n") + "\n").encode("utf-8", "replace")


def _text(text: str) -> Text:
    return Text(printable(text, 200), overflow="fold")
