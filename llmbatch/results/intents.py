"""What was about to be sent: entered on disk before the first request leaves, so that a crash cannot hide it.

Two files. `intents` grows by one fixed-width entry per record, checksummed, everything read and not yet committed in
one write and one sync; zeros stand ahead of them, since a sync is cheaper where a file does not grow. `marks-0` or
`marks-1`, the header of `intents` says which, is mapped into memory, a byte per entry: how many attempts left whose
outcome was never learned, or SETTLED. A mark costs 0.2 us and survives the death of the process; the death of the
machine may lose it, and then every entry counts as sent.
"""

import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from llmbatch.core.errors import UsageError
from llmbatch.results import disk
from llmbatch.results.tampering import OpenFile, Tampering

__all__ = ["MOST", "SETTLED", "Intent", "Intents", "boot"]

SETTLED = 255
"""The mark of an entry whose record has its line."""

MOST = 254
"""The mark of one of which so many attempts, or more, left without a known outcome."""

_HEADER = struct.Struct("<8s36sB")

_ENTRY = struct.Struct("<QQBI")

_CONTENT = struct.Struct("<QQB")

_MAGIC = b"llmbint2"

_PIECE = 1 << 16

_AHEAD = 4096
"""Entries for which there is room ahead. A sync within takes 60 % of the CPU and 40 % of the time of one that grows the
file (ext4); the room itself costs one such sync."""


class Intent(NamedTuple):
    """A record that was planned: the fingerprints of identity and key, and whether it had a line already."""

    identity: int
    key: int
    redo: bool


