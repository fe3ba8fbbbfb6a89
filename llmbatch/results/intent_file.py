"""Writes and reads intents and their marks as they are on disk.

Entries have a fixed width and checksums. A mark is two bytes, a number and its complement, so that one changed bit
shows: a checksum over all marks would cost more than the mark.
"""

import struct
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from llmbatch.core.errors import UsageError
from llmbatch.results.storage import boot

__all__ = [
    "MARKS",
    "MOST",
    "SETTLED",
    "Header",
    "Intent",
    "Left",
    "marks_name",
    "pack",
    "pack_header",
    "place_of_marks",
    "read_left",
]

SETTLED = 255
"""The mark of an entry whose record has its line."""
MOST = 254
"""The mark of an entry with so many attempts of unknown outcome, or more."""
MARKS = tuple(bytes([mark, mark ^ 0xFF]) for mark in range(256))
"""Marks as they are written."""

_MOST_BEFORE = 127
"""Of attempts, what an entry has room for."""

_MAGIC = b"LLMBINT3"
_HEADER = struct.Struct("<8sB16sII")
_ENTRY = struct.Struct("<QQBII")
_CONTENT = struct.Struct("<QQBI")

_EARLIER_MAGIC = b"llmbint2"
_EARLIER_HEADER = struct.Struct("<8s36sB")
_EARLIER_ENTRY = struct.Struct("<QQBI")
_EARLIER_CONTENT = struct.Struct("<QQB")

HEADER_SIZE, ENTRY_SIZE = _HEADER.size, _ENTRY.size


class Intent(NamedTuple):
    """A record that was planned: the fingerprints of identity and key, and whether it had a line already."""

    identity: int
    key: int
    redo: bool


class Header(NamedTuple):
    """The beginning of the file of intents.

    `turn` says which of the two files of marks belongs to it, `place` where the marks were set. The first `kept`
    entries were in doubt already when the file was begun: their marks are synced.
    """

    turn: int
    place: bytes
    kept: int


class Left(NamedTuple):
    """What a run left: its intents with their marks, the last one of each request.

    `damage` says what is wrong with the files if they lack intents of requests that may have left.
    """

    turn: int = 0
    entries: Iterable[tuple[Intent, int]] = ()
    damage: str | None = None


def marks_name(turn: int) -> str:
    """Name the file of marks."""
    return f"marks-{turn}"


def place_of_marks(marks: Path, storage: bytes) -> bytes:
    """Name in 16 bytes the storage and the file in which marks are set: a copy of the file may be older than they."""
    try:
        number = marks.stat().st_ino
    except FileNotFoundError:
        number = 0
    return blake2b(b"%s%d" % (storage, number), digest_size=16).digest()


def pack_header(header: Header) -> bytes:
    """Return the header as it is written."""
    fields = (_MAGIC, header.turn, header.place, header.kept)
    return _HEADER.pack(*fields, zlib.crc32(_HEADER.pack(*fields, 0)))


def pack(intents: Sequence[tuple[int, int, bool]], marks: Iterable[int], first: int) -> bytes:
    """Return entries as they are written, all with one sync; `first` is the number of the first.

    An entry tells its first mark as well: how many attempts were in doubt then. So that is known though marks are lost.
    """
    checksum, content, entry = zlib.crc32, _CONTENT.pack, _ENTRY.pack
    numbers = (redo | (min(_MOST_BEFORE, mark)) << 1 for (_, _, redo), mark in zip(intents, marks, strict=True))
    return b"".join(
        [
            entry(identity, key, number, first, checksum(content(identity, key, number, first)))
            for (identity, key, _), number in zip(intents, numbers, strict=True)
        ]
    )


def read_left(folder: Path, storage: bytes, *, begun: bool) -> Left:
    """Read what an earlier run left in a folder. `begun` says that there was one.

    On other storage than that of the run, and in a copy, marks may be older than what was sent: then planned entries
    count as sent. Raises UsageError for files of another version, OSError.
    """
    path = folder / "intents"
    try:
        data, marks = _read_both(folder)
    except FileNotFoundError:
        return Left(damage=f"{path} is gone") if begun or _have_marks(folder) else Left()
    if data[: len(_EARLIER_MAGIC)] == _EARLIER_MAGIC:
        return _read_earlier(folder, data)
    header = _header(data)
    if header is None:
        if data[:7] in (_MAGIC[:7], _EARLIER_MAGIC[:7]) and len(data) >= _HEADER.size and data[:8] != _MAGIC:
            raise UsageError(f"{path} was written by another version of llmbatch", "Use that version, or --overwrite.")
        return Left(damage=f"{path} is damaged")
    is_same = header.place == place_of_marks(folder / marks_name(header.turn), storage)
    hurt = _is_damaged(data, marks, header.kept, is_same)
    entries = _latest(data, header.kept, marks.as_set if is_same else marks.as_synced)
    return Left(header.turn, entries, f"{path} is damaged" if hurt else None)


