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
        self._refusal: OSError | None = None
        self._unsynced: set[int] = set()
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
        self._append(self._results, first)
        if again:
            if self._redo is None and self._refusal is None:
                self._redo = self._open_redo()
            self._append(self._redo if self._redo is not None else self._results, again)
        due = self._fsync == "always" or (
            self._fsync == "batch" and (self._lines >= self._batch or time.monotonic() - self._synced_at >= SYNC_EVERY)
        )
        if due:
            self._sync()

    def _sync(self) -> None:
        self._lines = 0
        self._synced_at = time.monotonic()
        for fd in sorted(self._unsynced):
            self._unsynced.discard(fd)
            try:
                disk.sync(fd)
            except OSError as error:
                self._refusal = error
                raise OutputError(
                    f"{self._path} may not be on the disk: {error.strerror}",
                    "Check the disk, then run the same command again.",
                ) from error

    def close(self) -> None:
        """Close what this object opened."""
        for fd in (self._redo, self._rescue):
            if fd is not None:
                os.close(fd)
        self._redo = self._rescue = None

    def _open_redo(self) -> int | None:
        try:
            return disk.create(self._redo_path)
        except OSError as error:
            self._refusal = error
            return None

    def _append(self, fd: int, outcomes: list[Outcome | Refused]) -> None:
        if not outcomes:
            return
        if self._answers is not None:
            self._copy_answers(outcomes)
        parts = [self._render(outcome) for outcome in outcomes]
        lines = b"".join(parts)
        if self._refusal is None:
            size = os.fstat(fd).st_size
            try:
                disk.append(fd, lines)
            except OSError as error:
                self._refusal = error
                self._cut_back(fd, size)
            else:
                self._unsynced.add(fd)
                self._lines += len(outcomes)
                self._settle(outcomes)
                if self._answers is not None:
                    self._index_answers(fd, size, outcomes, parts)
                return
        raise self._save(lines, len(outcomes))

    def _cut_back(self, fd: int, size: int) -> None:
        with suppress(OSError):  # the next open finds the torn line and puts it aside
            disk.cut(fd, size)

    def _settle(self, outcomes: list[Outcome | Refused]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Outcome) and outcome.job.place >= 0:
                self._intents.mark(outcome.job.place, SETTLED)

    def _copy_answers(self, outcomes: list[Outcome | Refused]) -> None:
        """Put answers in the place of copies. What they copy was written before them, or is in this very batch."""
        answers = self._answers
        assert answers is not None
        here = {
            outcome.job.key: outcome.verdict
            for outcome in outcomes
            if isinstance(outcome, Outcome)
            and isinstance(outcome.verdict, Completion)
            and not isinstance(outcome.verdict, Copy)
        }
        for outcome in outcomes:
            if isinstance(outcome, Outcome) and isinstance(outcome.verdict, Copy):
                how, key = outcome.verdict.how, outcome.job.key
                answer = here.get(key) or answers.read(key)
                if answer is None:
                    raise OutputError(
                        f"the answer that record {outcome.job.identity.index} shares is gone from {self._path}",
                        "Run the same command again.",
                    )
                outcome.verdict = replace(answer, usage=None, cost=None, extra={**answer.extra, how: True})

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
        return OutputError(
            f"{why}; the answers that were in flight are in {self._rescue_path}",
            f"Make room, then put them back: cat {quote(self._rescue_path)} >> {quote(str(self._path))}",
        )
