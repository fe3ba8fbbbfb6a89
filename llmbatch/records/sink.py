"""Where result lines go: stdout, or a file that is appended to whole lines at a time."""

import os
import select
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from llmbatch.core.errors import OutputError, ReaderGone, UsageError
from llmbatch.core.outcome import Outcome, Refused
from llmbatch.core.printable import escape_line
from llmbatch.records.results import Render

__all__ = ["FileSink", "StreamSink"]


class StreamSink:
    """Writes to an open descriptor, stdout as a rule. With `escape` what a terminal acts on is escaped."""

    def __init__(self, fd: int, render: Render, *, escape: bool = False) -> None:
        self._fd = fd
        self._render = render
        self._escape = escape
        self._gone = False

    def write(self, outcomes: Sequence[Outcome | Refused]) -> None:
        """Write the outcomes. Raises ReaderGone, once and then for every batch, when nobody reads any more."""
        if self._gone:
            raise ReaderGone("the reader of stdout went away")
        lines = b"".join([self._render(outcome) for outcome in outcomes])
        view = memoryview(b"".join(map(escape_line, lines.splitlines(keepends=True))) if self._escape else lines)
        try:
            while view:
                view = view[_write_some(self._fd, view) :]
        except BrokenPipeError as error:
            self._gone = True
            raise ReaderGone("the reader of stdout went away") from error
        except OSError as error:
            self._gone = True
            raise OutputError(f"cannot write to stdout: {error.strerror}", "With -o FILE nothing is lost.") from error


class FileSink:
    """Appends to a file of its own.

    When the disk refuses, the file is cut back to its last whole line, and what could not be written goes to a rescue
    file instead, together with all that still comes.
    """

    def __init__(self, path: Path, render: Render, *, rescue_dir: Path | None = None) -> None:
        self._path = path
        self._render = render
        self._rescue_dir = rescue_dir
        self._rescue: int | None = None
        self._fd = _open(path)
        self._size = os.fstat(self._fd).st_size

    def write(self, outcomes: Sequence[Outcome | Refused]) -> None:
        """Append the outcomes. Raises OutputError, naming the rescue file, for every batch that went there."""
        lines = b"".join([self._render(outcome) for outcome in outcomes])
        if self._rescue is None:
            try:
                _write_all(self._fd, lines)
                self._size += len(lines)
                return
            except OSError as error:
                os.ftruncate(self._fd, self._size)
                self._failure = error
        raise self._save(lines)

    def _save(self, lines: bytes) -> OutputError:
        why = f"cannot write to {self._path}: {self._failure.strerror}"
        try:
            if self._rescue is None:
                self._rescue, self._rescue_path = tempfile.mkstemp(
                    prefix=f"{self._path.name}.", suffix=".rescue.jsonl", dir=self._rescue_dir
                )
            _write_all(self._rescue, lines)
            os.fsync(self._rescue)
        except OSError as error:
            count = lines.count(b"\n")
            return OutputError(f"{why}; {count} answers could not be saved elsewhere either: {error.strerror}")
        return OutputError(
            f"{why}; the answers that were in flight are in {self._rescue_path}",
            f"Make room, then: cat {self._rescue_path} >> {self._path}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in (self._fd, self._rescue):
            if fd is not None:
                os.close(fd)

    def sync(self) -> None:
        """Put what is written on the disk. Raises OutputError; after a failed sync nothing can be trusted."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise OutputError(f"{self._path} may not be on the disk: {error.strerror}") from error


def _open(path: Path) -> int:
    """Open for appending, private when new. Raises UsageError for what is not a regular file."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise OutputError(f"cannot open {path} for writing: {error.strerror}", "Choose another -o FILE.") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UsageError(f"-o {path} is not a regular file", "Leave -o out to write results to stdout.")
    return fd


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _write_some(fd: int, view: memoryview) -> int:
    """Write what fits; a descriptor that somebody made non-blocking is waited for."""
    try:
        return os.write(fd, view)
    except BlockingIOError:
        select.select([], [fd], [])
        return 0
