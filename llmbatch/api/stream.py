"""`stream` runs the engine in the event loop of the caller, `run` in a loop of its own."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, Unpack, cast

import anyio
import anyio.to_thread
from anyio.from_thread import start_blocking_portal

from llmbatch.api.options import API_KEY, Options, settings_of
from llmbatch.api.result import Progress, Result, RunSummary
from llmbatch.api.result_queue import ResultQueue
from llmbatch.api.run_result import Run
from llmbatch.app.composition import open_session
from llmbatch.app.servers import find_servers
from llmbatch.app.session import Session, View
from llmbatch.app.timer import ticking
from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import (
    ActionNeeded,
    CeilingReached,
    InputError,
    LlmbatchError,
    OutputBusy,
    OutputError,
    ReaderGone,
    UsageError,
)
from llmbatch.core.redact import Redactor
from llmbatch.core.snapshot import Snapshot
from llmbatch.core.system_limits import explain_shortage
from llmbatch.core.tally import Summary
from llmbatch.input.entry import RecordSource
from llmbatch.input.in_memory import Awaited, Collected, Iterated, table_rows
from llmbatch.parts.run import run_parts
from llmbatch.transport_process.event_loop import has_uvloop
from llmbatch.transport_process.spawn import spawn_transport
from llmbatch.ui.streams import EventLog

__all__ = ["Records", "Run", "run", "stream"]

Record: TypeAlias = "str | dict[str, Any]"
Records: TypeAlias = "Iterable[Record] | AsyncIterable[Record] | Path"
"""Prompts as strings, records as dicts like lines of JSONL, or the path of a file of records."""

_log = logging.getLogger("llmbatch")

_EVERY = 0.2
"""Seconds between two looks at the progress."""


async def stream(records: Records, **options: Unpack[Options]) -> AsyncGenerator[Result, None]:
    """Send the records; yield a result for each as it comes, failed ones too. Needs asyncio.

    With `output` the results file is written as well, and the results of earlier runs in it come first. Closing the
    generator ends the run and drops requests in flight. Raises LlmbatchError for errors before the first request; if
    the run ends early, it yields all results first and then raises the reason.
    """
    with _hints():
        live = _BackgroundRun(records, options, tee=True)
    task = asyncio.create_task(live.work())
    try:
        while results := await live.queue.take():
            for result in results:
                yield result
        await asyncio.shield(task)
        with _hints():
            live.raise_failure()
    finally:
        live.close()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])


def run(
    records: Records,
    *,
    progress: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Unpack[Options],
) -> Run:
    """Send the records and wait for all results; where a loop runs, as in a notebook, in a thread of its own.

    `progress` shows a bar; `on_progress` is called several times a second, from another thread, and at the end. With
    `output` results stay in that file, without it in memory. Raises as `stream` does; the `run` attribute of the
    exception is the Run with the results so far.
    """
    with _hints(), ExitStack() as stack:
        watchers: list[Callable[[Snapshot], None]] = []
        if on_progress is not None:
            watchers.append(lambda now: on_progress(_progress(now)))
        if progress:
            from llmbatch.ui.bar import bar

            watchers.append(stack.enter_context(bar()))
        if os.fspath(options.get("output", "")).endswith("/"):
            return _run_in_parts(records, options)
        collect = partial(_collect, records, options, _watching(watchers) if watchers else None)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return anyio.run(collect, backend_options={"use_uvloop": has_uvloop()})
        with start_blocking_portal(backend_options={"use_uvloop": has_uvloop()}) as portal:
            return portal.call(collect)


@contextmanager
def _hints() -> Iterator[None]:
    """Make what to do next a part of the text of errors."""
    try:
        yield
    except LlmbatchError as error:
        if error.hint and len(error.args) == 1 and error.hint not in str(error):
            error.args = (f"{error.message}\n{error.hint}",)
        raise


def _watching(watchers: Sequence[Callable[[Snapshot], None]]) -> View:
    """Return a view that passes snapshots on, and the last one at the end."""

    @contextmanager
    def view(snapshot: Callable[[], Snapshot]) -> Iterator[None]:
        def show() -> None:
            now = snapshot()
            for watcher in watchers:
                watcher(now)

        with ticking(_EVERY, show):
            yield
        show()

    return view


def _progress(now: Snapshot) -> Progress:
    return Progress(
        finished=now.finished,
        total=now.total,
        ok=now.ok,
        failed=now.failed,
        in_flight=now.in_flight,
        cost_usd=now.cost,
        eta_s=now.eta,
    )


def _run_in_parts(records: Records, options: Options) -> Run:
    paths, source, _ = _sources(records)
    if source is not None:
        raise UsageError("records are values, and parts are cut from files", "Pass pathlib.Path, or output=FILE.")
    settings = settings_of(options, paths, tee=False)
    environment = _environment(options)
    servers = find_servers(settings.model, environment, settings.patience.connect_timeout)
    summary = run_parts(settings, servers, environment, observers=(_event_log(servers.redact),), embedded=True)
    ended = Run(cast(RunSummary, summary.as_json()), [], settings.output.folder)
    if summary.stopped is not None:
        failure = next((kind for kind in _STOPS if kind.exit_code == summary.exit_code), LlmbatchError)
        error = failure(summary.stopped, summary.hint)
        error.run = ended
        raise error
    return ended


_STOPS = (ActionNeeded, CeilingReached, OutputError, OutputBusy, UsageError, InputError)


async def _collect(records: Records, options: Options, view: View | None) -> Run:
    live = _BackgroundRun(records, options, tee=False, view=view)
    task = asyncio.create_task(live.work())
    results: list[Result] = []
    try:
        while some := await live.queue.take():
            results += some
        await asyncio.shield(task)
    finally:
        live.close()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
    results.sort(key=lambda result: result["index"])
    summary = cast(RunSummary, live.summary.as_json() if live.summary is not None else {})
    ended = Run(summary, results, live.settings.output.path)
    live.raise_failure(ended)
    return ended


class _BackgroundRun:
    """A run in a task of its own. Raises UsageError for bad options."""

    def __init__(self, records: Records, options: Options, *, tee: bool, view: View | None = None) -> None:
        self._view = view
        paths, self._source, self._pump = _sources(records)
        self.settings = settings_of(options, paths, tee=tee)
        if self.settings.output.folder is not None:
            raise UsageError("stream has no parts", "llmbatch.run(path, output='DIR/') works on a run of parts.")
        self._environment = _environment(options)
        self._servers = find_servers(self.settings.model, self._environment, self.settings.patience.connect_timeout)
        self.queue = ResultQueue()
        self.summary: Summary | None = None
        self._failure: Exception | None = None
        self._session: Session | None = None
        self._closed = False
        self._ended = asyncio.Event()

    async def work(self) -> None:
        """Run to the end; keep an error for `raise_failure`."""
        try:
            async with anyio.create_task_group() as tasks:
                if self._pump is not None:
                    tasks.start_soon(self._pump.pump)
                tasks.start_soon(self._run)
                try:
                    await self._ended.wait()
                finally:  # also if the loop is shut down: the writer must not wait for a reader then
                    self.close()
                tasks.cancel_scope.cancel()
        except Exception as error:
            self._failure = _first(error)
        finally:
            self.queue.close()

    def close(self) -> None:
        """Accept no more results; end the run unless it is over."""
        self._closed = True
        self.queue.close()
        if self._source is not None:
            self._source.interrupt()
        if self._session is not None and not self._ended.is_set():
            self._session.drop(ReaderGone("the results are not taken any more"))

    def raise_failure(self, ended: Run | None = None) -> None:
        """Raise the error that prevented the run or ended it early, if there is one."""
        failure = self._failure
        if failure is None and self._session is not None:
            failure = self._session.stopped
        if isinstance(failure, LlmbatchError):
            failure.run = ended
        if failure is not None:
            raise failure

    async def _run(self) -> None:
        with ExitStack() as stack:
            session = await anyio.to_thread.run_sync(self._open, stack)
            if not self._closed:
                self._session = session
                self.summary = await session.to_the_end(self._view)
            await anyio.to_thread.run_sync(stack.close)
        self._ended.set()

    def _open(self, stack: ExitStack) -> Session:
        transport = stack.enter_context(spawn_transport())
        return stack.enter_context(
            open_session(
                self.settings,
                self._servers,
                transport,
                self._environment,
                self.queue.rendering,
                source=self._source,
                observers=(_event_log(self._servers.redact),),
            )
        )


def _environment(options: Options) -> dict[str, str]:
    return dict(ENVIRONMENT) | ({API_KEY: options["api_key"]} if "api_key" in options else {})


def _event_log(redact: Redactor) -> EventLog:
    return EventLog(_log.info, redact, verbose=_log.isEnabledFor(logging.DEBUG))


def _sources(records: Any) -> tuple[tuple[str, ...], RecordSource | None, Awaited | None]:
    """Return the paths of files, or the source of values and its pump if it is asynchronous. Raises UsageError."""
    if isinstance(records, Path):
        return (str(records),), None, None
    if isinstance(records, str | bytes | dict):
        raise UsageError(
            f"records is a {type(records).__name__}, not several records", "Pass a list, or pathlib.Path for a file."
        )
    rows = table_rows(records)
    if rows is not None:
        size = len(records) if hasattr(records, "__len__") else getattr(records, "num_rows", 0)
        return (), Collected(rows, size, rows=True), None
    if isinstance(records, AsyncIterable):
        awaited = Awaited(records)
        return (), awaited, awaited
    if isinstance(records, Collection):
        return (), Collected(records, len(records)), None
    if isinstance(records, Iterable):
        return (), Iterated(records), None
    raise UsageError(f"records is a {type(records).__name__}, not records", "Pass a list, an iterator or a Path.")


def _first(error: Exception) -> Exception:
    first = error
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first if isinstance(first, LlmbatchError) else explain_shortage(error) or first
