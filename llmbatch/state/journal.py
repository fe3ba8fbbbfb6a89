"""The results file as it grows: whole lines appended, synced as asked, saved elsewhere when the disk refuses."""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from shlex import quote

from llmbatch.core.errors import OutputError
from llmbatch.core.outcome import Completion, Copy, Outcome, Refused
from llmbatch.state import disk
from llmbatch.state.answers import OWN, REDO, Answers
from llmbatch.state.intents import SETTLED, Intents

__all__ = ["Journal"]

SYNC_EVERY = 0.2
"""Seconds that results may stand un-synced under `--fsync batch`."""


class Journal:
    """Writes outcomes: first answers to the results file, new answers for old lines to the redo file.

    When the disk refuses, the file is cut back to its last whole line, and what could not be written goes to a rescue
    file, with all that still comes; its records stay in doubt until those lines are put back.
    """

    def __init__(
        self,
        results: int,
        redo: Path,
        intents: Intents,
        render: Callable[[Outcome | Refused], bytes],
        *,
        path: Path,
        fsync: str,
        batch: int,
        rescue_dir: Path | None,
        answers: Answers | None = None,
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
        self._rescue_dir = rescue_dir
        self._rescue: int | None = None
        self._rescue_path = ""
        self._rescued = 0
        self._torn = False
        """Something half written could not be cut off."""
        self._refusal: OSError | None = None
        self._unsynced: dict[int, tuple[int, int]] = {}
        """Where, in a file, what is not on the disk yet begins and ends."""
        self._lines = 0
        self._synced_at = time.monotonic()
        self._lock = threading.Lock()
        """Between the writer and who syncs what stood too long."""

    @property
    def unsynced(self) -> bool:
        """Whether something written is not on the disk yet, and should be soon."""
        return bool(self._unsynced) and self._fsync != "never"

    def write(self, outcomes: Sequence[Outcome | Refused]) -> None:
        """Append the outcomes. Raises OutputError, naming the rescue file, for every batch that went there."""
        with self._lock:
            self._write(outcomes)

    def sync(self) -> None:
        """Put what is written on the disk. Raises OutputError; after a failed sync nothing more is written there."""
        with self._lock:
            self._sync()

    def _write(self, outcomes: Sequence[Outcome | Refused]) -> None:
        first: list[Outcome | Refused] = []
        again: list[Outcome | Refused] = []
        for outcome in outcomes:
            (again if isinstance(outcome, Outcome) and outcome.job.redo else first).append(outcome)
        failure = self._append(self._results, first) if first else None
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
                # The kernel may have dropped what it could not write, or may be about to: it goes elsewhere while it
                # can still be read.
                self._refusal = error
                lines = _between(fd, start, end)
                failure = self._save(lines, lines.count(b"\n"))
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Close what this object opened."""
        with suppress(OutputError):
            if self.unsynced:
                self._sync()  # what was written before the disk refused
        for fd in (self._redo, self._rescue):
            if fd is not None:
                os.close(fd)
        self._redo = self._rescue = None

    def _open_redo(self) -> int:
        """Return the redo file's descriptor, one that is not written to when it cannot be opened."""
        if self._redo is None and self._refusal is None:
            try:
                self._redo = disk.create(self._redo_path)
                if self._fsync != "never":
                    disk.sync_folder(self._redo_path.parent)
            except OSError as error:
                self._refusal = error
        return self._redo if self._redo is not None else -1

    def _append(self, fd: int, outcomes: list[Outcome | Refused]) -> OutputError | None:
        """Write outcomes, to the rescue file if need be; return what kept them from where they belong."""
        gone = self._copy_answers(outcomes) if self._answers is not None else None
        parts = [self._render(outcome) for outcome in outcomes]
        lines = b"".join(parts)
        if self._refusal is None:
            size = os.fstat(fd).st_size
            try:
                disk.append(fd, lines)
            except OSError as error:
                self._refusal = error
                self._torn = not self._cut_back(fd, size) and fd == self._redo
            else:
                self._unsynced[fd] = (self._unsynced.get(fd, (size,))[0], size + len(lines))
                self._lines += len(outcomes)
                self._settle(outcomes)
                if self._answers is not None:
                    self._index_answers(fd, size, outcomes, parts)
                return gone
        return self._save(lines, len(outcomes))

    def _cut_back(self, fd: int, size: int) -> bool:
        try:
            disk.cut(fd, size)
        except OSError:
            return False  # the next open finds the torn line and puts it aside
        return True

    def _settle(self, outcomes: list[Outcome | Refused]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Outcome) and outcome.job.place >= 0:
                self._intents.mark(outcome.job.place, SETTLED)

    def _copy_answers(self, outcomes: list[Outcome | Refused]) -> OutputError | None:
        """Put answers in the place of copies. What they copy was written before them, or is in this very batch.

        Copies of what is gone are taken out, and told.
        """
        answers = self._answers
        assert answers is not None
        here = {
            outcome.job.key: outcome.verdict
            for outcome in outcomes
            if isinstance(outcome, Outcome)
            and isinstance(outcome.verdict, Completion)
            and not isinstance(outcome.verdict, Copy)
        }
        gone = None
        for outcome in tuple(outcomes):
            if isinstance(outcome, Outcome) and isinstance(outcome.verdict, Copy):
                how, key = outcome.verdict.how, outcome.job.key
                answer = here.get(key) or answers.read(key)
                if answer is None:
                    outcomes.remove(outcome)
                    gone = OutputError(
                        f"the answer that record {outcome.job.identity.index} shares is gone from {self._path}",
                        "Run the same command again.",
                    )
                    continue
                outcome.verdict = replace(answer, usage=None, cost=None, extra={**answer.extra, how: True})
        return gone

    def _index_answers(self, fd: int, offset: int, outcomes: list[Outcome | Refused], parts: list[bytes]) -> None:
        assert self._answers is not None
        source = OWN if fd == self._results else REDO
        self._answers.use(source, fd)
        for outcome, part in zip(outcomes, parts, strict=True):
            if isinstance(outcome, Outcome) and isinstance(outcome.verdict, Completion):
                self._answers.add(source, outcome.job.key, offset)
            offset += len(part)

    def _save(self, lines: bytes, count: int) -> OutputError:
        assert self._refusal is not None
        why = f"cannot write to {self._path}: {self._refusal.strerror}"
        try:
            if self._rescue is None:
                self._rescue, self._rescue_path = tempfile.mkstemp(
                    prefix=f"{self._path.name}.", suffix=".rescue.jsonl", dir=self._rescue_dir
                )
                with suppress(OSError):
                    disk.sync_folder(Path(self._rescue_path).parent)
            if self._torn and not self._rescued:
                lines = b"\n" + lines  # they will be put behind a piece of a line
            disk.append(self._rescue, lines)
            disk.sync(self._rescue)
            self._rescued += len(lines)
        except OSError as error:
            if self._rescue is not None:
                self._cut_back(self._rescue, self._rescued)
            return OutputError(
                f"{why}; {count} answers could not be saved elsewhere either: {error.strerror}",
                "Make room; the records stay in doubt.",
            )
        saved = OutputError(
            f"{why}; the answers that were in flight are in {self._rescue_path}",
            f"Make room, put them back: cat {quote(self._rescue_path)} >> {quote(str(self._redo_path))}; "
            "then run the same command again.",
        )
        saved.rescued = True
        return saved


def _between(fd: int, start: int, end: int) -> bytes:
    """Read a part of a file, as far as that can still be done."""
    with suppress(OSError):
        return os.pread(fd, end - start, start)
    return b""
