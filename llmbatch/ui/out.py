"""What verbs that only read write to: stdout for what was asked, stderr for the rest."""

import os
from collections.abc import Callable
from contextlib import suppress

from llmbatch.core.printable import printable
from llmbatch.results.stream_sink import StreamSink

__all__ = ["notice", "stdout_sink", "terminal_width", "write_stderr"]


def stdout_sink() -> Callable[[bytes], None]:
    """Return what writes lines to stdout, escaped where a terminal would act on them.

    It raises ReaderGone or OutputError.
    """
    return StreamSink(1, lambda outcome: b"", escape=os.isatty(1)).write_lines


def write_stderr(text: bytes) -> None:
    """Write to stderr; nobody there is no reason to stop."""
    with suppress(OSError):
        os.write(2, text)


def notice(text: str) -> None:
    """Say something on stderr."""
    write_stderr(f"llmbatch: {printable(text)}\n".encode("utf-8", "replace"))


def terminal_width(fd: int) -> int | None:
    """Return how wide the terminal is, None where there is none."""
    try:
        return os.get_terminal_size(fd).columns or None
    except OSError:
        return None