class Intents:
    """The intents of one results file. Open with `Intents.open`, which also returns what an earlier run left."""

    def __init__(self, folder: Path, boot: str) -> None:
        self._folder, self._path, self._boot = folder, folder / "intents", boot
        self._turn = 0
        """Which of the two files of marks goes with the entries."""
        self._fd = -1
        self._held: OpenFile
        self._count = 0
        self._room = 0
        """The size of the file of entries."""
        self._marks: mmap.mmap | None = None

    @classmethod
    def open(cls, folder: Path, boot: str) -> "tuple[Intents, Iterator[tuple[Intent, int]]]":
        """Look at the two files; return also the entries left with their marks, one per identity and key.

        After a reboot every mark counts as sent. Nothing can be planned before `begin`. Raises UsageError for files of
        a newer version.
        """
        intents = cls(folder, boot)
        return intents, intents._left()

    def begin(self, entries: Iterable[tuple[Intent, int]]) -> None:
        """Start anew with these entries and their marks: what is still in doubt.

        The new entries bring their marks with them, in the file that the old ones do not use: killed at any point,
        either both are old or both are new.
        """
        self.close()
        kept = list(entries)
        marks = bytes(mark for _, mark in kept) or b"\0"
        before, turn = self._marks_path, 1 - self._turn
        header = _HEADER.pack(_MAGIC, self._boot.encode()[:36], turn)
        disk.replace(self._folder / "marks.new", self._folder / f"marks-{turn}", [marks])
        disk.replace(self._path.with_suffix(".new"), self._path, [header, _packed(intent for intent, _ in kept)])
        self._turn = turn
        disk.remove(before)
        self._fd = disk.create(self._path, appending=False)
        self._held = OpenFile(self._fd, self._path)
        self._count = len(kept)
        self._room = os.lseek(self._fd, 0, os.SEEK_END)
        self._map(len(marks))

    def plan(self, intents: Sequence[tuple[int, int, bool]], marks: Sequence[int], *, sync: bool) -> int:
        """Enter records, what an Intent has of each, one write and one sync for all; return the place of the first.

        Raises OSError.
        """
        first = self._count
        if first + len(intents) > self._size:
            self._map(max(self._size * 2, first + len(intents), _PIECE))
        assert self._marks is not None
        self._marks[first : first + len(marks)] = bytes(marks)
        start, entries = _HEADER.size + first * _ENTRY.size, _packed(intents)
        try:
            if start + len(entries) > self._room:
                zeros = bytes(len(entries) + _AHEAD * _ENTRY.size)
                disk.append(self._fd, zeros)
                self._room = start + len(zeros)
                os.lseek(self._fd, start, os.SEEK_SET)
            disk.append(self._fd, entries)
        except OSError:
            disk.cut(self._fd, start)
            self._room = os.lseek(self._fd, start, os.SEEK_SET)
            raise
        if sync:
            disk.sync(self._fd)
        self._count += len(intents)
        return first

    def tampering(self) -> Tampering | None:
        """Say what somebody else did to the entries: without them a crash would hide what was sent."""
        return self._held.tampering()

    def mark(self, place: int, value: int) -> None:
        """Set a mark."""
        assert self._marks is not None
        self._marks[place] = value

    def settle(self, places: Iterable[int]) -> None:
        """Mark that these records have their lines."""
        marks = self._marks
        assert marks is not None
        for place in places:
            marks[place] = SETTLED

    def left(self) -> list[tuple[Intent, int]]:
        """Return the entries that are neither planned only nor settled, with their marks, one per identity and key."""
        assert self._marks is not None
        marks = self._marks[: self._count]
        if not marks.translate(None, b"\0\xff"):
            return []
        latest = _latest(self._path.read_bytes(), marks.__getitem__)
        return [(intent, mark) for intent, mark in latest if 0 < mark < SETTLED]

    def close(self) -> None:
        """Close both files."""
        self._marks = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def _marks_path(self) -> Path:
        return self._folder / f"marks-{self._turn}"

    @property
    def _size(self) -> int:
        return len(self._marks) if self._marks is not None else 0

    def _map(self, size: int) -> None:
        # The map before is left to whoever is just setting a mark in it: both show the same pages.
        fd = disk.create(self._marks_path)
        try:
            if os.fstat(fd).st_size < size:
                disk.reserve(fd, size)
            self._marks = mmap.mmap(fd, size)
        finally:
            os.close(fd)

    def _left(self) -> Iterator[tuple[Intent, int]]:
        """Read what an earlier run left. An entry cut or damaged by a crash never led to a request: it is dropped."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return iter(())
        if len(data) < _HEADER.size:
            return iter(())
        magic, boot, turn = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise UsageError(
                f"{self._path} was written by another version of llmbatch", "Use that version, or --overwrite."
            )
        self._turn = turn & 1
        try:
            marks = self._marks_path.read_bytes()
        except FileNotFoundError:
            marks = b""
        rebooted = boot.rstrip(b"\0").decode() != self._boot[:36]

        def mark_of(place: int) -> int:
            # Marks are there before entries: where one is missing, somebody lost it.
            mark = marks[place] if place < len(marks) else 1
            return 1 if rebooted and mark in (0, SETTLED) else mark

        return _latest(data, mark_of)


def _latest(data: bytes, mark_of: Callable[[int], int]) -> Iterator[tuple[Intent, int]]:
    """Yield the last entry of each request with its mark: it was planned knowing those before."""
    last: dict[tuple[int, int], tuple[Intent, int]] = {}
    for place, intent in _unpack(data):
        last[intent.identity, intent.key] = intent, mark_of(place)
    yield from last.values()


def _packed(intents: Iterable[tuple[int, int, bool]]) -> bytes:
    checksum, content, entry = zlib.crc32, _CONTENT.pack, _ENTRY.pack
    return b"".join(
        [entry(identity, key, redo, checksum(content(identity, key, redo))) for identity, key, redo in intents]
    )


def _unpack(data: bytes) -> Iterator[tuple[int, Intent]]:
    """Yield the entries that are whole, each with its place."""
    body = memoryview(data)[_HEADER.size :]
    whole = body[: len(body) // _ENTRY.size * _ENTRY.size]
    for place, (identity, key, redo, checksum) in enumerate(_ENTRY.iter_unpack(whole)):
        at = place * _ENTRY.size
        if zlib.crc32(whole[at : at + _CONTENT.size]) == checksum:
            yield place, Intent(identity, key, bool(redo))


def boot() -> str:
    """Name this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"boot {round((time.time() - time.monotonic()) / 60)}"
