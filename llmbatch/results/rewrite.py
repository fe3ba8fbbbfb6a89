"""Rewrites a results file: puts redone lines in their places, sorts lines, moves lines out. All or nothing."""

import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

from llmbatch.results import disk
from llmbatch.results.index import ResultIndex, flags_of
from llmbatch.results.lines import Line, key_fingerprint, name_of_line, place_of, scan, torn_tail, whole_lines

__all__ = ["merge", "rewrite", "sort"]

PIECE = 1 << 20
LAST = 2**64 - 1
"""The largest index that is sorted by; a line that was not written by us may have a larger one."""


def merge(results: Path, redo: Path, scratch: Path) -> ResultIndex:
    """Replace lines by those of the redo file, which stays; return the index of the redone lines.

    Of several lines of one record the last one counts. A line without a counterpart is added at the end. To merge twice
    changes nothing. Raises OSError.
    """
    new, lengths = ResultIndex(), array("Q")
    for line in _lines(redo):
        if line.fields is not None:
            key = key_fingerprint(line.fields.get("key"))
            earlier = new.add(_identity(line), key, line.offset, flags_of(line.fields))
            if earlier is None:
                lengths.append(len(line.raw))
            else:
                new.replace(earlier, key, line.offset, flags_of(line.fields))
                lengths[earlier] = len(line.raw)
    if not len(new):
        return new
    with redo.open("rb") as source:

        def line_at(place: int) -> bytes:
            new.matched[place] = 1
            return os.pread(source.fileno(), lengths[place], new.offset(place)) + b"\n"

        def lines() -> Iterator[bytes]:
            for line in _lines(results):
                place = new.find(_identity(line)) if line.fields is not None else None
                yield line.raw + b"\n" if place is None else line_at(place)
            for place, is_met in enumerate(new.matched):
                if not is_met:
                    yield line_at(place)

        disk.replace(scratch, results, disk.joined(lines()))
    return new


def rewrite(results: Path, scratch: Path, keep: Callable[[Line], bool], moved_to: Path) -> int:
    """Move the lines that are not kept to the file `moved_to`; return how many. Raises OSError."""
    moved = sum(not keep(line) for line in _lines(results))
    if moved:
        gone = disk.joined(line.raw + b"\n" for line in _lines(results) if not keep(line))
        disk.replace(moved_to.with_suffix(".new"), moved_to, gone)
        disk.replace(scratch, results, disk.joined(line.raw + b"\n" for line in _lines(results) if keep(line)))
    return moved


def sort(results: Path, scratch: Path) -> None:
    """Order the lines by their index. Raises OSError."""
    begins, ends, indices = array("Q"), array("Q"), array("Q")
    try:
        source = results.open("rb")
    except FileNotFoundError:
        return
    with source:
        fd = source.fileno()
        for offset, raw in whole_lines(fd, torn_tail(fd, os.fstat(fd).st_size)):
            if raw.strip():
                begins.append(offset)
                ends.append(offset + len(raw) + 1)
                index, sample = place_of(raw) or (0, 0)
                indices.append(min(max(index, 0) << 10 | sample, LAST))
        order = sorted(range(len(indices)), key=indices.__getitem__)
        if any(place != number for number, place in enumerate(order)):
            runs = _runs((begins[place], ends[place]) for place in order)
            disk.replace(scratch, results, disk.joined(os.pread(fd, end - begin, begin) for begin, end in runs))


def _runs(places: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Join neighbouring lines into pieces: a file is nearly in order when answers take about the same time."""
    begin, end = next(places)
    for first, last in places:
        if first != end or end - begin >= PIECE:
            yield begin, end
            begin = first
        end = last
    yield begin, end


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
    return 0 if fields is None else name_of_line(fields)
