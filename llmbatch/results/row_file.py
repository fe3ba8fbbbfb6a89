"""Reads a file with the rows of a batch: a row on each line, or in one of the forms that some servers give it.

Those are a byte order mark, gzip, an array of rows, and rows over several lines.
"""

import errno
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from llmbatch.codec.json_objects import outermost_objects

__all__ = ["row_lines"]

_PIECE = 1 << 20
_MARK = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"


class _File(Protocol):
    """What is read of a file."""

    def __iter__(self) -> Iterator[bytes]: ...

    def readline(self) -> bytes: ...

    def read(self, size: int, /) -> bytes: ...


def row_lines(path: Path) -> Iterator[bytes]:
    """Yield the rows of a file. Raises OSError, also for a file that does not unpack."""
    with open(path, "rb", buffering=_PIECE) as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        if not packed:
            yield from _rows(file)
            return
        with gzip.open(file) as unpacked:
            try:
                yield from _rows(unpacked)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise OSError(errno.EIO, f"{path} does not unpack: {error}") from error


def _rows(file: _File) -> Iterator[bytes]:
    first = file.readline().removeprefix(_MARK)
    while first.isspace():
        first = file.readline()
    if not first:
        return
    if _is_row(first):
        yield first
        yield from file
        return
    following = file.readline()
    if following.startswith(b"{") and not first.startswith(b"["):  # rows, of which the first ones are damaged
        yield first
        yield following
        yield from file
        return
    found = None
    for found in outermost_objects(_pieces(first + following, file)):
        yield found
    if found is None:
        yield first


def _pieces(first: bytes, file: _File) -> Iterator[bytes]:
    yield first
    while piece := file.read(_PIECE):
        yield piece


def _is_row(line: bytes) -> bool:
    """Say whether a line is an object by itself, also one that strict JSON refuses inside."""
    line = line.strip()
    return line.startswith(b"{") and line.endswith(b"}") and len(line) > 2
