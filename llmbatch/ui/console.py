"""The rich console on stderr."""

import io
import os
from contextlib import suppress
from typing import IO, cast

from rich.console import Console

__all__ = ["is_terminal", "stderr_console"]


def is_terminal(fd: int) -> bool:
    """Say whether a descriptor is a terminal that can be drawn on."""
    return os.isatty(fd) and os.environ.get("TERM", "") != "dumb"


class _Stderr(io.TextIOBase):
    """Stderr that never fails: a terminal that hung up, a full disk or nobody there is no reason to stop."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        """Write what can be written."""
        left = memoryview(text.encode("utf-8", "replace"))
        with suppress(OSError):
            while left:
                left = left[os.write(2, left) :]
        return len(text)

    def fileno(self) -> int:
        """Return the descriptor."""
        return 2

    def isatty(self) -> bool:
        """Say whether it is a terminal."""
        return os.isatty(2)


def stderr_console(color: str) -> Console:
    """Return a console that animates only on a terminal, whatever FORCE_COLOR says: CI systems set it for files too."""
    terminal = is_terminal(2)
    colored = color == "always" or (color == "auto" and terminal and not os.environ.get("NO_COLOR"))
    drawn = terminal or colored
    return Console(
        file=cast(IO[str], _Stderr()),
        force_terminal=drawn,
        force_interactive=terminal,
        no_color=not colored,
        highlight=False,
        markup=False,
        emoji=False,
        width=None if terminal else 100,
    )
