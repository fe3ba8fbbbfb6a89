"""A results file and what stands beside it, opened, mended and locked for one run."""

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmbatch.core.errors import OutputBusy, OutputError, UsageError
from llmbatch.core.job import Identity, Job
from llmbatch.core.outcome import Outcome, Refused
from llmbatch.state import disk
from llmbatch.state.answers import OWN, Answers
from llmbatch.state.headers import last_header, write_header
from llmbatch.state.intents import SETTLED, Intent, Intents
from llmbatch.state.journal import Journal
from llmbatch.state.known import Known, Trait
from llmbatch.state.lines import Line, broken, fingerprint, key_fingerprint, parse, scan, torn_tail
from llmbatch.state.lock import locked
from llmbatch.state.resume import Action, Before, Judgement, ResumePolicy, judge
from llmbatch.state.rewrite import identities, merge, rewrite, sort

__all__ = ["Found", "Store", "open_store"]


@dataclass(slots=True)
class Found:
    """What an earlier run left: lines by kind, records in doubt, and how the file was mended, for people."""

    ok: int = 0
    failed: int = 0
    in_doubt: int = 0
    merged: int = 0
    notices: list[str] = field(default_factory=list)


class Store:
    """One results file, held by this run. Its methods block: call them from a thread."""

    def __init__(self, path: Path, *, fsync: str) -> None:
        self.path = path
        self.folder = path.with_name(f"{path.name}.state")
        self.found = Found()
        self._fsync = fsync
        self._fd = -1
        self._known = Known()
        self._doubts: dict[int, tuple[int, int]] = {}
        """Identity to the key in doubt and how many attempts of it."""
        self._intents: Intents
        self.answers: Answers | None = None
        """Answers by key, once `index_answers` was called."""

    # What earlier runs left.

    def last_header(self) -> dict[str, Any] | None:
        """Return what the last run on this file was asked to do."""
        return last_header(self.folder / "runs.jsonl")

    def index_answers(self, reuse: Sequence[str]) -> None:
        """Learn which requests have answers, here and in other results files. Raises InputError, UsageError."""
        self.answers = Answers()
        self.answers.load_files(reuse)
        self.answers.load(OWN, self._fd)

    def judge(self, identity: Identity, key: str | None, policy: ResumePolicy) -> Judgement:
        """Decide about one record of the input; `key` is None for one that cannot be sent."""
        name = fingerprint(identity.id, identity.record, identity.occurrence)
        place = self._known.find(name)
        traits = None
        if place is not None:
            self._known.met[place] = 1
            traits = self._known.traits(place)
        if key is None:
            if traits is None:
                return Judgement(Action.SEND)
            return Judgement(Action.KEEP_OK if traits & Trait.OK else Action.KEEP_FAILED)
        doubtful_key, doubts = self._doubts.get(name, (0, 0))
        line_key = self._known.key(place) if place is not None else 0
        return judge(
            identity,
            key_fingerprint(key),
            Before(traits, line_key, doubts, doubtful_key),
            lambda: str(self._line(place)["record"]) if place is not None else "",
            policy,
        )

    def orphans(self) -> int:
        """Count the lines whose record was not met in the input."""
        return self._known.met.count(0)

    def forget_met(self) -> None:
        """Begin to count afresh which lines' records are met."""
        self._known.met = bytearray(len(self._known))

    def prior(self, identity: Identity) -> int:
        """Count the attempts of unknown outcome that earlier runs made for a record."""
        name = fingerprint(identity.id, identity.record, identity.occurrence)
        doubts = self._doubts.get(name, (0, 0))[1]
        place = self._known.find(name)
        if place is not None and self._known.traits(place) & Trait.DOUBTS:
            doubts += int(self._line(place).get("possibly_billed", 0))
        return doubts

    # What this run does.

    def plan(self, jobs: Sequence[Job]) -> None:
        """Enter jobs on disk, before their first request may leave. Raises OutputError."""
        intents = [_intent(job) for job in jobs]
        try:
            first = self._intents.plan(
                intents, [min(job.prior, SETTLED - 1) for job in jobs], sync=self._fsync != "never"
            )
        except OSError as error:
            raise OutputError(
                f"cannot write to {self.folder}: {error.strerror}", "Make room, then run the same command again."
            ) from error
        for place, job in enumerate(jobs, first):
            job.place = place

    def sent(self, jobs: Sequence[Job]) -> None:
        """Mark that a request for the jobs leaves: one more attempt of unknown outcome."""
        for job in jobs:
            self._intents.mark(job.place, min(job.possibly_billed + 1, SETTLED - 1))

    def came_back(self, jobs: Sequence[Job]) -> None:
        """Mark that the last attempt's outcome is known."""
        for job in jobs:
            self._intents.mark(job.place, min(job.possibly_billed, SETTLED - 1))

    def journal(self, render: Callable[[Outcome | Refused], bytes], *, batch: int, rescue_dir: Path | None) -> Journal:
        """Return the sink of this run."""
        return Journal(
            self._fd,
            self.folder / "redo.jsonl",
            self._intents,
            render,
            path=self.path,
            fsync=self._fsync,
            batch=batch,
            rescue_dir=rescue_dir,
            answers=self.answers,
        )

    def write_header(self, options: dict[str, Any], address: str, inputs: list[str], changed: str | None) -> None:
        """Write down what this run was asked to do. Raises OutputError."""
        try:
            write_header(self.folder / "runs.jsonl", options, address, inputs, changed)
        except OSError as error:
            raise OutputError(f"cannot write to {self.folder}: {error.strerror}", "Make room.") from error

    def finish(self, *, ordered: bool = False) -> None:
        """Merge what was redone, order the lines if asked, keep only the intents in doubt. Raises OutputError.

        A crash in between is mended by the next open.
        """
        try:
            left = self._intents.left()
            redo = self.folder / "redo.jsonl"
            merge(self.path, redo, self.folder / "merged.new")
            if ordered:
                sort(self.path, self.folder / "sorted.new")
            self._intents.begin(left)
            disk.remove(redo)
        except OSError as error:
            raise OutputError(
                f"{self.path} could not be brought into its final form: {error.strerror}",
                f"Nothing is lost; make room, then run the same command again. New answers are in {self.folder}.",
            ) from error

    def prune(self) -> int:
        """Move the lines whose record was not met to the state folder; return how many. Raises OutputError."""
        met = {self._known.offset(place) for place in range(len(self._known)) if self._known.met[place]}
        aside = self.folder / f"pruned-{_stamp()}.jsonl"
        try:
            return rewrite(self.path, self.folder / "pruned.new", lambda line: line.offset in met, aside)
        except OSError as error:
            raise OutputError(f"cannot rewrite {self.path}: {error.strerror}", "Make room.") from error

    def kept_lines(self, policy: ResumePolicy) -> Iterator[bytes]:
        """Yield the lines that this run will not send again, each with its newline."""
        for line in self._scan():
            fields = line.fields or {}
            stays = fields.get("status") == "ok" or policy.keep_failed
            if stays or (fields.get("billed") and not policy.retry_billed):
                yield line.raw + b"\n"

    # Opening.

    def hold_results(self) -> None:
        """Open the results file, or what was renamed to it, and lock it too: it may have another name.

        Raises OutputBusy.
        """
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = disk.create(self.path)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputBusy(f"{self.path} is held by another run under another name", "Wait for it.") from None

    def mend(self, *, move_broken: bool) -> None:
        """Bring the file into order after whatever ended the run before, and learn what is in it. Raises OSError.

        Killed at any point and done again, it comes to the same end.
        """
        redo = self.folder / "redo.jsonl"
        last_header(self.folder / "runs.jsonl")  # refuses a newer version before anything is changed
        self._intents, left = Intents.open(self.folder, _boot())
        redone = identities(redo)
        self._mend_tail(self.path, self._fd, left)
        self._index(move_broken)
        if redone:
            self.found.merged = merge(self.path, redo, self.folder / "merged.new")
            self.hold_results()
            self._index(move_broken)
        in_doubt = [
            (intent, 1 if mark == SETTLED else mark)
            for intent, mark in left
            if mark and not self._has_line(intent, mark, redone)
        ]
        self._doubts = {intent.identity: (intent.key, mark) for intent, mark in in_doubt}
        self.found.in_doubt = len(in_doubt)
        self._intents.begin(in_doubt)
        disk.remove(redo)

    def _has_line(self, intent: Intent, mark: int, redone: set[int]) -> bool:
        """Say whether what was planned is written: a mark may be older than the line, and after a merge the reverse."""
        if intent.redo:
            return intent.identity in redone or mark == SETTLED
        return self._known.find(intent.identity) is not None

    def _mend_tail(self, path: Path, fd: int, left: list[tuple[Intent, int]]) -> None:
        """End a whole last line that lacks its newline; put a torn one aside: its record is in doubt."""
        size = os.fstat(fd).st_size
        end = torn_tail(fd, size)
        if end == size:
            return
        tail = os.pread(fd, size - end, end)
        if parse(tail) is not None:
            disk.append(fd, b"\n")
            return
        if end == 0 and not _could_be_ours(tail):
            raise broken(path, 1)
        aside = self.folder / f"torn-{_stamp()}.bin"
        copy = disk.create(aside, exclusive=True)
        try:
            disk.append(copy, tail)
            disk.sync(copy)
        finally:
            os.close(copy)
        disk.cut(fd, end)
        disk.sync(fd)
        self.found.notices.append(f"a line that a crash cut was moved to {aside}; its record is in doubt")

    def _index(self, move_broken: bool) -> None:
        self._known, self.found.ok, self.found.failed = Known(), 0, 0
        bad = 0
        for line in self._scan():
            if line.fields is None:
                if not move_broken or line.number == 1:
                    raise broken(self.path, line.number)
                bad += 1
                continue
            self._add(line)
        if bad:
            aside = self.folder / f"broken-{_stamp()}.jsonl"
            rewrite(self.path, self.folder / "whole.new", lambda line: line.fields is not None, aside)
            self.found.notices.append(f"{bad} broken lines were moved to {aside}")
            self.hold_results()
            self._index(move_broken=False)

    def _add(self, line: Line) -> None:
        fields = line.fields
        assert fields is not None
        traits = Trait(0)
        if fields["status"] == "ok":
            traits |= Trait.OK
            self.found.ok += 1
        else:
            self.found.failed += 1
        if fields.get("billed"):
            traits |= Trait.BILLED
        if fields.get("key") is None:
            traits |= Trait.INVALID
        if fields.get("possibly_billed"):
            traits |= Trait.DOUBTS
        identity = fingerprint(fields.get("id"), fields["record"], fields.get("occurrence", 0))
        earlier = self._known.add(identity, key_fingerprint(fields.get("key")), line.offset, traits)
        if earlier is not None:
            raise UsageError(
                f"{self.path}, line {line.number} is a second result of record {fields.get('id')!r}",
                "Remove one of the two lines, then run the same command again.",
            )

    def _scan(self) -> Iterator[Line]:
        return scan(self._fd, os.fstat(self._fd).st_size)

    def _line(self, place: int) -> dict[str, Any]:
        """Read a line again."""
        size = os.fstat(self._fd).st_size
        for line in scan(self._fd, size, self._known.offset(place)):
            return line.fields or {}
        return {}

    def close(self) -> None:
        """Close the files."""
        if self.answers is not None:
            self.answers.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if hasattr(self, "_intents"):
            self._intents.close()


