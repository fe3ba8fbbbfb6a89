"""Finds answers by request key (and sample, `core.job.answer_key`), in this results file and in others.

In this file also failures that were paid for: who asks the same again pays again.
"""

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from llmbatch.core.errors import InputError
from llmbatch.core.fault import Fault
from llmbatch.core.job import answer_key
from llmbatch.core.outcome import Completion
from llmbatch.results.index import ResultIndex
from llmbatch.results.lines import foreign, key_fingerprint, line_at, sample_of, scan, torn_tail
from llmbatch.results.render import answer_extra, paid_failure

__all__ = ["AnswerCache"]

OWN, REDO = 0, 1
"""The sources that this run writes itself."""

_COPY, _FAILURE, _ANSWER = 1, 2, 3
"""What a line tells of its request, each worth more than the one before: a copy of a paid failure, that failure."""


class AnswerCache:
    """An index of paid lines by key. For one thread at a time, except that adding and finding may overlap."""

    def __init__(self) -> None:
        self._known = ResultIndex()
        self._fds: dict[int, int] = {}
        self._files = ExitStack()

    def use(self, source: int, fd: int) -> None:
        """Set the descriptor from which the lines of a source are read."""
        self._fds[source] = fd

    def load(self, source: int, fd: int) -> None:
        """Add the answers of a file, and of our own the failures that were paid for."""
        self.use(source, fd)
        for line in scan(fd, torn_tail(fd, os.fstat(fd).st_size)):
            fields = line.fields
            if fields is None or not fields.get("key"):
                continue
            if fields["status"] == "ok" or (source == OWN and fields.get("billed") is True):
                key = answer_key(fields["key"], sample_of(fields))
                answers, copied = fields["status"] == "ok", "deduplicated" in fields
                self.add(source, key, line.offset, answers=answers, copied=copied)

    def load_files(self, paths: Sequence[str]) -> None:
        """Add the good lines of other results files. Raises InputError, or UsageError for any other file."""
        for source, name in enumerate(paths, REDO + 1):
            try:
                fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would wait for its writer
            except OSError as error:
                raise InputError(f"--reuse {name}: {error.strerror}", "Name a results file.") from error
            self._files.callback(os.close, fd)
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise InputError(f"--reuse {name}: it is not a regular file", "Name a results file.")
            first = next(scan(fd, torn_tail(fd, os.fstat(fd).st_size)), None)
            if first is not None and first.fields is None:
                raise foreign(Path(name))
            self.load(source, fd)

    def add(self, source: int, key: str, offset: int, *, answers: bool, copied: bool) -> None:
        """Add a line that answers a key, or tells that it was paid for in vain, unless one does already."""
        worth = _ANSWER if answers else _COPY if copied else _FAILURE
        place = self._known.add(_name(key), source, offset, worth)
        if place is not None and _ANSWER > self._known.traits(place) <= worth:
            self._known.replace(place, source, offset, worth)

    def where(self, key: str) -> int | None:
        """Return the source of the line that answers a key."""
        place = self._known.find(_name(key))
        return None if place is None or self._known.traits(place) < _ANSWER else self._known.key(place)

    def failure(self, key: str) -> dict[str, Any] | None:
        """Return the line that tells that a key was paid for in vain, if nothing answers it."""
        place = self._known.find(_name(key))
        return None if place is None or self._known.traits(place) == _ANSWER else self._line(place, key)

    def read(self, key: str) -> Completion | Fault | None:
        """Read the answer to a key from its line, or the failure, without its cost, which was paid before."""
        place = self._known.find(_name(key))
        fields = self._line(place, key) if place is not None else None
        if fields is None:
            return None
        if fields["status"] != "ok":
            try:
                return paid_failure(fields)
            except (TypeError, ValueError, LookupError):
                return None
        return Completion(
            text=fields.get("text"),
            finish_reason=fields.get("finish_reason"),
            model=fields.get("model"),
            usage=None,
            request_id=fields.get("request_id"),
            extra=answer_extra(fields),
            body=fields.get("response"),
        )

    def _line(self, place: int, key: str) -> dict[str, Any] | None:
        """Read a line again, unless it is gone."""
        line = line_at(self._fds[self._known.key(place)], self._known.offset(place))
        if line is None or line.fields is None or answer_key(line.fields["key"], sample_of(line.fields)) != key:
            return None
        return line.fields

    def close(self) -> None:
        """Close the other files."""
        self._files.close()


def _name(key: str) -> int:
    """Return the fingerprint of a key with more bits above it, as in the names of records."""
    return key_fingerprint(key) | (hash(key) & 0xFFFF_FFFF) << 64
