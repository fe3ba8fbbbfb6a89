"""A results file written anew: redone lines put in place, lines sorted, lines taken out. Whole or not at all."""

import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

from llmbatch.state import disk
from llmbatch.state.lines import Line, fingerprint, scan, torn_tail

__all__ = ["identities", "merge", "rewrite", "sort"]

PIECE = 1 << 20


def merge(results: Path, redo: Path, scratch: Path) -> int:
    """Put the lines of the redo file in the place of those they redo; return how many. The redo file stays.

    A line that has no counterpart is added at the end. Doing it twice changes nothing. Raises OSError.
    """
    new = _newest(redo)
    if not new:
        return 0
    with redo.open("rb") as source:

        def line_at(place: tuple[int, int]) -> bytes:
            return os.pread(source.fileno(), place[1], place[0]) + b"\n"

        def lines() -> Iterator[bytes]:
            waiting = dict(new)
            for line in _lines(results):
                place = waiting.pop(_identity(line), None)
                yield line.raw + b"\n" if place is None else line_at(place)
            for place in waiting.values():
                yield line_at(place)

        disk.replace(scratch, results, _pieces(lines()))
    return len(new)


def identities(redo: Path) -> set[int]:
    """Return the identities that have a whole line in the redo file."""
    return set(_newest(redo))


def rewrite(results: Path, scratch: Path, keep: Callable[[Line], bool], aside: Path) -> int:
    """Move the lines that are not to be kept to the file `aside`; return how many. Raises OSError."""
    moved = [line.raw + b"\n" for line in _lines(results) if not keep(line)]
    if moved:
        disk.replace(aside.with_suffix(".new"), aside, moved)
        disk.replace(scratch, results, _pieces(line.raw + b"\n" for line in _lines(results) if keep(line)))
    return len(moved)


def sort(results: Path, scratch: Path) -> None:
    """Order the lines by their index. Raises OSError."""
    places, lengths, indices = array("Q"), array("Q"), array("Q")
    for line in _lines(results):
        places.append(line.offset)
        lengths.append(len(line.raw))
        indices.append(line.fields["index"] if line.fields is not None else 0)
    order = sorted(range(len(indices)), key=indices.__getitem__)
    if all(place == number for number, place in enumerate(order)):
        return
    with results.open("rb") as source:
        fd = source.fileno()
        disk.replace(scratch, results, _pieces(os.pread(fd, lengths[place], places[place]) + b"\n" for place in order))


def _newest(redo: Path) -> dict[int, tuple[int, int]]:
    """Find where the last line of each identity stands in the redo file, and how long it is."""
    return {_identity(line): (line.offset, len(line.raw)) for line in _lines(redo) if line.fields is not None}


def _lines(path: Path) -> Iterator[Line]:
    try:
        source = path.open("rb")
    except FileNotFoundError:
        return
    with source:
        fd = source.fileno()
        yield from scan(fd, torn_tail(fd, os.fstat(fd).st_size))


def _identity(line: Line) -> int:
    fields = line.fields
    return 0 if fields is None else fingerprint(fields.get("id"), fields["record"], fields.get("occurrence", 0))


def _pieces(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Gather lines into pieces that are worth a write."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= PIECE:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)
