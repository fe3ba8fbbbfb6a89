"""Finds result lines in a file, and reads and checks them."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llmbatch.codec import json
from llmbatch.codec.digest import record_name
from llmbatch.core.errors import UsageError
from llmbatch.core.job import Identity

__all__ = [
    "MOST_SAMPLES",
    "Line",
    "Read",
    "broken",
    "foreign",
    "glance",
    "key_fingerprint",
    "line_at",
    "name_of",
    "name_of_line",
    "parse",
    "place_of",
    "sample_of",
    "scan",
    "torn_tail",
    "whole_lines",
]

CHUNK = 1 << 20
MOST_SAMPLES = 1023
"""The highest number of a sample."""

_BEGINNING = re.compile(
    rb'\{"id":(?:-?\d+|null|"[^"\\]*"),(?:"occurrence":\d+,)?"index":(\d+),"status":"(?:ok|failed)"'
)
"""A line as we write it, unless its id has escapes."""

_STATUS = ("ok", "failed")


class Line(NamedTuple):
    """One result line: where it begins, its bytes without the newline, and its fields (None: not a result)."""

    number: int
    offset: int
    raw: bytes
    fields: dict[str, Any] | None


def parse(raw: bytes) -> dict[str, Any] | None:
    """Read one line; None when it is not a result line of ours."""
    try:
        return _result(json.loads(raw))
    except ValueError:
        return None


def glance(raw: bytes) -> dict[str, Any] | None:
    """Read one line as `parse` does, faster: very large integers other than the id may come rounded."""
    try:
        fields = _result(json.loads_rounded(raw))
    except ValueError:
        return None
    return fields if fields is not None else parse(raw)


def place_of(raw: bytes) -> tuple[int, int] | None:
    """Return the index of a line's record in the input, and its sample; None when it is not a result line of ours.

    Lines that we wrote have it at their beginning, so that the rest need not be parsed.
    """
    beginning = _BEGINNING.match(raw)
    if beginning is not None:
        return int(beginning[1]), 0
    fields = glance(raw)
    return (fields["index"], sample_of(fields)) if fields is not None else None


def sample_of(fields: Mapping[str, Any]) -> int:
    """Return which sample of its record a line is, from 0."""
    sample = fields.get("sample")
    return sample if type(sample) is int and 0 < sample <= MOST_SAMPLES else 0


def _result(fields: Any) -> dict[str, Any] | None:
    """Return the fields of a line if they are those of a result."""
    if not isinstance(fields, dict) or fields.get("status") not in _STATUS:
        return None
    if not isinstance(fields.get("record"), str) or not isinstance(fields.get("index"), int):
        return None
    key, id = fields.get("key"), fields.get("id")
    if key is not None and not _is_digest(key):
        return None
    fine = id is None or isinstance(id, (str, int))
    return fields if fine and isinstance(fields.get("occurrence", 0), int) else None


def _is_digest(key: Any) -> bool:
    try:
        return len(key) >= 16 and int(key[:16], 16) >= 0
    except (TypeError, ValueError):
        return False


Read = Callable[[bytes], dict[str, Any] | None]
"""`parse` or `glance`."""


def scan(fd: int, size: int, start: int = 0, *, piece: int = CHUNK, read: Read = parse) -> Iterator[Line]:
    """Yield the complete lines between two offsets, in order. Blank lines are skipped."""
    for number, (offset, raw) in enumerate(whole_lines(fd, size, start, piece=piece), 1):
        if raw.strip():
            yield Line(number, offset, raw, read(raw))


def whole_lines(fd: int, size: int, start: int = 0, *, piece: int = CHUNK) -> Iterator[tuple[int, bytes]]:
    """Yield where each complete line between two offsets begins, blank ones too, and its bytes without the newline."""
    offset = start
    pieces: list[bytes] = []
    position = start
    while position < size:
        chunk = os.pread(fd, min(piece, size - position), position)
        if not chunk:
            break
        position += len(chunk)
        lines = chunk.split(b"\n")
        if len(lines) == 1:
            pieces.append(chunk)
            continue
        lines[0] = b"".join((*pieces, lines[0]))
        pieces = [lines.pop()]
        for raw in lines:
            yield offset, raw
            offset += len(raw) + 1


def line_at(fd: int, offset: int) -> Line | None:
    """Return the complete line that begins at an offset."""
    return next(scan(fd, os.fstat(fd).st_size, offset, piece=1 << 14), None)


def torn_tail(fd: int, size: int) -> int:
    """Return where the last complete line ends; bytes after it are a line that a crash cut."""
    position = size
    while position > 0:
        start = max(0, position - CHUNK)
        chunk = os.pread(fd, position - start, start)
        newline = chunk.rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0


def foreign(path: Path) -> UsageError:
    """Return the error for a file that is not a results file."""
    return UsageError(
        f"{path} is not a results file of llmbatch: its first line is something else",
        "Choose another -o FILE, or replace it with --overwrite.",
    )


def broken(path: Path, number: int) -> UsageError:
    """Return the error for a results file with a line that is not a result."""
    return UsageError(
        f"{path}, line {number} is not a result line; it may hold a paid answer",
        "Correct it by hand, or let --move-broken move such lines to FILE.state.",
    )


def name_of(identity: Identity) -> int:
    """Return the name of an identity, computed once."""
    if not identity.name:
        identity.name = record_name(identity.id, identity.record, identity.occurrence, identity.sample)
    return identity.name


def name_of_line(fields: dict[str, Any]) -> int:
    """Return the name of the record that a line belongs to."""
    return record_name(fields.get("id"), fields["record"], fields.get("occurrence", 0), sample_of(fields))


def key_fingerprint(key: str | None) -> int:
    """Return 64 bits for a request's key; 0 for none."""
    return int(key[:16], 16) if key else 0
