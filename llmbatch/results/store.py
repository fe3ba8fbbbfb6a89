"""The results file of a run: locked and mended, with the intents and the journal by which the run adds to it."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmbatch.codec.digest import FINGERPRINT
from llmbatch.core.errors import OutputBusy, OutputError, UsageError
from llmbatch.core.job import Job
from llmbatch.core.outcome import InvalidRecord, Outcome
from llmbatch.core.plural import counted
from llmbatch.core.ticket import Ticket
from llmbatch.results import disk
from llmbatch.results.answer_cache import OWN, AnswerCache
from llmbatch.results.disk import free_name
from llmbatch.results.index import LineFlags, ResultIndex, flags_of
from llmbatch.results.indexing import NotIndexed, read_entries
from llmbatch.results.intent_file import read_left
from llmbatch.results.intents import SETTLED, Intent, Intents
from llmbatch.results.journal import Journal
from llmbatch.results.lines import (
    Line,
    broken,
    glance,
    key_fingerprint,
    line_at,
    name_of,
    name_of_line,
    scan,
    whole_lines,
)
from llmbatch.results.lock import holder_of
from llmbatch.results.pending import Pending
from llmbatch.results.recovery import mend_redo, mend_tail
from llmbatch.results.replaced import Replaced
from llmbatch.results.results_file import AGAIN, ResultsFile
from llmbatch.results.resume_policy import ResumePolicy
from llmbatch.results.rewrite import keep_answers, merge, rewrite, sort
from llmbatch.results.run_log import BATCHES, OWN_FIELDS, VERSION, last_header, write_header
from llmbatch.results.state_folder import remove_folder
from llmbatch.results.storage import storage_of
from llmbatch.results.ticket_log import NAME as LOG
from llmbatch.results.tickets import Tickets

__all__ = ["Found", "Store"]


@dataclass(slots=True)
class Found:
    """What an earlier run left: lines by kind, records in doubt, and how the file was mended, for people."""

    ok: int = 0
    failed: int = 0
    in_doubt: int = 0
    pending: int = 0
    batches: int = 0
    notices: list[str] = field(default_factory=list)


class Store(ResultsFile):
    """The results file that this run has locked, and what the run adds. Methods block: call them from a thread."""

    def __init__(self, path: Path, *, fsync: str) -> None:
        super().__init__()
        self.path = path
        self.folder = path.with_name(f"{path.name}.state")
        self.found = Found()
        self.replaced = Replaced(path, self.folder)
        self.tickets = Tickets(self.folder)
        self._fsync = fsync
        self._fd = -1
        self._intents: Intents
        self._leaving: list[tuple[int, int]] = []
        """The intents of requests that are about to leave, with their attempts."""
        self._planning = threading.Lock()
        """Held by the reader of the input and the writer of results, one at a time."""
        self._journal: Journal
        self.answers: AnswerCache | None = None
        """Answers by key, once `index_answers` was called."""

    # What earlier runs left.

    def last_header(self) -> dict[str, Any] | None:
        """Return the options of the last run on this file."""
        return last_header(self.folder / "runs.jsonl")

    def index_answers(self, reuse: Sequence[str]) -> None:
        """Learn which requests have answers, here and in other results files. Raises InputError, UsageError."""
        self.answers = AnswerCache()
        self.answers.load_files(reuse)
        self.answers.load(OWN, self._fd)

    def results(self) -> Iterator[dict[str, Any]]:
        """Yield what is in the lines."""
        return (line.fields for line in self._scan() if line.fields is not None)

    # What this run does.

    def plan(self, jobs: Sequence[Job]) -> None:
        """Enter jobs on disk, before their first request may leave. Raises OutputError."""
        intents = [(name_of(job.identity) & FINGERPRINT, key_fingerprint(job.key), job.redo) for job in jobs]
        attempts = [job.attempts.possibly_billed for job in jobs]
        for intent, count in self._replaced_doubts(jobs):
            intents.append(intent)
            attempts.append(count)
        found = self._intents.tampering()
        if found is not None:
            raise OutputError(found.what, "No answer is lost by that; run the same command again.")
        try:
            with self._planning:
                first = self._intents.plan(intents, attempts, sync=self._fsync != "never")
        except OSError as error:
            raise _refused(self.folder, error) from error
        for place, job in enumerate(jobs, first):
            job.intent_slot = place

    def _replaced_doubts(self, jobs: Sequence[Job]) -> Iterator[tuple[Intent, int]]:
        """Yield the requests in doubt that only lines tell which will be replaced, other than the new ones."""
        lines = self._lines
        for job in [job for job in jobs if job.redo]:
            place = lines.find(name_of(job.identity))
            if place is None or lines.key(place) == key_fingerprint(job.key) or lines.traits(place) & LineFlags.OK:
                continue
            attempts = self._possibly_billed(place)
            if attempts:
                yield Intent(name_of(job.identity) & FINGERPRINT, lines.key(place), redo=True), attempts

    def sent(self, jobs: Sequence[Job]) -> None:
        """Note that a request for the jobs leaves: one more attempt of unknown outcome. Then comes `mark_sent`."""
        self._leaving += [(job.intent_slot, job.attempts.possibly_billed + 1) for job in jobs]

    def mark_sent(self) -> None:
        """Mark what was noted by `sent`. Raises OutputError."""
        leaving, self._leaving = self._leaving, []
        try:
            self._intents.mark(leaving)
        except OSError as error:
            raise _refused(self.folder, error) from error

    @property
    def version(self) -> int:
        """The version of the state folder: the higher one once it had tickets."""
        return BATCHES if (self.folder / LOG).exists() else VERSION

    def begin_tickets(self) -> None:
        """Mark the state folder as one that an llmbatch without batches must refuse. Raises OutputError."""
        header = self.last_header()
        if header is not None and header["version"] < BATCHES:
            self.write_header({name: value for name, value in header.items() if name not in OWN_FIELDS}, BATCHES)

    def slot_of(self, job: Job) -> int | None:
        """Return the intent of a record that an earlier run put into a batch; None for one that has its end."""
        return self._pending.slot(name_of(job.identity))

    def ended(self, job: Job) -> None:
        """Note that such a record has its line now."""
        self._pending.settle(name_of(job.identity))

    def released(self, job: Job) -> bool:
        """Note that such a record was given back; False when it is not to be sent, since the input lacks it."""
        return self._pending.release(name_of(job.identity))

    @property
    def pending(self) -> Pending:
        """The records that earlier runs put into batches."""
        return self._pending

    def mark_asked(self, ticket: Ticket, *, sent: bool) -> None:
        """Mark that the records of a ticket are sent, or that they are not after all."""
        marks = list[tuple[int, int]]()
        for job in self.tickets.jobs(ticket):
            slot = self.tickets.pending.slot(name_of(job.identity))
            job.intent_slot = job.intent_slot if slot is None else slot
            if job.intent_slot >= 0:
                marks.append((job.intent_slot, job.attempts.possibly_billed + ticket.unsure + sent))
        self._intents.mark(marks)

    def came_back(self, jobs: Sequence[Job]) -> None:
        """Mark that the outcome of the last attempt was learned; on a disk that refuses, it stays in doubt."""
        with suppress(OSError):
            self._intents.mark((job.intent_slot, job.attempts.possibly_billed) for job in jobs)
        if any(job.attempts.possibly_billed for job in jobs):
            self._intents.marks_overdue = True

    def journal(
        self, render: Callable[[Outcome | InvalidRecord], bytes], *, batch: int, rescue_dir: Path | None
    ) -> Journal:
        """Return the sink of this run."""
        self._journal = Journal(
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
        return self._journal

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Write paid answers for which a better one is asked: each is its record's line until then. Raises OutputError.

        From then on the request for the better answer is in doubt, so it gets an intent of its own.
        """
        self._journal.write(outcomes)
        if self._fsync != "never":
            self._journal.sync()
        jobs = [outcome.job for outcome in outcomes]
        for job in jobs:
            job.redo = True
        self.plan(jobs)

    def write_header(self, asked: Mapping[str, Any], version: int = VERSION) -> None:
        """Record the options of this run. Raises OutputError."""
        try:
            write_header(self.folder / "runs.jsonl", asked, version)
        except OSError as error:
            raise OutputError(f"cannot write to {self.folder}: {error.strerror}", "Make room.") from error

    def finish(self, *, ordered: bool = False) -> list[str]:
        """Merge what was redone, order the lines if asked, keep only the intents in doubt. Raises OutputError.

        Returns what people should know. After a crash in between, the next run finishes it.
        """
        told = len(self.found.notices)
        try:
            left = self._intents.left()
            redo = self.folder / "redo.jsonl"
            merge(self.path, redo, self.folder / "merged.new", self._keep_answers)
            if ordered:
                sort(self.path, self.folder / "sorted.new")
            self._intents.begin(left)
            disk.remove(redo)
        except OSError as error:
            raise OutputError(
                f"{self.path} could not be brought into its final form: {error.strerror}",
                f"Nothing is lost; make room, then run the same command again. New answers are in {self.folder}.",
            ) from error
        return self.found.notices[told:]

    def prune(self) -> int:
        """Move the lines whose record was not found to the state folder; return how many. Raises OutputError."""

        def has_record(line: Line) -> bool:
            place = self._lines.find(name_of_line(line.fields)) if line.fields is not None else None
            return place is None or bool(self._lines.matched[place])  # a line that is not in the index is of this run

        try:
            return rewrite(
                self.path, self.folder / "pruned.new", has_record, free_name(self.folder, "pruned", ".jsonl")
            )
        except OSError as error:
            raise OutputError(f"cannot rewrite {self.path}: {error.strerror}", "Make room.") from error

    def kept_lines(self, policy: ResumePolicy) -> Iterator[bytes]:
        """Yield the lines that this run will not send again, each with its newline.

        Without a survey an answer may still turn out to be sent again.
        """
        surveyed = self._lines.matched if any(self._lines.matched) else None
        for place, line in enumerate(self._scan()):
            if surveyed is not None:
                if surveyed[place] != AGAIN:
                    yield line.raw + b"\n"
                continue
            fields = line.fields or {"status": "ok"}
            id, traits = fields.get("id"), flags_of(fields)
            failed = traits & ~(LineFlags.OK | LineFlags.INVALID)  # an invalid record may be invalid still
            sent = policy.is_named(id) if traits & LineFlags.OK else policy.redoes(id, failed, same=True)
            if not sent:
                yield line.raw + b"\n"

    # Bringing it into order.

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
            holder = holder_of(self._fd)
            raise OutputBusy(
                f"{self.path} is held by another run under another name: {holder}", "Wait for it, or stop it."
            ) from None

    def mend(self, *, move_broken: bool, hold: bool) -> None:
        """Repair the file after the end of the run before, and index its lines.

        It may be killed at any point and repeated. Raises OSError, and UsageError, with `hold` also if it is unknown
        what is in doubt.
        """
        redo = self.folder / "redo.jsonl"
        begun = last_header(self.folder / "runs.jsonl") is not None  # refuses a newer version
        self._intents, left = Intents.open(self.folder, storage_of(self.folder), begun=begun)
        if left.damage is not None:
            if hold:
                raise UsageError(
                    f"{left.damage}: which requests of earlier runs are in doubt is not known; nothing was sent",
                    "A run with --in-doubt retry sends what has no result; some of that may be paid for twice.",
                )
            self.found.notices.append(
                f"{left.damage}: which records are in doubt is not known; what is sent again may be paid for twice"
            )
        torn = mend_tail(self._fd, self.folder, self.found.notices.append)
        self._index(move_broken)
        mend_redo(redo, self.folder, self.found.notices.append)
        redone = merge(self.path, redo, self.folder / "merged.new", self._keep_answers)
        if len(redone):
            self.hold_results()
            self._index(move_broken)
        self.tickets.open(move_broken=move_broken, notice=self.found.notices.append)
        self.tickets.has_line = self._has_line_of
        pending = list(self.tickets.read_members(0))
        self.found.pending, self.found.batches = len(pending), len(self.tickets.log.tickets)
        self._pending = self.tickets.pending
        self._find_doubts((entry for entry in left.entries if not self._is_in_batch(entry[0])), redone)
        for intent, mark in read_left(self.replaced.undone, storage_of(self.folder), begun=False).entries:
            if mark not in (0, SETTLED):
                self._doubts.add(intent, mark)
        if torn is not None and torn not in self._doubts and self._lines.find(torn) is None:
            # Its intent is lost, perhaps with the state folder, so the request is unknown.
            self._doubts.add(Intent(torn, 0, redo=False), 1)
        self.found.in_doubt = len(self._doubts)
        self._intents.begin([*pending, *self._doubts])
        remove_folder(self.replaced.undone)
        disk.remove(redo)

    def _keep_answers(self, redone: ResultIndex) -> None:
        kept = keep_answers(self._fd, self._lines, redone, self.folder)
        if kept is not None:
            self.found.notices.append(f"answers in whose places failures came are in {kept}; --reuse takes them back")

    def _has_line_of(self, job: Job) -> bool:
        place = self._lines.find(name_of(job.identity))
        return place is not None and self._lines.key(place) == key_fingerprint(job.key)

    def _is_in_batch(self, intent: Intent) -> bool:
        """Say whether a request is in a batch that is looked after, and so is in no doubt."""
        place = self._pending.find(intent.identity)
        return place is not None and self._pending.key(place) == intent.key

    def _index(self, move_broken: bool) -> None:
        self._forget()
        with suppress(NotIndexed):
            if all(map(self._enter_all, read_entries(self._fd))):
                self.found.ok = self._lines.count(LineFlags.OK)
                self.found.failed = len(self._lines) - self.found.ok
                return
        self._index_one_by_one(move_broken)  # a line is broken, or one too many

    def _index_one_by_one(self, move_broken: bool) -> None:
        self._forget()
        bad = ok = 0
        for number, (offset, raw) in enumerate(whole_lines(self._fd, os.fstat(self._fd).st_size), 1):
            fields = glance(raw)
            if fields is None:
                if not raw.strip():
                    continue
                if not move_broken:
                    raise broken(self.path, number)
                bad += 1
                continue
            ok += fields["status"] == "ok"
            if self._enter(fields, offset) is not None:
                raise UsageError(
                    f"{self.path}, line {number} is a second result of record {fields.get('id')!r}",
                    "Remove one of the two lines, then run the same command again.",
                )
        self.found.ok, self.found.failed = ok, len(self._lines) - ok
        if bad:
            moved_to = free_name(self.folder, "broken", ".jsonl")
            rewrite(self.path, self.folder / "whole.new", lambda line: line.fields is not None, moved_to)
            self.found.notices.append(f"{counted(bad, 'broken line was', 'broken lines were')} moved to {moved_to}")
            self.hold_results()
            self._index(move_broken=False)

    def _scan(self) -> Iterator[Line]:
        return scan(self._fd, os.fstat(self._fd).st_size)

    @property
    def files(self) -> Sequence[int]:
        """The open files from which lines are read."""
        return (self._fd,)

    def _line(self, place: int) -> dict[str, Any]:
        """Read a line again."""
        line = line_at(self._fd, self._lines.offset(place))
        return (line.fields if line is not None else None) or {}

    def close(self) -> None:
        """Close the files."""
        if self.answers is not None:
            self.answers.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self.tickets.close()
        if hasattr(self, "_intents"):
            self._intents.close()


def _refused(folder: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write to {folder}: {error.strerror}", "Make room, then run the same command again.")
