"""Writes result lines to stdout or another open descriptor."""

import os
import select
from collections.abc import Sequence

from llmbatch.core.errors import LlmbatchError, OutputError, ReaderGone
from llmbatch.core.outcome import InvalidRecord, Outcome
from llmbatch.core.printable import escape_line
from llmbatch.results.render import Render

__all__ = ["StreamSink"]


class StreamSink:
    """Writes to an open descriptor, mostly stdout. With `escape` it escapes what a terminal would act on.

    `hint` is what to do when it cannot be written.
    """

    def __init__(
        self,
        fd: int,
        render: Render,
        *,
        escape: bool = False,
        name: str = "stdout",
        hint: str | None = "With -o FILE nothing is lost.",
    ) -> None:
        self._fd = fd
        self._name = name
        self._render = render
        self._escape = escape
        self._hint = hint
        self._failure: LlmbatchError | None = None

    def write(self, outcomes: Sequence[Outcome | InvalidRecord]) -> None:
        """Write the outcomes. Raises ReaderGone or OutputError; after the first failure for every batch."""
        self.write_lines(b"".join([self._render(outcome) for outcome in outcomes]))

    def write_lines(self, lines: bytes) -> None:
        """Write lines that are rendered already. Raises as `write` does."""
        if self._failure is not None:
            raise self._failure
        view = memoryview(escape_line(lines) if self._escape else lines)
        try:
            while view:
                view = view[_write_some(self._fd, view) :]
        except BrokenPipeError as error:
            self._failure = ReaderGone(f"the reader of {self._name} went away")
            raise self._failure from error
        except OSError as error:
            self._failure = OutputError(f"cannot write to {self._name}: {error.strerror}", self._hint)
            raise self._failure from error


def _write_some(fd: int, view: memoryview) -> int:
    """Write what fits; wait for a descriptor that is non-blocking because another program made it so."""
    try:
        return os.write(fd, view)
    except BlockingIOError:
        select.select([], [fd], [])
        return 0
