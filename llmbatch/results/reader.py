"""Reads results files without a lock: lines of redo.jsonl replace those that they redo."""

import os
import shutil
import stat
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from llmbatch.core.errors import InputError, UsageError
from llmbatch.core.job import Identity
from llmbatch.results.doubts import Doubts, unresolved
from llmbatch.results.index import LineFlags, ResultIndex
from llmbatch.results.intent_file import Intent, Left, read_left
from llmbatch.results.lines import Line, line_at, name_of, name_of_line, parse, scan, torn_tail
from llmbatch.results.recovery import may_be_cut
from llmbatch.results.redone import RedoneLines
from llmbatch.results.results_file import MATCHED, ResultsFile
from llmbatch.results.run_log import last_header
from llmbatch.results.state_folder import check_folder
from llmbatch.results.storage import storage_of
from llmbatch.results.tickets import pending_in

__all__ = ["ReadOnlyResults", "ResultsReader", "open_results"]


class ResultsReader:
    """The lines of one results file, as it was when it was opened. They can be read several times."""

    def __init__(self, name: str, place: Path | None, stack: ExitStack) -> None:
        self.name = name
        self.folder = place.with_name(f"{place.name}.state") if place is not None else None
        if self.folder is not None and self.folder.is_dir():
            check_folder(self.folder)
        # In the order in which a run settles them: what happens meanwhile is then seen twice, but never missed.
        self.pending = pending_in(self.folder)
        """The records that are in batches."""
        self._left = _planned(self.folder)
        self._redone = _Redone(self.folder, stack)
        self._file = stack.enter_context(_open(name, place))
        self.inode = _inode(self._file)
        size = os.fstat(self._fd).st_size
        self._end = torn_tail(self._fd, size)
        self._tail = os.pread(self._fd, size - self._end, self._end)

    @property
    def torn(self) -> bool:
        """Whether the file ends in an incomplete line: a crash cut it, or a run is writing it."""
        return bool(self._tail.strip()) and parse(self._tail) is None

    @property
    def inodes(self) -> "set[_Inode]":
        """Return device and inode of all files that are read, to recognise them under another path."""
        return {inode for inode in (self.inode, self._redone.inode) if inode is not None}

    @property
    def damage(self) -> str | None:
        """Say what is wrong with the intents, if they cannot tell what is in doubt."""
        return self._left.damage

    @property
    def last_header(self) -> dict[str, Any]:
        """The settings of the last run; nothing where they are not known."""
        return (last_header(self.folder / "runs.jsonl") if self.folder is not None else None) or {}

    @property
    def repeat(self) -> int:
        """How many times the last run sent each record; 0 where it does not say."""
        found = self.last_header.get("repeat")
        return found if isinstance(found, int) else 0

    @property
    def planned(self) -> Iterable[tuple[Intent, int]]:
        """The intents of which a request may have left, each with its mark, but for those of records in batches."""
        for intent, mark in self._left.entries:
            place = self.pending.find(intent.identity)
            if place is None or self.pending.key(place) != intent.key:
                yield intent, mark

    def doubts(self, lines: ResultIndex) -> Doubts:
        """Return the requests in doubt, given the lines of the records."""
        return unresolved(self.planned, lines, self._redone.index)

    def by_record(self) -> "ReadOnlyResults":
        """Index the lines; return what earlier runs left of each record, as the next run will find it."""
        return ReadOnlyResults([self])

    def line_of(self, name: int, offset: int) -> dict[str, Any]:
        """Read the line of a record again, which `lines` yielded with this offset."""
        if (place := self._redone.find(name)) is not None:
            return self._redone.line(place, 0).fields or {}
        if offset == self._end:
            return parse(self._tail) or {}
        line = line_at(self._fd, offset)
        return (line.fields if line is not None else None) or {}

    def lines(self) -> Iterator[Line]:
        """Yield the lines in order, those that are not results too.

        A line of number 0 is only in the redo file. Raises UsageError when the first line shows that this is not a
        results file.
        """
        used, number = bytearray(len(self._redone)), 0
        for line in scan(self._fd, self._end):
            number = line.number
            if line.fields is None and number == 1:
                raise self.refusal(1)
            yield self._with_redone(line, used)
        if (fields := parse(self._tail)) is not None:
            yield self._with_redone(Line(number + 1, self._end, self._tail, fields), used)
        elif self.torn and not number and not may_be_cut(self._tail):
            raise self.refusal(1)
        for place, is_used in enumerate(used):
            if not is_used:
                yield self._redone.line(place, 0)

    def results(self) -> Iterator[dict[str, Any]]:
        """Yield the fields of the lines. Raises UsageError for a line that is not a result."""
        for line in self.lines():
            if line.fields is None:
                raise self.refusal(line.number)
            yield line.fields

    def refusal(self, number: int) -> UsageError:
        """Return the error for a line that is not a result."""
        if number == 1:
            return UsageError(
                f"{self.name} is not a results file of llmbatch: line 1 is something else",
                "What `llmbatch run -o FILE` writes can be read here.",
            )
        return UsageError(
            f"{self.name}, line {number} is not a result line; it may hold a paid answer",
            "Correct it by hand, or let `llmbatch run … --move-broken` move such lines to FILE.state.",
        )

    def _with_redone(self, line: Line, used: bytearray) -> Line:
        if line.fields is None or not used:
            return line
        place = self._redone.find(name_of_line(line.fields))
        if place is None:
            return line
        used[place] = 1
        return self._redone.line(place, line.number)

    @property
    def files(self) -> Sequence[int]:
        """The open files from which lines are read."""
        return [self._fd] if self._redone.fd is None else [self._fd, self._redone.fd]

    @property
    def _fd(self) -> int:
        return self._file.fileno()


