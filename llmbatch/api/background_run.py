"""A run in a task of its own, whose results are taken as values: under `stream`, `run` and the stage for Ray Data."""

import asyncio
import logging
import math
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Sequence,
    Sized,
)
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import anyio
import anyio.to_thread

from llmbatch.api.options import API_KEY, Options, settings_of
from llmbatch.api.result import Result
from llmbatch.api.result_queue import ResultQueue
from llmbatch.api.run_result import Run
from llmbatch.app.composition import open_session
from llmbatch.app.prices import find_price
from llmbatch.app.servers import find_servers
from llmbatch.app.session import Session, View
from llmbatch.app.shared import Shared
from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import LlmbatchError, ReaderGone, UsageError
from llmbatch.core.events import Notice
from llmbatch.core.ports import Observer
from llmbatch.core.redact import Redactor
from llmbatch.core.settings import PaceSettings, StopSettings
from llmbatch.core.system_limits import explain_shortage
from llmbatch.core.tally import Summary
from llmbatch.input.address import is_remote
from llmbatch.input.entry import RecordSource
from llmbatch.input.in_memory import Awaited, Collected, Iterated, table_rows
from llmbatch.pacing.cost import Price
from llmbatch.parts.limits_server import limits_client, shared_limits, spent_on_file
from llmbatch.transport_process.spawn import spawn_transport
from llmbatch.ui.streams import EventLog

__all__ = ["BackgroundRun", "Limits", "Records", "environment_of", "event_log", "hints", "sources"]


class _Frame(Protocol):
    """A table of pandas or polars."""

    @property
    def columns(self) -> Any: ...


class _Table(Protocol):
    """A table of pyarrow, or a data set of Hugging Face."""

    @property
    def column_names(self) -> Any: ...


Record: TypeAlias = "str | dict[str, Any]"
Records: TypeAlias = "Iterable[Record] | AsyncIterable[Record] | Path | _Frame | _Table"
"""Prompts as strings, records as dicts like lines of JSONL, the path of a file of records, or a table."""
Limits = Callable[
    [PaceSettings, StopSettings, Price | None], AbstractContextManager[tuple[Shared | None, Sequence[Observer]]]
]
"""Makes limits that are shared with other runs, while a context lasts, and what watches refusals for them."""

_log = logging.getLogger("llmbatch")


@contextmanager
def hints() -> Iterator[None]:
    """Make what to do next a part of the text of errors."""
    try:
        yield
    except LlmbatchError as error:
        if error.hint and len(error.args) == 1 and error.hint not in str(error):
            error.args = (f"{error.message}\n{error.hint}",)
        raise


class BackgroundRun:
    """A run in a task of its own. Raises UsageError for bad options."""

    def __init__(
        self,
        records: "Records | Awaited",
        options: Options,
        *,
        tee: bool,
        view: View | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._view, self._limits = view, limits
        paths, self._source, self._pump = sources(records)
        self.settings = settings_of(options, paths, tee=tee)
        if self.settings.output.folder is not None:
            raise UsageError("stream has no parts", "llmbatch.run(path, output='DIR/') works on a run of parts.")
        self._environment = environment_of(options)
        self._servers = find_servers(self.settings.model, self._environment, self.settings.patience.connect_timeout)
        self.queue = ResultQueue()
        self.summary: Summary | None = None
        self._failure: Exception | None = None
        self._session: Session | None = None
        self._closed = False
        self._ended = asyncio.Event()

    async def results(self) -> AsyncGenerator[Result, None]:
        """Run; yield the results as they come, and then raise why the run ended early, if it did."""
        task = asyncio.create_task(self.work())
        try:
            while results := await self.queue.take():
                for result in results:
                    yield result
            await asyncio.shield(task)
            with hints():
                self.raise_failure()
        finally:
            self.close()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])

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
        self.queue.close()
        self.interrupt(ReaderGone("the results are not taken any more"))

    def interrupt(self, reason: LlmbatchError) -> None:
        """End the run unless it is over: take no more records, drop what is in flight. Results can still be taken."""
        self._closed = True
        if self._source is not None:
            self._source.interrupt()
        if self._session is not None and not self._ended.is_set():
            self._session.drop(reason)

    @property
    def is_ending_early(self) -> bool:
        """Whether `results` will raise after its last result."""
        return self._session is not None and self._session.is_ending_early

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
        pace, stop, limits = self.settings.pace, self.settings.stop, self._limits
        price = find_price(self.settings.model, stop, (self._servers.name, self._servers.preset))
        if limits is None and pace.share_limits is not None:
            patience = self.settings.patience.max_outage
            log = event_log(self._servers.redact)
            client = limits_client(
                pace, None, self._environment, math.inf, patience=patience, notice=lambda text: log(Notice(text))
            )
            limits = partial(shared_limits, client, before=spent_on_file(self.settings.output, stop, price))
        shared: Shared | None = None
        watching: Sequence[Observer] = ()
        if limits is not None:
            shared, watching = stack.enter_context(limits(pace, stop, price))
        transport = stack.enter_context(spawn_transport())
        return stack.enter_context(
            open_session(
                self.settings,
                self._servers,
                transport,
                self._environment,
                self.queue.rendering,
                source=self._source,
                observers=(event_log(self._servers.redact), *watching),
                shared=shared,
            )
        )


def environment_of(options: Options) -> dict[str, str]:
    """Return the variables of the environment, with the key that is given as an option."""
    return dict(ENVIRONMENT) | ({API_KEY: options["api_key"]} if "api_key" in options else {})


def event_log(redact: Redactor) -> EventLog:
    """Return an observer that tells what happens to the logger `llmbatch`."""
    return EventLog(_log.info, redact, verbose=_log.isEnabledFor(logging.DEBUG))


def sources(records: Any) -> tuple[tuple[str, ...], RecordSource | None, Awaited | None]:
    """Return the paths of files, or the source of values and its pump if it is asynchronous. Raises UsageError."""
    if isinstance(records, Path) or (isinstance(records, str) and is_remote(records)):
        return (str(records),), None, None
    if isinstance(records, Awaited):
        return (), records, records
    if isinstance(records, str | bytes | dict):
        hint = "Pass a list, or pathlib.Path for a file."
        if isinstance(records, dict) and any(table_rows(table) is not None for table in records.values()):
            hint = f"Pass one of its tables: records[{next(iter(records))!r}]"  # the splits of a data set
        raise UsageError(f"records is a {type(records).__name__}, not several records", hint)
    rows = table_rows(records)
    if rows is not None:
        sized = isinstance(records, Sized)
        return (), Collected(rows, len(records), rows=True) if sized else Iterated(rows, rows=True), None
    if isinstance(records, AsyncIterable):
        awaited = Awaited(records)
        return (), awaited, awaited
    if isinstance(records, Collection):
        return (), Collected(records, len(records)), None
    if isinstance(records, Iterable):
        return (), Iterated(records), None
    raise UsageError(f"records is of type {type(records).__name__}, not records", "Pass a list, an iterator or a Path.")


def _first(error: Exception) -> Exception:
    first = error
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first if isinstance(first, LlmbatchError) else explain_shortage(error) or first
