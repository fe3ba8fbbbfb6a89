"""Where result lines go: stdout, or a file that is appended to whole lines at a time."""

import errno
import os
import select
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Self

from llmbatch.core.errors import LlmbatchError, OutputError, ReaderGone, UsageError
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
        self._failure: LlmbatchError | None = None

    def write(self, outcomes: Sequence[Outcome | Refused]) -> None:
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
            self._failure = ReaderGone("the reader of stdout went away")
            raise self._failure from error
        except OSError as error:
            self._failure = OutputError(f"cannot write to stdout: {error.strerror}", "With -o FILE nothing is lost.")
            raise self._failure from error


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
        self._rescued = 0
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
                self._failure = error
                _cut(self._fd, self._size)
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
            self._rescued += len(lines)
        except OSError as error:
            if self._rescue is not None:
                _cut(self._rescue, self._rescued)
            count = lines.count(b"\n")
            return OutputError(f"{why}; {count} answers could not be saved elsewhere either: {error.strerror}")
        return OutputError(
            f"{why}; the answers that were in flight are in {self._rescue_path}",
            f"Make room, then: cat {quote(self._rescue_path)} >> {quote(str(self._path))}",
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
        if error.errno in (errno.EISDIR, errno.ENXIO):  # a directory, a pipe that nobody reads
            raise _not_a_file(path) from error
        raise OutputError(f"cannot open {path} for writing: {error.strerror}", "Choose another -o FILE.") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _not_a_file(path)
    return fd


def _not_a_file(path: Path) -> UsageError:
    return UsageError(f"-o {path} is not a regular file", "Leave -o out to write results to stdout.")


def _cut(fd: int, size: int) -> None:
    """Cut a torn line off. What cannot be cut is left to the next reader, who knows torn lines."""
    with suppress(OSError):
        os.ftruncate(fd, size)
        os.lseek(fd, size, os.SEEK_SET)


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
