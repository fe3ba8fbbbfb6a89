"""Cuts inputs into parts of about so many records: by bytes at newlines, by row groups, small files together.

A file of lines is cut where a line ends, found by a look at some bytes behind each place, so that the plan of a large
file takes no longer than that of a small one. Parquet is cut between row groups. What is compressed, CSV and JSON stays
whole, since its records cannot be found from the middle.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from llmbatch.core.errors import InputError, UsageError
from llmbatch.core.settings import PartSize
from llmbatch.input.address import is_remote
from llmbatch.input.byte_stream import has_compression, is_compressed, title
from llmbatch.input.bytes_at import BytesAt, bytes_at
from llmbatch.input.parquet import rows_of_groups
from llmbatch.input.source import LINE_FORMATS, format_of
from llmbatch.parts.plan import InputFile, Part, Piece

__all__ = ["cut", "look_at"]

SAMPLE = 1 << 20
"""Bytes of which the lines are counted, to know how long a record is."""
DENSE = 4
"""Times as many records as bytes show are in a compressed file."""
MOST_FILES = 10_000
"""Small files in one part."""
_PIECE = 1 << 16


class _Atom(NamedTuple):
    """What is not cut any further: a piece, about how many records and how many bytes it has."""

    piece: Piece
    records: int
    bytes: int


def look_at(paths: Sequence[str]) -> list[InputFile]:
    """Return the inputs as they are now. Raises InputError, and UsageError for what can be read only once."""
    there = [path for path in paths if is_remote(path)]
    remote = _objects(there) if there else {}
    return [remote[path] if path in remote else _look_at(path) for path in paths]


def cut(inputs: Sequence[InputFile], size: PartSize, *, format: str | None, delimiter: str | None) -> list[Part]:
    """Return the parts: every record lies in one of them, in the order of the input. Raises InputError, UsageError."""
    parts: list[Part] = []
    group: list[_Atom] = []
    for atom in _atoms(inputs, size, format, delimiter):
        if group and (_amount([*group, atom], size) > size.amount or len(group) == MOST_FILES):
            parts.append(_part(group))
            group = []
        group.append(atom)
    return [*parts, _part(group)] if group else parts


def _atoms(inputs: Sequence[InputFile], size: PartSize, format: str | None, delimiter: str | None) -> Iterator[_Atom]:
    typical: dict[str, float] = {}
    """By format, the bytes of a record in the first file that has any."""
    for number, file in enumerate(inputs):
        form = format_of(file.path, format, delimiter)
        try:
            if form == "parquet":
                yield from _row_groups(number, file, size)
                continue
            length = typical.get(form)
            is_large = length is None or file.size > (length if size.unit == "records" else 1) * size.amount
            # The name of a small object has to do: to look into each of thousands takes long.
            is_packed = is_compressed(file.path) if is_large or not is_remote(file.path) else has_compression(file.path)
            if length is None or (is_large and size.unit == "records"):
                length = typical[form] = _bytes_of_a_record(file.path) if not is_packed else 100.0 * DENSE
            if is_packed or form not in LINE_FORMATS:
                records = file.size / length * (DENSE if is_packed else 1)
                yield _Atom(Piece(number), round(records), file.size)
            else:
                yield from _lines(number, file, length, size)
        except OSError as error:
            raise InputError(f"cannot read {title(file.path)}: {error.strerror}") from error


def _lines(number: int, file: InputFile, length: float, size: PartSize) -> Iterator[_Atom]:
    """Cut a file of lines into equal parts, each of which ends behind a newline."""
    step = size.amount * length if size.unit == "records" else float(size.amount)
    count = max(1, round(file.size / step))
    start = 0
    with closing(bytes_at(file.path)) as source:
        for place in range(1, count if source.has_ranges else 1):
            end = _behind_newline(source, max(start, round(file.size * place / count) - 1))
            if end >= file.size:
                break
            if end > start:
                yield _Atom(Piece(number, start, end), round((end - start) / length), end - start)
                start = end
    if start < file.size or not start:
        yield _Atom(Piece(number, start, None), round((file.size - start) / length), file.size - start)


def _behind_newline(source: BytesAt, place: int) -> int:
    """Return where the line that has the byte at a place ends, behind its newline; the end of the file without one."""
    while piece := source.read_at(place, _PIECE):
        newline = piece.find(b"\n")
        if newline >= 0:
            return place + newline + 1
        place += len(piece)
    return place


def _row_groups(number: int, file: InputFile, size: PartSize) -> Iterator[_Atom]:
    rows = rows_of_groups(file.path)
    start = done = 0
    for end, count in enumerate(rows, 1):
        done += count
        share = file.size * (end - start) // len(rows)
        if end == len(rows) or (done if size.unit == "records" else share) >= size.amount:
            is_whole = start == 0 and end == len(rows)
            yield _Atom(Piece(number) if is_whole else Piece(number, start, end), done, share)
            start, done = end, 0
    if not rows:
        yield _Atom(Piece(number), 0, file.size)


def _bytes_of_a_record(path: str) -> float:
    with closing(bytes_at(path)) as source:
        sample = source.read_at(0, SAMPLE)
    return len(sample) / max(1, sample.count(b"\n")) if sample else 100.0


def _amount(group: Sequence[_Atom], size: PartSize) -> int:
    return sum(atom.records if size.unit == "records" else atom.bytes for atom in group)


def _part(group: Sequence[_Atom]) -> Part:
    return Part(tuple(atom.piece for atom in group), sum(atom.records for atom in group))


def _objects(paths: Sequence[str]) -> dict[str, InputFile]:
    from llmbatch.input.remote import facts_of  # few runs have one

    names = list(dict.fromkeys(paths))
    return {
        name: InputFile(name, facts.size, tag=facts.tag) for name, facts in zip(names, facts_of(names), strict=True)
    }


def _look_at(path: str) -> InputFile:
    try:
        status = os.stat(path) if path != "-" else os.fstat(0)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if path == "-" or not stat.S_ISREG(status.st_mode):
        raise UsageError(
            f"{'stdin' if path == '-' else path} can be read only once, and parts are read from a plan",
            "Put the input into a file, or name a FILE instead of DIR/.",
        )
    return InputFile(path, status.st_size, status.st_mtime_ns)
