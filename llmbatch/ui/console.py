"""The rich console on stderr."""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import IO, cast

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from llmbatch.core.printable import printable
from llmbatch.core.stderr import write_stderr

__all__ = ["WIDE", "columns", "facts", "is_colored", "is_terminal", "painted", "plain_text", "stderr_console"]


def is_terminal(fd: int, environment: Mapping[str, str]) -> bool:
    """Tell whether a descriptor is a terminal that understands cursor movements."""
    return os.isatty(fd) and environment.get("TERM", "") != "dumb"


def is_colored(fd: int, environment: Mapping[str, str]) -> bool:
    """Tell whether text on a descriptor may have colours: only on a terminal, and where nothing forbids them."""
    return is_terminal(fd, environment) and not environment.get("NO_COLOR")


def painted(text: str, style: str, colored: bool) -> str:
    """Wrap text in the terminal's codes for a style, as `1;31`, where it is to be coloured."""
    return f"\x1b[{style}m{text}\x1b[0m" if colored else text


class _Stderr(io.TextIOBase):
    """Stderr that never fails: a terminal that is gone or a full disk must not stop a run."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        """Write as much as possible; return the length of the text."""
        write_stderr(text.encode("utf-8", "replace"))
        return len(text)

    def fileno(self) -> int:
        """Return the descriptor."""
        return 2

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return os.isatty(2)


def stderr_console(color: str, environment: Mapping[str, str]) -> Console:
    """Return a console that animates only on a terminal, whatever FORCE_COLOR says: CI systems set it for files too."""
    terminal = is_terminal(2, environment)
    colored = color == "always" or (color == "auto" and terminal and not environment.get("NO_COLOR"))
    drawn = terminal or colored
    return Console(
        file=cast(IO[str], _Stderr()),
        force_terminal=drawn,
        force_interactive=terminal,
        no_color=not colored,
        highlight=False,
        markup=False,
        emoji=False,
        width=None if terminal else _width_without_terminal(environment.get("COLUMNS", "")),
    )


def _width_without_terminal(named: str) -> int:
    return int(named) if named.isascii() and named.isdigit() and 20 <= int(named) <= 1000 else 100


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


def columns(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table of words with a heading."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(_text(name), overflow="fold")
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
