"""The rich console on stderr."""

import os
import sys

from rich.console import Console

__all__ = ["is_terminal", "stderr_console"]


def is_terminal(fd: int) -> bool:
    """Say whether a descriptor is a terminal that can be drawn on."""
    return os.isatty(fd) and os.environ.get("TERM", "") != "dumb"


def stderr_console(color: str) -> Console:
    """Return a console that animates only on a terminal, whatever FORCE_COLOR says: CI systems set it for files too."""
    terminal = is_terminal(2)
    colored = color == "always" or (color == "auto" and terminal and not os.environ.get("NO_COLOR"))
    drawn = terminal or colored
    return Console(
        file=sys.stderr,
        force_terminal=drawn,
        force_interactive=terminal,
        no_color=not colored,
        highlight=False,
        markup=False,
        emoji=False,
        width=None if terminal else 100,
    )
