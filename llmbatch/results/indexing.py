"""Reads the lines of a results file for its index; on two cores if the file is long."""

import os
from collections.abc import Iterator

from llmbatch.codec.digest import FINGERPRINT
from llmbatch.core.fork import can_fork, forked
from llmbatch.results.index import Entries, flags_of, packed_place
from llmbatch.results.lines import glance, key_fingerprint, name_of_line, whole_lines

__all__ = ["NotIndexed", "read_entries"]

LONG = 16 << 20
"""So many bytes are worth a second process."""
_PIECE = 1 << 22
_LOOKED_FOR = 1 << 16


class NotIndexed(Exception):
    """A line is not a result; who reads them one by one finds out which."""


def read_entries(fd: int) -> Iterator[Entries]:
    """Yield the lines of a file, some at a time, for `ResultIndex.extend`. Raises NotIndexed."""
    size = os.fstat(fd).st_size
    if size < LONG or not can_fork():
        yield from _pieces(fd, 0, size)
        return
    middle = _line_behind(fd, size // 2)
    with forked(lambda: _read(fd, middle, size), files=[fd]) as other:
        yield from _pieces(fd, 0, middle)
        rest = other.result() if other is not None else None
    yield from _pieces(fd, middle, size) if rest is None else (rest,)


def _pieces(fd: int, start: int, end: int) -> Iterator[Entries]:
    while start < end:
        stop = min(end, _line_behind(fd, start + _PIECE))
        yield _read(fd, start, stop)
        start = stop


def _read(fd: int, start: int, end: int) -> Entries:
    entries = Entries()
    add_identity, add_check = entries.identities.append, entries.checks.append
    add_key, add_place = entries.keys.append, entries.places.append
    for offset, raw in whole_lines(fd, end, start):
        fields = glance(raw)
        if fields is None:
            if raw.strip():
                raise NotIndexed
            continue
        name = name_of_line(fields)
        add_identity(name & FINGERPRINT)
        add_check(name >> 64)
        add_key(key_fingerprint(fields.get("key")))
        add_place(packed_place(offset, flags_of(fields)))
    return entries


def _line_behind(fd: int, place: int) -> int:
    """Return where the first line begins behind a place, or the end of the file."""
    while piece := os.pread(fd, _LOOKED_FOR, place):
        newline = piece.find(b"\n")
        if newline >= 0:
            return place + newline + 1
        place += len(piece)
    return place
