"""Enters on disk what will be sent before the first request leaves, so that a crash cannot hide it.

There are two files. `intents` grows by one checksummed entry per record: all records that were read and not yet entered
are written and synced together; zeros are written ahead of them, since a sync is cheaper when the file does not grow.
`marks-0` or `marks-1`, as the header of `intents` says, has a mark for each entry: the number of attempts that left and
whose outcome was never learned, or SETTLED. A mark is written without a sync: that costs little and survives the death
of the process. It is not set in mapped memory: a disk that refuses a page of that kills the process. The loss of the
storage may lose marks since the last sync, and a copy of the file may be older; then every entry counts as sent.
"""

import os
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

_MARK_SIZE = len(MARKS[0])
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
        self._marks_fd = -1
        self._size = 0
        """How many marks the file of marks has room for."""
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
        marks = b"".join(MARKS[mark] for _, mark in kept)
        before, turn = self._marks_path, 1 - self._turn
        marked = self._folder / marks_name(turn)
        disk.replace(self._folder / "marks.new", marked, [marks])
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
        self._marks_fd = disk.create(self._marks_path, appending=False)
        self._size = len(kept)

    def plan(self, intents: Sequence[tuple[int, int, bool]], attempts: Sequence[int], *, sync: bool) -> int:
        """Enter records (the fields of an Intent) with one write and one sync; return the number of the first.

        `attempts` counts for each those whose outcome is not known. Raises OSError.
        """
        marks = attempts if max(attempts, default=0) <= MOST else [min(MOST, count) for count in attempts]
        # A mark without its entry must not say sent: that is how entries look that somebody cut off.
        first = self._count
        if first + len(intents) > self._size:
            size = max(self._size * 2, first + len(intents), _PIECE)
            disk.reserve(self._marks_fd, size * _MARK_SIZE)
            self._size = size
        disk.put(self._marks_fd, MARKS[0] * len(intents), first * _MARK_SIZE)
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
        self.mark((place, count) for place, count in enumerate(marks, first) if count)
        return first

    def tampering(self) -> Tampering | None:
        """Say what others did to the file of entries, without which a crash would hide what was sent."""
        return self._file.tampering()

    def mark(self, attempts: Iterable[tuple[int, int]]) -> None:
        """Mark how many attempts of records, by their places, there were whose outcome is not known. Raises OSError."""
        self._put([(place, MARKS[count if count < MOST else MOST]) for place, count in attempts])  # noqa: FURB136 - slow

    def settle(self, places: Iterable[int]) -> None:
        """Mark that these records have their lines. Raises OSError."""
        self._put([(place, _SETTLED) for place in places])

    def _put(self, marks: list[tuple[int, bytes]]) -> None:
        """Write marks, those of neighbours with one call: each call lets go of Python's lock."""
        marks.sort()
        run: list[bytes] = []
        first = 0
        for place, mark in marks:
            if place != first + len(run):
                self._put_run(run, first)
                run, first = [], place
            run.append(mark)
        self._put_run(run, first)

    def _put_run(self, run: list[bytes], first: int) -> None:
        if run:
            disk.put(self._marks_fd, b"".join(run), first * _MARK_SIZE)

    def sync_marks(self) -> None:
        """Sync the marks to the disk. Never needed for safety: without it, entries count as sent."""
        self.marks_overdue = False
        if self._marks_fd >= 0:
            disk.sync(self._marks_fd)

    def left(self) -> list[tuple[Intent, int]]:
        """Return the entries in doubt, neither only planned nor settled, with their marks: one per identity and key."""
        marks = os.pread(self._marks_fd, self._count * _MARK_SIZE, 0)
        if len(marks) == self._count * _MARK_SIZE and not marks[::2].translate(None, b"\0\xff"):
            return []
        left = read_left(self._folder, self._storage, begun=True)
        return [(intent, mark) for intent, mark in left.entries if 0 < mark < SETTLED]

    def close(self) -> None:
        """Close the files."""
        for fd in (self._fd, self._marks_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._marks_fd = -1

    @property
    def _marks_path(self) -> Path:
        return self._folder / marks_name(self._turn)
