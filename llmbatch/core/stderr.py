"""Writes to stderr when that matters less than going on: one that is closed or full is no error."""

import os
import re
from contextlib import suppress

__all__ = ["from_here", "write_stderr"]


def from_here(text: str) -> str:
    """Write paths below the current folder as they are from there, on a terminal: a log is read in another folder."""
    if not os.isatty(2):
        return text
    try:
        here = os.getcwd()
    except OSError:  # it is gone
        return text
    return text if here == "/" or here not in text else re.sub(rf"(?<![\w./-]){re.escape(here)}/(?=[^\s/])", "", text)


def write_stderr(data: bytes) -> None:
    """Write as much as possible."""
    left = memoryview(data)
    with suppress(OSError):
        while left:
            left = left[os.write(2, left) :]
