"""Enters on disk what will be sent before the first request leaves, so that a crash cannot hide it.

There are two files. `intents` grows by one checksummed entry per record: all records that were read and not yet entered
are written and synced together; zeros are written ahead of them, since a sync is cheaper when the file does not grow.
`marks-0` or `marks-1`, as the header of `intents` says, is mapped into memory and has a mark for each entry: the number
of attempts that left and whose outcome was never learned, or SETTLED. A mark costs next to nothing and survives the
death of the process. The loss of the storage may lose marks since the last sync, and a copy of the file may be older;
then every entry counts as sent.
"""

import mmap
import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

from llmbatch.results import disk
from llmbatch.results.intent_file import (
    ENTRY_SIZE,
    HEADER_SIZE,
    MARKS,
    MOST,
    SETTLED,
    Header,
    Intent,
    Left,
    marks_name,
    pack,
    pack_header,
    place_of_marks,
    read_left,
)
from llmbatch.results.tampering import OpenFile, Tampering

__all__ = ["MOST", "SETTLED", "Intent", "Intents", "Left"]

_MARK_SIZE = MARKS.itemsize
_SETTLED = MARKS[SETTLED]
_PIECE = 1 << 16
"""Marks for which the file has room from the beginning."""
_AHEAD = 4096
"""Entries for which zeros are written ahead: a sync is far cheaper when the file does not grow."""


class Intents:
    """The intents of one results file. Open with `Intents.open`, which also returns what an earlier run left."""

    def __init__(self, folder: Path, storage: bytes) -> None:
        self._folder, self._path, self._storage = folder, folder / "intents", storage
        self._turn = 0
        """Which of the two files of marks belongs to the entries."""
        self._fd = -1
        self._file: OpenFile
        self._count = 0
        self._room = 0
        """The size of the file of entries."""
        self._map: mmap.mmap
        self._marks: memoryview | None = None
        self.marks_overdue = False
        """Whether a mark was set that should be synced soon, even if nothing else is."""

    @classmethod
    def open(cls, folder: Path, storage: bytes, *, begun: bool = False) -> "tuple[Intents, Left]":
        """Read the two files; return also what an earlier run left in them. `begun` says that there was one.

        Nothing can be planned before `begin`. Raises UsageError for files of another version, OSError.
        """
        intents = cls(folder, storage)
        left = read_left(folder, storage, begun=begun)
        intents._turn = left.turn
        return intents, left

    def begin(self, entries: Iterable[tuple[Intent, int]]) -> None:
        """Replace all entries by these, which are still in doubt, and their marks.

        The new marks go to the file that the old entries do not use, so that a crash at any point leaves both old or
        both new.
        """
        self.close()
        kept = list(entries)
        marks = array("H", [MARKS[mark] for _, mark in kept] or [0])
        before, turn = self._marks_path, 1 - self._turn
        marked = self._folder / marks_name(turn)
        disk.replace(self._folder / "marks.new", marked, [marks.tobytes()])
        header = pack_header(Header(turn, place_of_marks(marked, self._storage), len(kept)))
        disk.replace(
            self._path.with_suffix(".new"),
            self._path,
            [header, pack([intent for intent, _ in kept], [mark for _, mark in kept], 0)],
        )
        self._turn = turn
        disk.remove(before)
        self._fd = disk.create(self._path, appending=False)
        self._file = OpenFile(self._fd, self._path)
        self._count = len(kept)
        self._room = os.lseek(self._fd, 0, os.SEEK_END)
        self._map_marks(len(marks))

    def plan(self, intents: Sequence[tuple[int, int, bool]], attempts: Sequence[int], *, sync: bool) -> int:
        """Enter records (the fields of an Intent) with one write and one sync; return the number of the first.

        `attempts` counts for each those whose outcome is not known. Raises OSError.
        """
        marks = attempts if max(attempts, default=0) <= MOST else [min(MOST, count) for count in attempts]
        first = self._count
        if first + len(intents) > self._size:
            self._map_marks(max(self._size * 2, first + len(intents), _PIECE))
        assert self._marks is not None
        self._marks[first : first + len(marks)] = memoryview(array("H", map(MARKS.__getitem__, marks)))
        start, entries = HEADER_SIZE + first * ENTRY_SIZE, pack(intents, marks, first)
        try:
            if start + len(entries) > self._room:
                zeros = bytes(len(entries) + _AHEAD * ENTRY_SIZE)
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
        """Say what others did to the file of entries, without which a crash would hide what was sent."""
        return self._file.tampering()

    def mark(self, place: int, attempts: int) -> None:
        """Mark how many attempts of a record there were whose outcome is not known."""
        assert self._marks is not None
        self._marks[place] = MARKS[attempts if attempts < MOST else MOST]  # noqa: FURB136 - min() takes twice as long

    def settle(self, places: Iterable[int]) -> None:
        """Mark that these records have their lines."""
        marks = self._marks
        assert marks is not None
        for place in places:
            marks[place] = _SETTLED

    def sync_marks(self) -> None:
        """Sync the marks to the disk. Never needed for safety: without it, entries count as sent."""
        self.marks_overdue = False
        if self._marks is not None:
            disk.sync_map(self._map)

    def left(self) -> list[tuple[Intent, int]]:
        """Return the entries in doubt, neither only planned nor settled, with their marks: one per identity and key."""
        assert self._marks is not None
        if not bytes(self._marks[: self._count])[::2].translate(None, b"\0\xff"):
            return []
        left = read_left(self._folder, self._storage, begun=True)
        return [(intent, mark) for intent, mark in left.entries if 0 < mark < SETTLED]

    def close(self) -> None:
        """Close both files."""
        self._marks = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def _marks_path(self) -> Path:
        return self._folder / marks_name(self._turn)

    @property
    def _size(self) -> int:
        return len(self._marks) if self._marks is not None else 0

    def _map_marks(self, count: int) -> None:
        # Another thread may still set a mark in the old map: both maps show the same pages.
        fd, size = disk.create(self._marks_path), count * _MARK_SIZE
        try:
            if os.fstat(fd).st_size < size:
                disk.reserve(fd, size)
            self._map = mmap.mmap(fd, size)
            self._marks = memoryview(self._map).cast("H")
        finally:
            os.close(fd)
