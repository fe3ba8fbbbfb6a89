"""The files of one ticket: the bytes that are uploaded, the records in them, and the rows that came back.

`T.in` has a line per request, as the provider wants it. `T.members` has a line for each of those, in the same order:
the record, or a list of the records that share the request, with all that a result line needs, and what lets a record
be sent again. Both are on the disk before the ticket is.
"""

import os
from array import array
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from llmbatch.codec import json
from llmbatch.core.attempts import ALONE, Attempts
from llmbatch.core.exchange import Expected
from llmbatch.core.job import Identity, Job, Route
from llmbatch.core.ticket import Member, Ticket
from llmbatch.results import disk
from llmbatch.results.row_file import row_lines

__all__ = ["BackWriter", "ChunkFiles", "ChunkWriter", "MemberReader", "members_line", "members_of"]

_GATHER = 1 << 18
"""Bytes that are written at once."""
_PIECE = 1 << 20


def members_line(jobs: Sequence[Job], expected: Expected) -> bytes:
    """Return the records of a request as they are remembered while their batch runs."""
    if len(jobs) == 1:
        return json.dumps(_fields(Member(jobs[0], expected.entries))) + b"\n"
    pairs = zip(jobs, expected.weights, strict=True)
    return json.dumps([_fields(Member(job, expected.entries, weight)) for job, weight in pairs]) + b"\n"


def _fields(member: Member) -> dict[str, Any]:
    job = member.job
    identity, attempts = job.identity, job.attempts
    fields: dict[str, Any] = {
        "id": identity.id,
        "record": identity.record,
        "occurrence": identity.occurrence,
        "index": identity.index,
        "repeat": identity.repeat,
        "key": job.key,
        "meta": job.meta,
        "n": [
            job.tokens,
            job.token_cap,
            attempts.sent,
            attempts.retries,
            attempts.unusable_answers,
            attempts.unknown_outcomes,
            attempts.server_errors,
            attempts.possibly_billed,
            job.intent_slot,
            member.entries,
            member.line,
            member.weight,
            -1 if member.place is None else member.place,
        ],
        "flags": (1 if job.redo else 0) | (2 if job.keep_body else 0) | (4 if attempts.pack_group == ALONE else 0),
        "cost": [job.prior_cost, attempts.cost, job.worst_cost],
    }
    if job.input is not None:
        fields["input"] = job.input
    return fields


def members_of(line: bytes, route: Route) -> list[Member]:
    """Return the records of a line. Raises ValueError, LookupError or TypeError for what is none."""
    found = json.loads(line)
    return [_member(fields, route) for fields in (found if isinstance(found, list) else [found])]


def _member(fields: dict[str, Any], route: Route) -> Member:
    tokens, cap, sent, retries, unusable, unknown, errors, billed, slot, entries, *more = fields["n"]
    line, weight, place = (*more, -1, 0, -1)[:3] if len(more) < 3 else more
    prior, cost, worst = fields["cost"]
    job = Job(
        Identity(fields["index"], fields["id"], fields["record"], fields["occurrence"], repeat=fields.get("repeat", 0)),
        fields["key"],
        route,
        {},
        fields["meta"],
        tokens,
        cap,
        fields.get("input"),
        bool(fields["flags"] & 2),
        intent_slot=slot,
        redo=bool(fields["flags"] & 1),
        worst_cost=worst,
        prior_cost=prior,
        attempts=Attempts(
            sent,
            retries,
            unusable,
            unknown,
            errors,
            possibly_billed=billed,
            cost=cost,
            pack_group=ALONE if fields["flags"] & 4 else 0,
        ),
    )
    return Member(job, entries, weight, line, None if place < 0 else place)


class ChunkWriter:
    """Writes the first two files of a ticket while its records are chosen."""

    def __init__(self, files: "ChunkFiles", before: bytes, between: bytes, after: bytes) -> None:
        self._files = files
        self._between, self._after = between, after
        self._open: list[int] = []
        try:
            for path in (files.input, files.members):
                self._open.append(disk.create(path, exclusive=True))
        except OSError:
            self._end()
            raise
        self._in, self._members = self._open
        self._lines: list[bytes] = [before] if before else []
        self._who: list[bytes] = []
        self._waiting = 0
        self._hash = sha256()
        self.count = 0
        self.size = len(before) + len(after)

    def add(self, line: bytes, members: bytes) -> None:
        """Add a request. Raises OSError."""
        if self.count:
            self._lines.append(self._between)
            self.size += len(self._between)
        self._lines.append(line)
        self._who.append(members)
        self.count += 1
        self.size += len(line)
        self._waiting += len(line) + len(members)
        if self._waiting >= _GATHER:
            self._flush()

    def close(self) -> str:
        """Put both files on the disk; return the digest of the first. Raises OSError."""
        self._lines.append(self._after)
        self._flush()
        for fd in (self._in, self._members):
            disk.sync(fd)
        self._end()
        disk.sync_folder(self._files.input.parent)
        return self._hash.hexdigest()

    def drop(self) -> None:
        """Remove what was written. Raises OSError."""
        self._end()
        self._files.remove()

    def _end(self) -> None:
        while self._open:
            os.close(self._open.pop())

    def _flush(self) -> None:
        lines = b"".join(self._lines)
        self._hash.update(lines)
        disk.append(self._in, lines)
        disk.append(self._members, b"".join(self._who))
        self._lines, self._who, self._waiting = [], [], 0


