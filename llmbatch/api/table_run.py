"""A run that answers tables: rows are sent as tables come, and each table comes back with columns of answers."""

import asyncio
import itertools
import os
import socket
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio

from llmbatch.api.answer_columns import ANSWER_COLUMNS, add_columns, as_table
from llmbatch.api.background_run import BackgroundRun, Limits, hints
from llmbatch.api.options import Options
from llmbatch.api.result import Result
from llmbatch.core.errors import LlmbatchError, UsageError
from llmbatch.core.thread import start_thread
from llmbatch.input.arrow import batch_rows
from llmbatch.input.in_memory import Awaited
from llmbatch.transport_process.event_loop import has_uvloop

__all__ = ["TableRun"]

_EXCLUDED = {
    "limit": "Dataset.limit takes the first rows.",
    "sample": "Dataset.random_sample chooses rows.",
    "repeat": "Repeat the rows of the data set.",
    "shard": "Dataset.split cuts it.",
    "ordered": "Rows stay in their batches.",
    "append": "Each actor writes a new file.",
    "overwrite": "Each actor writes a new file.",
    "prune": "Each actor writes a new file.",
    "batch_api": "Use llmbatch.run, which can be continued.",
    "part_size": "Parts are for llmbatch.run.",
    "processes": "The number of actors is that of the pool.",
    "engine": "This is a part of a pipeline; llmbatch.run has engines.",
    "ray_address": "Call ray.init(address=...).",
    "id_field": "Rows keep all of their columns.",
    "meta": "Rows keep all of their columns.",
}
"""Options that have no meaning for one batch after the other, and what to do instead."""
_PATIENCE = 10.0
"""Seconds for a run to end that has nothing in flight."""


@dataclass(slots=True, eq=False)
class _Pending:
    """A table whose rows are being answered."""

    table: Any
    done: "Future[None]" = field(default_factory=Future)
    results: dict[int, Result] = field(default_factory=dict)


class TableRun:
    """One run, on a thread of its own, from the first table to `close`: connections and what was learned stay.

    `prefix` begins the names of the new columns. With `folder` each run adds a results file to it, and takes answers
    to equal requests from those that are there. Raises UsageError for bad options.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        prefix: str = "",
        folder: "str | os.PathLike[str] | None" = None,
        limits: Limits | None = None,
    ) -> None:
        self._names = [prefix + name for name in ANSWER_COLUMNS]
        self._options = _options(options, folder)
        self._limits = limits
        self._numbers = itertools.count()
        self._waiting: dict[int, tuple[_Pending, int]] = {}
        """The tables of rows that were sent, and their places there, by the number of the record."""
        self._open = set[_Pending]()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tables: asyncio.Queue[_Pending | None]
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._begun, self._ended = threading.Event(), threading.Event()
        start_thread(self._work)
        self._begun.wait()
        if self._failure is not None:
            raise self._failure

    async def answer(self, batch: Any) -> Any:
        """Send the rows of a batch; return it as a pyarrow.Table with their answers. Several may be under way.

        A batch is a pyarrow Table or RecordBatch, a pandas DataFrame, or a dict of numpy arrays. Raises LlmbatchError
        when the run ended early, by what would fail every row, and UsageError for columns that are there already.
        """
        table = as_table(batch)
        for name in self._names:
            if name in table.column_names:
                raise UsageError(f"there is a column {name!r} already", "Give the new columns a prefix: prefix='llm_'.")
        pending = _Pending(table)
        pending.done.set_running_or_notify_cancel()  # who waits may be cancelled, the request may not
        if table.num_rows:
            with self._lock:
                if self._failure is not None:
                    raise self._failure
                self._open.add(pending)
                self._put(pending)
            await asyncio.wrap_future(pending.done)
        return add_columns(table, self._names, [pending.results[row] for row in range(table.num_rows)])

    def close(self) -> None:
        """End the run; rows that were sent are answered first."""
        with self._lock:
            if self._failure is None:
                self._put(None)
        self._ended.wait(_PATIENCE)

    def _put(self, pending: _Pending | None) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._tables.put_nowait, pending)

    def _work(self) -> None:
        try:
            anyio.run(self._answer, backend_options={"use_uvloop": has_uvloop()})
        finally:
            self._ended.set()

    async def _answer(self) -> None:
        self._loop, self._tables = asyncio.get_running_loop(), asyncio.Queue()
        failure: BaseException = LlmbatchError("the run was closed")
        try:
            with hints():
                run = BackgroundRun(Awaited(self._rows(), rows=True), self._options, tee=True, limits=self._limits)
            self._begun.set()
            async for result in run.results():
                pending, row = self._waiting.pop(result["index"])
                pending.results[row] = result
                if len(pending.results) == pending.table.num_rows:
                    if run.is_ending_early and all(one["status"] == "failed" for one in pending.results.values()):
                        continue  # why the run ends is the answer to all of its rows
                    self._open.remove(pending)
                    pending.done.set_result(None)
        except BaseException as error:
            failure = error
        with self._lock:
            self._failure = failure
        self._begun.set()
        for pending in self._open:  # no other one is added from here on
            pending.done.set_exception(failure)

    async def _rows(self) -> AsyncIterator[dict[str, Any]]:
        while (pending := await self._tables.get()) is not None:
            for row, fields in enumerate(
                fields for batch in pending.table.to_batches() for fields in batch_rows(batch)
            ):
                self._waiting[next(self._numbers)] = pending, row
                yield fields


def _options(options: Mapping[str, Any], folder: "str | os.PathLike[str] | None") -> Options:
    """Return the options of the run. Rows have no ids: a batch that comes again is sent again. Raises UsageError."""
    for name, instead in _EXCLUDED.items():
        if options.get(name) is not None:
            raise UsageError(f"{name} has no meaning for a stage", instead)
    if "output" in options:
        raise UsageError("output is a results file, and a stage has many", "Name a folder: folder='answers/'.")
    found: dict[str, Any] = {"id_field": "none", "meta": "none", **options}
    if folder is not None:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        before: Sequence[str] = sorted(map(str, place.glob("*.jsonl")))
        found["reuse"] = [*found.get("reuse", ()), *before]
        found["output"] = place / f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}.jsonl"
    return cast(Options, found)
