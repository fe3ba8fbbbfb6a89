"""Finds answers by request key (and sample, `core.job.answer_key`), in this results file and in others."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from llmbatch.core.errors import InputError
from llmbatch.core.job import answer_key
from llmbatch.core.outcome import Completion
from llmbatch.results.index import ResultIndex
from llmbatch.results.lines import foreign, key_fingerprint, line_at, sample_of, scan, torn_tail
from llmbatch.results.render import answer_extra

__all__ = ["AnswerCache"]

OWN, REDO = 0, 1
"""The sources that this run writes itself."""


class AnswerCache:
    """An index of good lines by key. For one thread at a time, except that adding and finding may overlap."""

    def __init__(self) -> None:
        self._known = ResultIndex()
        self._fds: dict[int, int] = {}
        self._files = ExitStack()

    def use(self, source: int, fd: int) -> None:
        """Set the descriptor from which the lines of a source are read."""
        self._fds[source] = fd

    def load(self, source: int, fd: int) -> None:
        """Add the good lines of a file."""
        self.use(source, fd)
        for line in scan(fd, torn_tail(fd, os.fstat(fd).st_size)):
            fields = line.fields
            if fields is not None and fields["status"] == "ok" and fields.get("key"):
                self.add(source, answer_key(fields["key"], sample_of(fields)), line.offset)

    def load_files(self, paths: Sequence[str]) -> None:
        """Add the good lines of other results files. Raises InputError, or UsageError for any other file."""
        for source, name in enumerate(paths, REDO + 1):
            try:
                fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise InputError(f"--reuse {name}: {error.strerror}", "Name a results file.") from error
            self._files.callback(os.close, fd)
            first = next(scan(fd, torn_tail(fd, os.fstat(fd).st_size)), None)
            if first is not None and first.fields is None:
                raise foreign(Path(name))
            self.load(source, fd)

    def add(self, source: int, key: str, offset: int) -> None:
        """Add a line that answers a key, unless one does already."""
        self._known.add(_name(key), source, offset, 0)

    def where(self, key: str) -> int | None:
        """Return the source of the line that answers a key."""
        place = self._known.find(_name(key))
        return None if place is None else self._known.key(place)

    def read(self, key: str) -> Completion | None:
        """Read the answer to a key from its line, without its cost, which was paid before."""
        place = self._known.find(_name(key))
        if place is None:
            return None
        fd, offset = self._fds[self._known.key(place)], self._known.offset(place)
        line = line_at(fd, offset)
        if line is None or line.fields is None or answer_key(line.fields["key"], sample_of(line.fields)) != key:
            return None
        fields: dict[str, Any] = line.fields
        return Completion(
            text=fields.get("text"),
            finish_reason=fields.get("finish_reason"),
            model=fields.get("model"),
            usage=None,
            request_id=fields.get("request_id"),
            extra=answer_extra(fields),
            body=fields.get("response"),
        )

    def close(self) -> None:
        """Close the other files."""
        self._files.close()


def _name(key: str) -> int:
    """Return the fingerprint of a key with more bits above it, as in the names of records."""
    return key_fingerprint(key) | (hash(key) & 0xFFFF_FFFF) << 64
