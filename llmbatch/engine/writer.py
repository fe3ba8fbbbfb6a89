"""Writes outcomes to the sink, in batches; what takes long is done off the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from llmbatch.core.errors import LlmbatchError
from llmbatch.core.events import Finished
from llmbatch.core.outcome import InvalidRecord, Outcome
from llmbatch.core.ports import Observer, Sink
from llmbatch.engine.reorder import Reorder

__all__ = ["RunInThread", "Writer"]

RunInThread = Callable[..., Awaitable[Any]]
"""Runs a function that may block, in a thread if it does, and returns what it returns."""

GATHER = 0.005
"""Seconds between two batches that are not full, since each costs calls of the system, and a switch to a thread where
one writes. An outcome after a pause is written at once."""


class Writer:
    """Takes outcomes from the workers and writes them as they come. `backlog` counts those that are not written yet.

    `fail` is called with each error of the sink; `unwritten` counts the outcomes that it could not write. `changed` is
    called after every batch.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        batch: int,
        notify: Observer,
        offload: RunInThread,
        fail: Callable[[LlmbatchError], None],
        changed: Callable[[], None],
        reorder: Reorder | None = None,
        record: Callable[[Sequence[Outcome]], None] | None = None,
        recorded: Callable[[list[Outcome]], None] = lambda outcomes: None,
    ) -> None:
        self._sink = sink
        self._fail = fail
        self._changed = changed
        self._batch = batch
        self._notify = notify
        self._offload = offload
        self._reorder = reorder
        self._record, self._recorded = record, recorded
        self._incoming: list[Outcome | InvalidRecord] = []
        self._to_record: list[Outcome] = []
        self._loop = asyncio.get_running_loop()
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0
        """When the next batch is written, full or not."""
        self._closed = False
        self._waiters: list[asyncio.Future[None]] = []
        self.backlog = 0
        self.unwritten = 0

    def put(self, outcomes: Sequence[Outcome | InvalidRecord]) -> None:
        """Queue outcomes; never blocks."""
        self._incoming += outcomes
        self.backlog += len(outcomes)
        if self.backlog >= self._batch:
            self._due.set()
        elif self._timer is None:
            self._timer = self._loop.call_at(self._next, self._due.set)

    def record(self, outcomes: list[Outcome]) -> None:
        """Record paid answers that may not be final, if there is a place for them; then call `recorded`."""
        if self._record is None:
            self._recorded(outcomes)
        else:
            self._to_record += outcomes
            self._due.set()

    async def until_written(self, most: int = 0) -> None:
        """Wait until no more than so many outcomes are unwritten."""
        while self.backlog > most:
            written = self._loop.create_future()
            self._waiters.append(written)
            await written

    def close(self) -> None:
        """Accept no more outcomes; `run` ends when all are written."""
        self._closed = True
        self._due.set()

    async def run(self) -> None:
        """Write until closed."""
        while self._incoming or self._to_record or not self._closed:
            if not self._closed:
                await self._due.wait()
                self._due.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._to_record:
                await self._record_now()
            batch, self._incoming = self._incoming, []
            self._next = self._loop.time() + GATHER
            await self._write(batch)
        if self._reorder is not None:
            await self._write_now(self._reorder.rest())

    async def _record_now(self) -> None:
        outcomes, self._to_record = self._to_record, []
        try:
            await self._offload(self._record, outcomes)
        except LlmbatchError as error:
            self._fail(error)  # which ends the run: they are written again, as the outcomes of their jobs
        self._recorded(outcomes)

    async def _write(self, batch: list[Outcome | InvalidRecord]) -> None:
        await self._write_now(batch if self._reorder is None else self._reorder.push(batch))
        self.backlog -= len(batch)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._changed()

    async def _write_now(self, batch: list[Outcome | InvalidRecord]) -> None:
        for start in range(0, len(batch), self._batch):
            part = batch[start : start + self._batch]
            try:
                await self._offload(self._sink.write, part)
            except LlmbatchError as error:
                self._fail(error)
                if not error.recorded:
                    self.unwritten += len(part)
                    continue
            self._notify(Finished(part))
