"""Cuts inputs in two, so that two processes can go through them at once."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from llmbatch.input.byte_stream import is_compressed
from llmbatch.input.source import LINE_FORMATS, format_of

__all__ = ["Part", "halves"]

_PIECE = 1 << 16
_MARK = b"\xef\xbb\xbf"


class Part(NamedTuple):
    """Some of the inputs; of a single one perhaps only the bytes of a span, whose end may be open."""

    paths: tuple[str, ...]
    span: tuple[int, int | None] | None = None


def halves(paths: Sequence[str], *, format: str | None, delimiter: str | None) -> tuple[Part, Part] | None:
    """Cut regular files in two between records, about in the middle; None where that is not possible.

    Raises OSError, and UsageError for an unknown format.
    """
    if len(paths) == 1:
        return _cut(paths[0], format_of(paths[0], format, delimiter))
    sizes = [os.stat(path).st_size for path in paths]
    first = 1
    while first < len(paths) - 1 and 2 * sum(sizes[:first]) < sum(sizes):
        first += 1
    return Part(tuple(paths[:first])), Part(tuple(paths[first:]))


def _cut(path: str, form: str) -> tuple[Part, Part] | None:
    """Cut a file of lines behind a newline."""
    if form not in LINE_FORMATS or is_compressed(path):
        return None
    with open(path, "rb") as file:
        place = os.fstat(file.fileno()).st_size // 2
        file.seek(place)
        while piece := file.read(_PIECE):
            newline = piece.find(b"\n")
            if newline >= 0:
                place += newline + 1
                file.seek(place)
                # A line there may not lose what would be a byte order mark at the beginning of a file.
                follows = file.read(len(_MARK))
                is_fine = follows and follows != _MARK
                return (Part((path,), (0, place)), Part((path,), (place, None))) if is_fine else None
            place += len(piece)
    return None