@contextmanager
def open_store(path: Path, *, fsync: str, overwrite: bool = False, move_broken: bool = False) -> Iterator[Store]:
    """Open, lock and mend a results file for one run.

    Raises OutputBusy when another run holds it, UsageError for a file that cannot be continued, OutputError when the
    disk refuses. Until then nothing of an earlier run is changed.
    """
    store = Store(Path(os.path.realpath(path)), fsync=fsync)
    with ExitStack() as stack:
        try:
            new = _begin_folder(store, overwrite)
            stack.enter_context(locked(store.folder / "lock", store.path))
            stack.callback(store.close)
            if overwrite:
                _remove_all(store)
            elif not new and not store.path.exists() and (store.folder / "runs.jsonl").exists():
                raise UsageError(
                    f"{store.folder} is there, but {store.path} is not: its answers are missing",
                    "Put the file back, or start anew with --overwrite.",
                )
            store.hold_results()
            disk.sync_folder(store.path.parent)
            store.mend(move_broken=move_broken)
        except OSError as error:
            raise OutputError(
                f"cannot write {error.filename or store.path}: {error.strerror}",
                "Choose another -o FILE, or make room.",
            ) from error
        yield store


def _begin_folder(store: Store, overwrite: bool) -> bool:
    """Make the state folder; say whether it is new. Raises UsageError for a results file that is not a file."""
    try:
        kind = os.stat(store.path).st_mode
    except FileNotFoundError:
        kind = None
    if kind is not None and not stat.S_ISREG(kind):
        raise UsageError(f"-o {store.path} is not a regular file", "Leave -o out to write results to stdout.")
    if kind is not None and not overwrite:
        _refuse_foreign(store.path)
    try:
        store.folder.mkdir(mode=0o700)
    except FileExistsError:
        return False
    disk.sync_folder(store.folder.parent)
    return True


def _refuse_foreign(path: Path) -> None:
    """Look at the first line before anything is made beside a file that is not ours."""
    with path.open("rb") as source:
        fd = source.fileno()
        for line in scan(fd, torn_tail(fd, os.fstat(fd).st_size)):
            if line.fields is None:
                raise broken(path, 1)
            return


def _could_be_ours(tail: bytes) -> bool:
    """Say whether a first line that was cut can be the beginning of one of ours, or what a power cut leaves of it."""
    beginning = b'{"id":'
    tail = tail.strip(b"\0")
    return beginning.startswith(tail[: len(beginning)])


def _remove_all(store: Store) -> None:
    """Remove what earlier runs wrote, the lock excepted."""
    disk.remove(store.path)
    for name in ("intents", "marks", "redo.jsonl", "runs.jsonl"):
        disk.remove(store.folder / name)


def _intent(job: Job) -> Intent:
    identity = job.identity
    name = fingerprint(identity.id, identity.record, identity.occurrence)
    return Intent(name, key_fingerprint(job.key), job.redo)


def _boot() -> str:
    """Name this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"boot {round((time.time() - time.monotonic()) / 60)}"


def _stamp() -> str:
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
