"""Appends complete lines to the results file and syncs them; when the disk fails, saves them in a rescue file."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import quote

from llmbatch.core.errors import OutputError
from llmbatch.core.fault import Fault
from llmbatch.core.outcome import Completion, CopiedAnswer, InvalidRecord, Outcome, UnusableAnswer
from llmbatch.results import disk
from llmbatch.results.answer_cache import OWN, REDO, AnswerCache
from llmbatch.results.intents import Intents
from llmbatch.results.rescue import Rescue
from llmbatch.results.tampering import OpenFile

__all__ = ["Journal"]

SYNC_EVERY = 0.2
"""Seconds that results may be left un-synced under `--fsync batch`."""


class Journal:
    """Writes outcomes: first answers to the results file, new answers for old lines to the redo file.

    When the disk fails, the file is cut back to its last complete line. That batch and all later ones go to a rescue
    file; their records stay in doubt until those lines are put back. The same happens when another program moves,
    replaces or cuts the file, which is checked once a batch.
    """

    def __init__(
        self,
        results: int,
        redo: Path,
        intents: Intents,
        render: Callable[[Outcome | InvalidRecord], bytes],
        *,
        path: Path,
        fsync: str,
        batch: int,
        rescue_dir: Path | None,
        answers: AnswerCache | None = None,
    ) -> None:
        self._results = results
        self._redo_path = redo
        self._redo: int | None = None
        self._intents = intents
        self._render = render
        self._answers = answers
        self._path = path
        self._fsync = fsync
        self._batch = batch
        self._rescue = Rescue(path.name, rescue_dir)
        self._torn = False
        """Whether an incomplete line could not be cut off."""
        self._failure: str | None = None
        """Why nothing more is written to the file, for people."""
        self._remedy = "Make room"
        self._saved = "the answers that were in flight"
        self._gone = False
        self._held = [OpenFile(results, path)]
        self._ends = {results: os.fstat(results).st_size}
        """Where each file ends, unless another program writes to it."""
        self._unsynced: dict[int, tuple[int, int]] = {}
        """Where the bytes of a file that are not synced yet begin and end."""
        self._lines = 0
        self._synced_at = self._marks_synced_at = time.monotonic()
        self._lock = threading.Lock()
        """Held by the writer, and by the call that syncs overdue lines."""

    @property
    def unsynced(self) -> bool:
        """Whether something is not synced yet, and should be soon."""
        return (bool(self._unsynced) or self._intents.marks_overdue) and self._fsync != "never"

    def write(self, outcomes: Sequence[Outcome | InvalidRecord]) -> None:
        """Append the outcomes. Raises OutputError, which names the rescue file, for every batch that went there."""
        with self._lock:
            self._write(outcomes)

    def sync(self) -> None:
        """Sync what is written. Raises OutputError; after a failed sync nothing more is written to the file."""
        with self._lock:
            failure = self._look_after()
            self._sync()
            if failure is not None:
                raise failure

    def _write(self, outcomes: Sequence[Outcome | InvalidRecord]) -> None:
        first: list[Outcome | InvalidRecord] = []
        again: list[Outcome | InvalidRecord] = []
        for outcome in outcomes:
            (again if isinstance(outcome, Outcome) and outcome.job.redo else first).append(outcome)
        failure = self._look_after()
        if first:
            failure = self._append(self._results, first) or failure
        if again:
            failure = self._append(self._open_redo(), again) or failure
        if failure is not None:
            raise failure
        due = self._fsync == "always" or (
            self._fsync == "batch" and (self._lines >= self._batch or time.monotonic() - self._synced_at >= SYNC_EVERY)
        )
        if due:
            self._sync()

    def _sync(self) -> None:
        self._lines = 0
        self._synced_at = time.monotonic()
        failure = None
        for fd in sorted(self._unsynced):
            start, end = self._unsynced.pop(fd)
            try:
                disk.sync(fd)
            except OSError as error:
                # The kernel may drop the pages that it could not write: they are copied while they can be read.
                self._note_failure(error)
                lines = _between(fd, start, end)
                count = lines.count(b"\n")
                failure = self._save(partial(_once, lines), f"{count} answers")
        if failure is not None:
            raise failure
        if self._synced_at - self._marks_synced_at >= SYNC_EVERY:
            self._marks_synced_at = self._synced_at
            with suppress(OSError):  # if the storage is lost too, more entries count as sent
                self._intents.sync_marks()

    def close(self) -> None:
        """Close what this object opened."""
        with suppress(OutputError):
            if self.unsynced:
                self._sync()  # what was written before the disk failed
        if self._redo is not None:
            os.close(self._redo)
            self._redo = None
        self._rescue.close()

    def _open_redo(self) -> int:
        """Return the redo file's descriptor, one that is not written to when it cannot be opened."""
        if self._redo is None and self._failure is None:
            try:
                self._redo = disk.create(self._redo_path)
                self._ends[self._redo] = os.fstat(self._redo).st_size
                self._held.append(OpenFile(self._redo, self._redo_path))
                if self._fsync != "never":
                    disk.sync_folder(self._redo_path.parent)
            except OSError as error:
                self._note_failure(error)
        return self._redo if self._redo is not None else -1

    def _append(self, fd: int, outcomes: list[Outcome | InvalidRecord]) -> OutputError | None:
        """Write outcomes, to the rescue file if necessary; return the error that made it necessary."""
        gone = self._copy_answers(outcomes) if self._answers is not None else None
        parts = [self._render(outcome) for outcome in outcomes]
        lines = b"".join(parts)
        if self._failure is None:
            size = self._ends[fd]
            try:
                disk.append(fd, lines)
            except OSError as error:
                self._note_failure(error)
                self._torn = not self._cut_back(fd, size) and fd == self._redo
            else:
                self._ends[fd] = size + len(lines)
                self._unsynced[fd] = (self._unsynced.get(fd, (size,))[0], self._ends[fd])
                self._lines += len(outcomes)
                with suppress(OSError):  # the line says it, too
                    self._intents.settle(
                        o.job.intent_slot for o in outcomes if isinstance(o, Outcome) and o.job.intent_slot >= 0
                    )
                if self._answers is not None:
                    self._index_answers(fd, size, outcomes, parts)
                return gone
        return self._save(partial(_once, lines), f"{len(outcomes)} answers")

    def _look_after(self) -> OutputError | None:
        """Check what other programs did to the files; save lines that would be lost with this run."""
        if self._failure is not None:
            return None
        failure = None
        for file in self._held:
            found = file.tampering(self._ends[file.fd])
            if found is None:
                continue
            if self._failure is None:
                self._failure, self._remedy = found.what, found.remedy
                failure = OutputError(found.what, f"{found.remedy}, then run the same command again.")
            if found.gone:
                self._gone, self._saved = True, "all that it held, and the answers that were in flight,"
                failure = self._save(partial(_content, file.fd), f"what {file.path} held")
        return failure

    def _note_failure(self, error: OSError) -> None:
        self._failure = f"cannot write to {self._path}: {error.strerror}"

    def _cut_back(self, fd: int, size: int) -> bool:
        try:
            disk.cut(fd, size)
        except OSError:
            return False  # the next open finds the torn line and moves it away
        return True

    def _copy_answers(self, outcomes: list[Outcome | InvalidRecord]) -> OutputError | None:
        """Replace copies by the answers that they copy, which were written before or are in this batch.

        A copy whose answer is gone is left out; then that error is returned.
        """
        answers = self._answers
        assert answers is not None
        here = {
            outcome.job.answer_key: outcome.verdict
            for outcome in outcomes
            if isinstance(outcome, Outcome) and outcome.is_paid and not isinstance(outcome.verdict, CopiedAnswer)
        }
        gone = None
        for outcome in tuple(outcomes):
            if isinstance(outcome, Outcome) and isinstance(outcome.verdict, CopiedAnswer):
                how, key = outcome.verdict.how, outcome.job.answer_key
                answer = here.get(key) or answers.read(key)
                if answer is None:
                    outcomes.remove(outcome)
                    gone = OutputError(
                        f"the answer that record {outcome.job.identity.index} shares is gone from {self._path}",
                        "Run the same command again.",
                    )
                    continue
                outcome.verdict, outcome.copied = _copy_of(answer), how
                if not outcome.job.redo:
                    outcome.job.prior_attempts = 0  # they were those of the line that it copies
        return gone

    def _index_answers(self, fd: int, offset: int, outcomes: list[Outcome | InvalidRecord], parts: list[bytes]) -> None:
        assert self._answers is not None
        source = OWN if fd == self._results else REDO
        self._answers.use(source, fd)
        for outcome, part in zip(outcomes, parts, strict=True):
            if isinstance(outcome, Outcome) and outcome.is_paid:
                answers, copied = isinstance(outcome.verdict, Completion), outcome.copied is not None
                self._answers.add(source, outcome.job.answer_key, offset, answers=answers, copied=copied)
            offset += len(part)

    def _save(self, pieces: Callable[[], Iterable[bytes]], what: str) -> OutputError:
        assert self._failure is not None
        try:
            self._rescue.save(pieces, torn=self._torn)
        except OSError as error:
            return OutputError(
                f"{self._failure}; {what} could not be saved elsewhere either: {error.strerror}",
                "Make room; the records stay in doubt.",
            )
        saved = OutputError(
            f"{self._failure}; {self._saved} are in {' and '.join(self._rescue.paths)}",
            f"{self._remedy + ', put' if self._remedy else 'Put'} them back: {self._back()}; "
            "then run the same command again.",
        )
        saved.rescued = True
        return saved

    def _back(self) -> str:
        """Return the shell commands that put the rescued lines where the next run finds them."""
        steps = [f"cat {' '.join(map(quote, self._rescue.paths))} >> {quote(str(self._redo_path))}"]
        if self._gone:
            steps.insert(0, f"touch {quote(str(self._path))}")
        if self._gone and not self._redo_path.parent.exists():
            steps.insert(0, f"mkdir -p -m 700 {quote(str(self._redo_path.parent))}")
        return " && ".join(steps)


def _copy_of(verdict: Completion | Fault) -> Completion | Fault:
    """Return the same without what it cost."""
    if isinstance(verdict, UnusableAnswer):
        return replace(verdict, usage=None, cost=None, completion=replace(verdict.completion, usage=None, cost=None))
    return replace(verdict, usage=None, cost=None)


def _between(fd: int, start: int, end: int) -> bytes:
    """Read a part of a file, as much of it as can still be read."""
    with suppress(OSError):
        return os.pread(fd, end - start, start)
    return b""


def _once(lines: bytes) -> tuple[bytes]:
    return (lines,)


def _content(fd: int) -> Iterator[bytes]:
    """Read a file from its beginning to its end."""
    offset = 0
    while piece := os.pread(fd, 1 << 20, offset):
        offset += len(piece)
        yield piece
