"""`stream` and `run`: the engine under a loop of the caller's, or one of its own."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterable, Collection, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, Unpack, cast

import anyio
import anyio.to_thread

from llmbatch.api.options import API_KEY, Options, settings_of
from llmbatch.api.result import Result
from llmbatch.api.result_queue import ResultQueue
from llmbatch.app.servers import find_servers
from llmbatch.app.session import Session, open_session
from llmbatch.core.errors import LlmbatchError, ReaderGone, UsageError
from llmbatch.core.redact import Redactor
from llmbatch.core.system_limits import explain_shortage
from llmbatch.core.tally import Summary
from llmbatch.input.entry import RecordSource
from llmbatch.input.in_memory import Awaited, Collected, Iterated, rows_of_table
from llmbatch.results.reader import open_results
from llmbatch.transport_process.event_loop import has_uvloop
from llmbatch.transport_process.spawn import spawn_transport
from llmbatch.ui.streams import EventLog

__all__ = ["Records", "Run", "run", "stream"]

Record: TypeAlias = "str | dict[str, Any]"
Records: TypeAlias = "Iterable[Record] | AsyncIterable[Record] | Path"
"""Prompts as strings, records as a line of JSON would have them, or a file of records by its path."""

_log = logging.getLogger("llmbatch")


class Run:
    """A run that is over: its `summary`, as `--summary json` has it, and its results, by iterating.

    Without a results file the results are in the order of the records. With one they are read from there, those of
    earlier runs too, each time anew.
    """

    def __init__(self, summary: dict[str, Any], results: list[Result], path: Path | None) -> None:
        self.summary = summary
        self._results = results
        self._path = path

    def __iter__(self) -> Iterator[Result]:
        if self._path is None:
            yield from self._results
            return
        with open_results([str(self._path)]) as (file,):
            for line in file.results():
                yield cast(Result, line)


async def stream(records: Records, **options: Unpack[Options]) -> AsyncGenerator[Result, None]:
    """Send the records; yield a result for each as it comes, failed ones too. Needs asyncio.

    With `output` the results file is written as well, and what it has of earlier runs comes first. Closing the
    generator ends the run: what is in flight is dropped. Raises LlmbatchError for what is wrong before the first
    request, and for what ends a run early once all results that came are yielded.
    """
    live = _BackgroundRun(records, options, tee=True)
    task = asyncio.create_task(live.work())
    try:
        while results := await live.delivery.take():
            for result in results:
                yield result
        await asyncio.shield(task)
        live.raise_failure()
    finally:
        live.close()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])


def run(records: Records, **options: Unpack[Options]) -> Run:
    """Send the records and wait for all results. Blocks: inside a running loop use `stream`.

    With `output` results stay in that file, without it in memory. Raises as `stream` does; the exception's `run` is
    then the Run as far as it came.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(partial(_collect, records, options), backend_options={"use_uvloop": has_uvloop()})
    raise UsageError("run blocks, and a loop is running here", "Use: async for result in llmbatch.stream(...)")


async def _collect(records: Records, options: Options) -> Run:
    live = _BackgroundRun(records, options, tee=False)
    task = asyncio.create_task(live.work())
    results: list[Result] = []
    try:
        while some := await live.delivery.take():
            results += some
        await asyncio.shield(task)
    finally:
        live.close()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
    results.sort(key=lambda result: result["index"])
    ended = Run(live.summary.as_json() if live.summary is not None else {}, results, live.settings.output.path)
    live.raise_failure(ended)
    return ended


class _BackgroundRun:
    """A run under way, worked off by a task of its own. Raises UsageError for options that do not go."""

    def __init__(self, records: Records, options: Options, *, tee: bool) -> None:
        paths, self._source, self._pump = _supply(records)
        self.settings = settings_of(options, paths, tee=tee)
        environment = dict(os.environ) | ({API_KEY: options["api_key"]} if "api_key" in options else {})
        self._endpoint = find_servers(self.settings.model, environment)
        self.delivery = ResultQueue()
        self.summary: Summary | None = None
        self._failure: Exception | None = None
        self._session: Session | None = None
        self._closed = False
        self._ended = asyncio.Event()

    async def work(self) -> None:
        """Run to the end; what fails is kept for `raise_failure`."""
        try:
            async with anyio.create_task_group() as tasks:
                if self._pump is not None:
                    tasks.start_soon(self._pump.pump)
                tasks.start_soon(self._run)
                try:
                    await self._ended.wait()
                finally:  # also when the loop goes down: nobody may wait for results to be taken then
                    self.close()
                tasks.cancel_scope.cancel()
        except Exception as error:
            self._failure = _first(error)
        finally:
            self.delivery.close()

    def close(self) -> None:
        """Take no more results; unless the run is over, end it."""
        self._closed = True
        self.delivery.close()
        if self._source is not None:
            self._source.interrupt()
        if self._session is not None and not self._ended.is_set():
            self._session.drop(ReaderGone("the results are not taken any more"))

    def raise_failure(self, ended: Run | None = None) -> None:
        """Raise why the run could not begin, or why it ended early."""
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
                self.summary = await session.to_the_end()
            await anyio.to_thread.run_sync(stack.close)
        self._ended.set()

    def _open(self, stack: ExitStack) -> Session:
        teller = EventLog(_log.info, Redactor(self._endpoint.secrets), verbose=_log.isEnabledFor(logging.DEBUG))
        wire = stack.enter_context(spawn_transport())
        return stack.enter_context(
            open_session(
                self.settings, self._endpoint, wire, self.delivery.rendering, source=self._source, observers=(teller,)
            )
        )


def _supply(records: Any) -> tuple[tuple[str, ...], RecordSource | None, Awaited | None]:
    """Return the paths, or what reads the values; and what is to be pumped. Raises UsageError."""
    if isinstance(records, Path):
        return (str(records),), None, None
    if isinstance(records, str | bytes | dict):
        raise UsageError(
            f"records is a {type(records).__name__}, not several records", "Pass a list, or pathlib.Path for a file."
        )
    rows = rows_of_table(records)
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