class _Marks:
    """The marks as they are on disk. `before` is how many attempts were in doubt when an entry was made."""

    def __init__(self, data: bytes) -> None:
        self._numbers, self._complements = data[::2], data[1::2]

    def at(self, place: int) -> int:
        """Return the mark of an entry, -1 for one that is missing or not valid."""
        if place >= len(self._complements):
            return -1
        number = self._numbers[place]
        return number if number ^ self._complements[place] == 0xFF else -1

    def as_set(self, place: int, before: int) -> int:
        """Return the mark of an entry on the storage where it was set, at least `before`, which is set last."""
        mark = self.at(place)
        # A mark was set before the entry was written, so an invalid one has been damaged since.
        return min(before + 1, MOST) if mark < 0 else max(mark, before)

    def as_synced(self, place: int, before: int) -> int:
        """Return the mark of an entry on other storage, where it may be older: a planned entry counts as sent."""
        mark = self.at(place)
        return mark if before < mark < SETTLED else min(before + 1, MOST)

    def is_sent(self, place: int) -> bool:
        """Say whether a request of an entry has left, and its outcome is unknown."""
        return 0 < self.at(place) < SETTLED

    def is_any_sent_from(self, place: int) -> bool:
        """Say the same of all entries from one on."""
        if not self._numbers[place:].translate(None, b"\0\xff"):
            return False
        return any(self.is_sent(one) for one in range(place, len(self._numbers)))


def _have_marks(folder: Path) -> bool:
    """Say whether there are marks of requests without intents; an empty file of marks is the first of a new folder."""
    files = [path for turn in (0, 1) if (path := folder / marks_name(turn)).exists()]
    return any(_Marks(path.read_bytes()).is_any_sent_from(0) for path in files)


def _read_both(folder: Path) -> tuple[bytes, _Marks]:
    """Read intents and marks, the marks first: a run may be adding to them. Raises FileNotFoundError for no intents."""
    while True:
        with (folder / "intents").open("rb") as file:
            header = file.read(_HEADER.size)
            try:
                turn = _HEADER.unpack(header)[1]
                marks = (folder / marks_name(turn)).read_bytes()
            except (FileNotFoundError, struct.error):
                marks = b""
            data = header + file.read()
        with (folder / "intents").open("rb") as file:
            if file.read(_HEADER.size) == header:  # no run has begun new files in between
                return data, _Marks(marks)


def _header(data: bytes) -> Header | None:
    if len(data) < _HEADER.size:
        return None
    *fields, checksum = _HEADER.unpack_from(data)
    if fields[0] != _MAGIC or zlib.crc32(_HEADER.pack(*fields, 0)) != checksum:
        return None
    return Header(*fields[1:])


def _unpack(data: bytes) -> Iterator[tuple[Intent, int, int] | None]:
    """Yield each entry, the number of the first that was synced with it, its first mark; None for an invalid one."""
    body = memoryview(data)[_HEADER.size :]
    body = body[: len(body) // _ENTRY.size * _ENTRY.size]
    for place, (identity, key, number, first, checksum) in enumerate(_ENTRY.iter_unpack(body)):
        at = place * _ENTRY.size
        valid = zlib.crc32(body[at : at + _CONTENT.size]) == checksum
        yield (Intent(identity, key, bool(number & 1)), first, number >> 1) if valid else None


def _is_damaged(data: bytes, marks: _Marks, kept: int, is_same_storage: bool) -> bool:
    """Say whether an entry is missing whose request may have left.

    A crash may cut or garble entries, but only those that were being written, and their requests had not left.
    """
    count, synced, invalid = 0, kept, array("I")
    for count, entry in enumerate(_unpack(data), 1):
        if entry is None:
            invalid.append(count - 1)
        elif not is_same_storage:
            synced = max(synced, entry[1])
    missing = count < kept or any(place < synced or marks.is_sent(place) for place in invalid)
    return missing or marks.is_any_sent_from(count)


def _latest(data: bytes, kept: int, mark_of: Callable[[int, int], int]) -> Iterator[tuple[Intent, int]]:
    """Yield the last entry of each request with its mark."""
    in_doubt: dict[tuple[int, int], tuple[Intent, int]] = {}
    for place, entry in enumerate(_unpack(data)):
        if entry is None:
            continue
        intent, _, before = entry
        if place < kept:
            # No request leaves for what is only kept: its mark cannot have grown.
            in_doubt[intent[:2]] = intent, mark_of(place, max(before - 1, 0))
        else:
            in_doubt.pop(intent[:2], None)
            yield intent, mark_of(place, before)
    yield from in_doubt.values()


def _read_earlier(folder: Path, data: bytes) -> Left:
    """Read intents in the layout of earlier versions: a boot instead of the storage, marks of one byte."""
    if len(data) < _EARLIER_HEADER.size:
        return Left(damage=f"{folder / 'intents'} is damaged")
    _, then, turn = _EARLIER_HEADER.unpack_from(data)
    try:
        marks = (folder / marks_name(turn & 1)).read_bytes()
    except FileNotFoundError:
        marks = b""
    rebooted = then.rstrip(b"\0").decode("utf-8", "replace") != boot()[:36]
    latest: dict[tuple[int, int], tuple[Intent, int]] = {}
    body = memoryview(data)[_EARLIER_HEADER.size :]
    body = body[: len(body) // _EARLIER_ENTRY.size * _EARLIER_ENTRY.size]
    for place, (identity, key, redo, checksum) in enumerate(_EARLIER_ENTRY.iter_unpack(body)):
        at = place * _EARLIER_ENTRY.size
        if zlib.crc32(body[at : at + _EARLIER_CONTENT.size]) == checksum:
            mark = marks[place] if place < len(marks) else 1
            lost = rebooted and mark in (0, SETTLED)
            latest[identity, key] = Intent(identity, key, bool(redo)), 1 if lost else mark
    return Left(turn & 1, latest.values())