class BackWriter:
    """Writes which records a batch gave back, each with its line and its place there."""

    def __init__(self, path: Path) -> None:
        disk.remove(path)  # what a run before this one left
        self._fd = disk.create(path, exclusive=True)
        self._lines: list[bytes] = []
        self._waiting = 0

    def add(self, member: Member) -> None:
        """Add a record. Raises OSError."""
        self._lines.append(json.dumps(_fields(member)) + b"\n")
        self._waiting += len(self._lines[-1])
        if self._waiting >= _GATHER:
            self._flush()

    def close(self) -> None:
        """Close the file. Raises OSError."""
        try:
            self._flush()
        finally:
            os.close(self._fd)

    def _flush(self) -> None:
        disk.append(self._fd, b"".join(self._lines))
        self._lines, self._waiting = [], 0


class ChunkFiles:
    """Where the files of a ticket are."""

    def __init__(self, folder: Path, tag: str) -> None:
        self._folder, self._tag = folder, tag
        self.input = folder / f"{tag}.in"
        self.members = folder / f"{tag}.members"
        self.back = folder / f"{tag}.back"

    def output(self, number: int) -> Path:
        """Return the file of rows with this number, from 0."""
        return self._folder / f"{self._tag}.out{number}"

    def outputs(self) -> list[Path]:
        """Return the files of rows that are there."""
        numbers = range(64)
        return [path for number in numbers if (path := self.output(number)).exists()]

    def count_rows(self) -> int:
        """Count the rows that were fetched. Raises OSError."""
        return sum(1 for line in self.row_lines() if not line.isspace())

    def add_rows(self, number: int, rows: bytes, *, anew: bool) -> None:
        """Write rows to the part with this number, behind others unless they begin `anew`. Raises OSError."""
        fd = disk.create(self.part(number))
        try:
            if anew:
                disk.cut(fd, 0)
            disk.append(fd, rows)
            disk.sync(fd)
        finally:
            os.close(fd)

    def land(self, number: int) -> None:
        """Give a fetched file its name. Raises OSError."""
        disk.rename(self.part(number), self.output(number))
        disk.sync_folder(self._folder)

    def part(self, number: int) -> Path:
        """Return where a file of rows is written until it is whole."""
        return self._folder / f"{self._tag}.part{number}"

    def remove(self) -> None:
        """Remove the files. Raises OSError."""
        for path in sorted(self._folder.glob(f"{self._tag}.*")):
            if path.suffix != ".kept":
                disk.remove(path)

    def row_lines(self) -> Iterator[bytes]:
        """Yield the rows of all outputs. Raises OSError."""
        for path in self.outputs():
            yield from row_lines(path)

    def back_lines(self) -> Iterator[bytes]:
        """Yield the lines of the records that were given back. Raises OSError."""
        return _lines(self.back)

    def member_lines(self) -> Iterator[bytes]:
        """Yield the lines of the members. Raises OSError."""
        return _lines(self.members)


class MemberReader:
    """Reads single lines of the first two files by number."""

    def __init__(self, files: ChunkFiles, ticket: Ticket, shift: int = 0) -> None:
        self._ticket = ticket
        self._shift = shift
        self._members = os.open(files.members, os.O_RDONLY | os.O_CLOEXEC)
        self._input = files.input
        self._input_fd = -1
        self._at = _offsets(files.members)
        self._input_at: array[int] | None = None

    def __len__(self) -> int:
        return len(self._at) - 1

    def of(self, line: int) -> list[Member]:
        """Return the records of a line. Raises as `members_of` does."""
        start, end = self._at[line], self._at[line + 1]
        members = members_of(os.pread(self._members, end - start, start), self._ticket.route)
        for place, member in enumerate(members):
            member.line, member.place = line, place if len(members) > 1 else None
        return members

    def line(self, number: int) -> bytes:
        """Return the line of a request as it was sent. Raises OSError."""
        if self._input_at is None:
            self._input_fd = os.open(self._input, os.O_RDONLY | os.O_CLOEXEC)
            self._input_at = _offsets(self._input)
        number += self._shift
        start, end = self._input_at[number], self._input_at[number + 1]
        return os.pread(self._input_fd, end - start, start)

    def close(self) -> None:
        """Close both."""
        os.close(self._members)
        if self._input_fd >= 0:
            os.close(self._input_fd)


def _offsets(path: Path) -> "array[int]":
    """Return where each line of a file begins, and where the last one ends."""
    at, found = 0, array("Q", [0])
    for line in _lines(path):
        at += len(line)
        found.append(at)
    return found


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, each with its newline."""
    with open(path, "rb", buffering=_PIECE) as file:
        yield from file
