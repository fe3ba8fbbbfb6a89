"""Opens where the results of a run go: stdout, a results file that is continued, or both."""

import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from llmbatch.app.files import is_stream, open_stream, resolve_target
from llmbatch.app.jobs import SkipDone
from llmbatch.app.resume import ResumePlan
from llmbatch.app.survey import Survey
from llmbatch.app.table_names import results_of_table
from llmbatch.core.errors import OutputError, ReaderGone, UsageError
from llmbatch.core.fault import Fault
from llmbatch.core.job import Route
from llmbatch.core.outcome import InvalidRecord, Outcome
from llmbatch.core.ports import Dialect, Sink
from llmbatch.core.redact import Redactor
from llmbatch.core.settings import InputSettings, ModelSettings, OutputSettings, ResumeSettings
from llmbatch.results.journal import Journal
from llmbatch.results.lines import parse
from llmbatch.results.opening import open_store
from llmbatch.results.output_formats import SHAPES, Missing, Reshape
from llmbatch.results.render import Render, jsonl, reshaped
from llmbatch.results.store import Store
from llmbatch.results.stream_sink import StreamSink

if TYPE_CHECKING:
    from llmbatch.app.table import Table

__all__ = ["Output", "Stream", "StreamTo", "check_stdout", "open_output"]


class Stream(Sink, Protocol):
    """A sink that also takes rendered lines."""

    def write_lines(self, lines: bytes) -> None:
        """Write the lines. Raises as `write` does."""
        ...


StreamTo = Callable[[Render], Stream]
"""Makes the sink for results that are passed on, also beside a results file, from the function that renders a line."""


@dataclass(slots=True)
class Output:
    """Where outcomes go. With a results file: what it needs before (`skip_done`) and after (`finish`) a run."""

    sink: Sink
    store: Store | None = None
    journal: Journal | None = None
    skip_done: SkipDone | None = None
    survey: Survey | None = None
    """What is to become of the records of the input, where that is known before anything is sent."""
    worked: Callable[[Route], bool] = lambda route: False
    """Tells which routes have answers from earlier runs."""
    failures: "_FailureFile | None" = None
    table: "Table | None" = None
    ordered: bool = False
    """Whether the lines are brought into the order of the input when the run ends."""
    prune: bool = False
    """Whether lines without a record in the input are then moved out."""
    counts_orphans: bool = True
    """Whether such lines can be told: not if only a part of the input is read."""
    notice: Callable[[str], None] = lambda text: None
    """Tells a person."""

    def finish(self, *, complete: bool, disk_failed: bool) -> int:
        """Bring the results file into its final form; return how many lines have no record in the input.

        Such lines can be told, and lines are pruned and ordered, only when the input is `complete`, that is, read to
        its end. With `append` they belong to other inputs and do not count. When the disk has failed, the next run
        finishes the file. Raises OutputError.
        """
        if self.failures is not None:
            self.failures.begin()
        if self.store is None or self.journal is None:
            return 0
        self.journal.sync()
        if disk_failed:
            return 0
        for text in self.store.finish(ordered=complete and self.ordered):
            self.notice(text)
        if self.store.replaced.settle(complete=complete):
            return 0
        orphans = self.store.orphans() if complete and self.counts_orphans else 0
        if orphans and self.prune:
            if self.store.is_of_other_records:  # an input that is empty since its producer failed, or another file
                self.notice(f"none of the results in {self.store.path} is of the input: --prune moved nothing")
            else:
                self.store.prune()
        if self.table is not None:
            self.table.write()
        return orphans


def check_stdout(output: OutputSettings, fd: int) -> None:
    """Raise UsageError when results go to stdout and it is closed."""
    wanted = output.path is None or output.tee
    if wanted and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise UsageError("stdout is closed", "Results need a place: open it, or use -o FILE alone.")


@contextmanager
def open_output(
    output: OutputSettings,
    input: InputSettings,
    model: ModelSettings,
    resume: ResumeSettings,
    dialect: Dialect,
    redact: Redactor,
    notice: Callable[[str], None],
    stream_to: StreamTo,
    *,
    include: frozenset[str],
) -> Iterator[Output]:
    """Open where results go, and say what a file that is continued has and what will be sent.

    `include` is what lines show beside the answer. Raises UsageError, OutputBusy or OutputError; nothing was sent then.
    """
    path, shape = output.path, SHAPES.get("raw" if output.raw else output.format)
    own_shape = jsonl(include=include, redact=redact)
    render = own_shape if shape is None else reshaped(shape, include=include, redact=redact)
    with ExitStack() as stack:
        plain = stream_to(render)
        error_file = output.error_file
        failures = stack.enter_context(closing(_FailureFile(error_file, render))) if error_file is not None else None
        stream = plain if failures is None else _Split(plain, failures)
        if path is None:
            yield Output(stream, failures=failures)
            return
        table = _table(output, path, notice)
        store = stack.enter_context(
            open_store(
                path,
                fsync=output.fsync,
                overwrite=output.overwrite,
                move_broken=resume.move_broken,
                hold=resume.in_doubt == "hold",
            )
        )
        if resume.dedupe or resume.reuse:
            store.index_answers([results_of_table(name) for name in resume.reuse])
        plan = ResumePlan(store, input, model, resume, notice)
        survey = plan.begin(dialect)
        journal = stack.enter_context(
            closing(store.journal(own_shape, batch=input.batch_size, rescue_dir=output.rescue_dir))
        )
        sink: Sink = journal
        if output.tee:
            _show_kept(partial(store.kept_lines, plan.policy), plain, failures, shape)
            sink = _Tee(journal, stream)
        yield Output(
            sink,
            store,
            journal,
            plan.skip_done,
            survey,
            plan.worked,
            failures,
            table,
            ordered=output.ordered,
            prune=resume.prune,
            counts_orphans=input.limit is None and input.sample is None and not resume.append,
            notice=notice,
        )


