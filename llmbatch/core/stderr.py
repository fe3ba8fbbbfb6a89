"""Writes to stderr when that matters less than going on: one that is closed or full is no error."""

import os
from contextlib import suppress

__all__ = ["write_stderr"]


def write_stderr(data: bytes) -> None:
    """Write as much as possible."""
    left = memoryview(data)
    with suppress(OSError):
        while left:
            left = left[os.write(2, left) :]