Show = Callable[[int, Line, int | None], None]
"""Takes the number of a file, a line of it, and the place of an earlier line of the same record."""


class ReadOnlyResults(ResultsFile):
    """The records of files that are only read. Of several lines of a record the first counts. `decide` is for one file.

    `show` gets each line as it is read.
    """

    def __init__(self, files: Sequence[ResultsReader], show: Show | None = None) -> None:
        super().__init__()
        self._files = files
        self._numbers = array("I")
        """The number of each line's file."""
        for number, file in enumerate(files):
            for line in file.lines():
                earlier = None
                if line.fields is not None:
                    earlier = self._enter(line.fields, line.offset)
                    if earlier is None:
                        self._numbers.append(number)
                if show is not None:
                    show(number, line, earlier)
        self._pending = files[0].pending if files else pending_in(None)
        for file in files:
            for intent, attempts in file.doubts(self._lines):
                self._doubts.add(intent, attempts)
        self._doubts.keys |= self._unsure_keys

    @property
    def files(self) -> Sequence[int]:
        """The open files from which lines are read."""
        return [fd for file in self._files for fd in file.files]

    @property
    def in_doubt(self) -> int:
        """Count the records that have a request in doubt."""
        return len(self._doubts)

    def is_in_doubt(self, identity: Identity) -> bool:
        """Say whether a request of a record is in doubt."""
        return name_of(identity) in self._doubts

    def is_pending(self, identity: Identity) -> bool:
        """Say whether a record is in a batch."""
        return any(file.pending.has(name_of(identity)) for file in self._files)

    def match_record(self, identity: Identity) -> tuple[int, bool] | None:
        """Find the line of a record of the input: return its place, and whether it is an answer."""
        place = self._lines.find(name_of(identity))
        if place is None:
            return None
        self._lines.matched[place] = MATCHED
        return place, self._lines.traits(place) & LineFlags.OK != 0

    def match_line(self, fields: dict[str, Any]) -> bool:
        """Say whether no record was found for a line; from then on one was."""
        place = self._lines.find(name_of_line(fields))
        if place is None or self._lines.matched[place]:
            return False
        self._lines.matched[place] = MATCHED
        return True

    def _line(self, place: int) -> dict[str, Any]:
        file = self._files[self._numbers[place]]
        return file.line_of(self._lines.fingerprint(place), self._lines.offset(place))


class _Inode(NamedTuple):
    device: int
    number: int


class _Redone(RedoneLines):
    """The redo file of a state folder, as it was when it was opened; empty without one."""

    def __init__(self, folder: Path | None, stack: ExitStack) -> None:
        self.inode: _Inode | None = None
        self.fd: int | None = None
        """The open file, if there is one."""
        file = _open_redo(folder, stack)
        if file is None:
            super().__init__(-1, ())
            return
        self.inode, self.fd = _inode(file), file.fileno()
        size = os.fstat(self.fd).st_size
        end = torn_tail(self.fd, size)
        tail = os.pread(self.fd, size - end, end)
        super().__init__(self.fd, chain(scan(self.fd, end), (Line(0, end, tail, parse(tail)),)))

    def line(self, place: int, number: int) -> Line:
        """Read a line again; `number` is that of the line that it replaces."""
        raw = self.raw(place)
        return Line(number, self.offset(place), raw, parse(raw))


def _open_redo(folder: Path | None, stack: ExitStack) -> BinaryIO | None:
    if folder is None:
        return None
    try:
        return stack.enter_context((folder / "redo.jsonl").open("rb"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(f"{folder}/redo.jsonl", error) from error


@contextmanager
def open_results(names: Sequence[str]) -> Iterator[list[ResultsReader]]:
    """Open results files; "-" is stdin, which is copied to an unnamed file first.

    Raises InputError for one that cannot be read, UsageError for one that is named twice.
    """
    if names.count("-") > 1:
        raise UsageError("stdin can be read only once, but - is given twice")
    with ExitStack() as stack:
        files: list[ResultsReader] = []
        opened: set[_Inode] = set()
        for name in names:
            file = ResultsReader("stdin" if name == "-" else name, _place(name), stack)
            if file.inode in opened:
                raise UsageError(f"{file.name} is given twice", "Its records would count twice.")
            opened |= file.inodes
            files.append(file)
        yield files


def _place(name: str) -> Path | None:
    """Return the file that a name leads to, None for a pipe, which has no state folder."""
    if name == "-":
        return None
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error
    if stat.S_ISDIR(mode):
        raise InputError(f"cannot read {name}: it is a directory")
    return Path(os.path.realpath(name)) if stat.S_ISREG(mode) else None


def _open(name: str, place: Path | None) -> BinaryIO:
    try:
        if place is not None:
            return place.open("rb")
        fd = os.dup(0) if name == "stdin" else os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as source, ExitStack() as undo:
            copy = undo.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            undo.pop_all()
            return copy
    except OSError as error:
        raise _unreadable(name, error) from error


def _planned(folder: Path | None) -> Left:
    """Return the intents that runs left and whose request may have left."""
    if folder is None or not folder.is_dir():
        return Left()
    try:
        begun = last_header(folder / "runs.jsonl") is not None  # raises for a newer version
        left = read_left(folder, storage_of(folder), begun=begun)
        return left._replace(entries=[(intent, mark) for intent, mark in left.entries if mark])
    except OSError as error:
        raise _unreadable(str(folder), error) from error


def _inode(file: BinaryIO) -> _Inode:
    status = os.fstat(file.fileno())
    return _Inode(status.st_dev, status.st_ino)


def _unreadable(name: str, error: Exception) -> InputError:
    hint = "Check the name: it is the file that `llmbatch run -o FILE` writes."
    return InputError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}", hint)