def _table(output: OutputSettings, results: Path, notice: Callable[[str], None]) -> "Table | None":
    """Return the table that is written when the run ends, if `-o` names one, and say so. Raises UsageError."""
    path = output.table
    if path is None:
        return None
    from llmbatch.app.table import Table

    table = Table(path, results, overwrite=output.overwrite)
    table.check()
    notice(f"results are kept in {results}; {path} is written from it when the run ends")
    return table


class _Tee:
    """Writes to the results file first, then to stdout; once the reader of stdout is gone, to the file alone."""

    def __init__(self, journal: Journal, stream: Sink) -> None:
        self._journal = journal
        self._stream: Sink | None = stream

    def write(self, outcomes: Sequence[Outcome | InvalidRecord]) -> None:
        """Write the outcomes. Raises OutputError, or ReaderGone once."""
        self._journal.write(outcomes)
        if self._stream is None:
            return
        try:
            self._stream.write(outcomes)
        except (ReaderGone, OutputError) as error:
            self._stream = None
            error.recorded = True
            raise


class _Split:
    """Passes results on, and writes failures to a file of their own."""

    def __init__(self, stream: Stream, failures: "_FailureFile") -> None:
        self._stream, self._failures = stream, failures

    def write(self, outcomes: Sequence[Outcome | InvalidRecord]) -> None:
        """Write the outcomes. Raises OutputError, ReaderGone."""
        failed = [isinstance(outcome, InvalidRecord) or isinstance(outcome.verdict, Fault) for outcome in outcomes]
        if any(failed):
            self._failures.write([outcome for outcome, bad in zip(outcomes, failed, strict=True) if bad])
        if not all(failed):
            self._stream.write([outcome for outcome, bad in zip(outcomes, failed, strict=True) if not bad])


class _FailureFile:
    """The file of failures. It is emptied when something is written: a run that cannot begin leaves it as it was."""

    def __init__(self, path: Path, render: Render) -> None:
        self._path = path
        self._render = render
        self._fd: int | None = None
        self._sink: StreamSink | None = None

    def begin(self) -> StreamSink:
        """Empty the file, if that was not done yet. Raises OutputError."""
        if self._sink is None:
            try:
                self._fd = self._open()
            except OSError as error:
                raise OutputError(f"--error-file {self._path}: {error.strerror}", "Name another file.") from error
            self._sink = StreamSink(self._fd, self._render, name=str(self._path))
        return self._sink

    def write(self, outcomes: Sequence[Outcome | InvalidRecord]) -> None:
        """Write the outcomes. Raises OutputError, ReaderGone."""
        self.begin().write(outcomes)

    def write_lines(self, lines: bytes) -> None:
        """Write lines that are rendered already. Raises as `write` does."""
        self.begin().write_lines(lines)

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)

    def _open(self) -> int:
        if is_stream(self._path):
            return open_stream(self._path)
        target = resolve_target(self._path, f"--error-file {self._path}")
        return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)


def _show_kept(
    kept: Callable[[], Iterator[bytes]], stream: Stream, failures: Stream | None, shape: Reshape | None
) -> None:
    """Write the lines that stay to stdout. Raises UsageError before it writes, if a line has no form in this shape."""
    if shape is None:
        for line in kept():
            stream.write_lines(line)
        return
    deque(_shaped(kept(), shape), maxlen=0)
    for piece, failed in _shaped(kept(), shape):
        (failures if failed and failures is not None else stream).write_lines(piece)


def _shaped(lines: Iterator[bytes], shape: Reshape) -> Iterator[tuple[bytes, bool]]:
    for line in lines:
        try:
            yield shape(parse(line) or {})
        except Missing as error:
            raise UsageError(
                f"a line of the results file {error}, which its shape on stdout consists of",
                f"Run with --include {','.join(error.parts)} from the start.",
            ) from error
