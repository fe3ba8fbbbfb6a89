"""Rewrites a results file: puts redone lines in their places, sorts lines, moves lines out. All or nothing."""

import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

from llmbatch.results import disk
from llmbatch.results.disk import free_name
from llmbatch.results.index import LineFlags, ResultIndex
from llmbatch.results.lines import Line, line_at, name_of_line, place_of, scan, torn_tail, whole_lines
from llmbatch.results.redone import RedoneLines

__all__ = ["keep_answers", "merge", "rewrite", "sort"]

PIECE = 1 << 20
LAST = 2**64 - 1
"""The largest index that is sorted by; a line that was not written by us may have a larger one."""
_PAID = LineFlags.OK | LineFlags.BILLED


def merge(
    results: Path, redo: Path, scratch: Path, keep: Callable[[ResultIndex], object] = lambda redone: None
) -> ResultIndex:
    """Replace lines by those of the redo file, which stays; return the index of the redone lines.

    Of several lines of one record the last one counts. A line without a counterpart is added at the end. To merge twice
    changes nothing. `keep` is called before a line is replaced. Raises OSError.
    """
    try:
        source = redo.open("rb")
    except FileNotFoundError:
        return ResultIndex()
    with source:
        new = RedoneLines(source.fileno(), _scan(source.fileno()))
        if len(new):
            keep(new.index)
            disk.replace(scratch, results, disk.joined(_merged(results, new)))
    return new.index


def keep_answers(fd: int, lines: ResultIndex, redone: ResultIndex, folder: Path) -> Path | None:
    """Write the paid answers in whose places failures come to a file of their own; return which. Raises OSError."""
    failed = (lines.find(redone.name(place)) for place in range(len(redone)) if not redone.traits(place) & _PAID)
    answers = sorted(lines.offset(place) for place in failed if place is not None and lines.traits(place) & _PAID)
    if not answers:
        return None
    kept = free_name(folder, "replaced", ".jsonl")
    found = (line for line in (line_at(fd, offset) for offset in answers) if line is not None)
    disk.replace(kept.with_suffix(".new"), kept, disk.joined(line.raw + b"\n" for line in found))
    return kept


def _merged(results: Path, new: RedoneLines) -> Iterator[bytes]:
    is_used = bytearray(len(new))
    for line in _lines(results):
        place = new.find(name_of_line(line.fields)) if line.fields is not None else None
        if place is not None:
            is_used[place] = 1
        yield (line.raw if place is None else new.raw(place)) + b"\n"
    for place, used in enumerate(is_used):
        if not used:
            yield new.raw(place) + b"\n"


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
        yield from _scan(source.fileno())


def _scan(fd: int) -> Iterator[Line]:
    return scan(fd, torn_tail(fd, os.fstat(fd).st_size))
