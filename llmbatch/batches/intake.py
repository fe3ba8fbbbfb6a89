"""Puts records into the files of batches, as far as the budget allows, and makes tickets of those that are full."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from llmbatch.batches.account import BatchAccount
from llmbatch.batches.calls import BatchClient
from llmbatch.batches.chunks import Chunk, Chunks
from llmbatch.batches.settling import TOGETHER
from llmbatch.core.clock import Clock
from llmbatch.core.fault import Fault, Kind
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Outcome
from llmbatch.core.ticket import Ticket
from llmbatch.pacing.cost import Budget

__all__ = ["Intake"]


class Intake:
    """The way of records into batches. `start` gets each new ticket, `refuse` the records that fit into none."""

    def __init__(
        self,
        chunks: Chunks,
        client: BatchClient,
        *,
        window: float,
        draw: Callable[[Ticket], None],
        account: BatchAccount,
        budget: Budget,
        reprice: Callable[[Job], None],
        clock: Clock,
        in_thread: Callable[..., Awaitable[Any]],
        start: Callable[[Ticket, BatchClient], None],
        refuse: Callable[[list[Outcome]], None],
    ) -> None:
        self._chunks = chunks
        self._client = client
        self._window = window
        self._draw = draw
        self._account = account
        self._budget = budget
        self._reprice = reprice
        self._clock = clock
        self._in_thread = in_thread
        self._start = start
        self._refuse = refuse
        self._inbox: deque[tuple[Job, bool]] = deque()
        """Records, each with whether a batch gave it back."""
        self._full: deque[Chunk] = deque()
        """Batches that get no more records, and are no tickets yet."""
        self._refused: list[Outcome] = []
        self._on_its_way = 0
        """Records that have left the inbox and stand in no batch yet."""

    def add(self, jobs: Iterable[Job], *, again: bool) -> None:
        """Take records; `again` are those that a batch gave back."""
        self._inbox.extend((job, again) for job in jobs)

    @property
    def waiting(self) -> int:
        """Count the records that stand in no batch yet."""
        return len(self._inbox) + self._on_its_way

    @property
    def records(self) -> int:
        """Count the records that are in no ticket yet."""
        return self.waiting + self._chunks.records + sum(chunk.count for chunk in self._full)

    async def fill(self) -> bool:
        """Put some records into batches; False when the budget lets none in. Raises OutputError."""
        entries: list[tuple[Job, bool]] = []
        while self._inbox and len(entries) < TOGETHER:
            job = self._inbox[0][0]
            job.attempts.batch = ""
            self._reprice(job)
            if not self._budget.reserve((job,)):
                break
            entries.append(self._inbox.popleft())
        if not entries:
            return not self._inbox
        self._on_its_way = len(entries)
        try:
            await self._in_thread(self._write, entries)
        finally:
            refused, self._refused = self._refused, []
            for outcome in refused:
                self._budget.settle(outcome.job, outcome.verdict)
            self._refuse(refused)
        await self._make_tickets()
        return True

    def _write(self, entries: Sequence[tuple[Job, bool]]) -> None:
        waiting: dict[tuple[Route, bool], list[Job]] = {}
        for job, again in entries:
            waiting.setdefault((job.route, again), []).append(job)
        for (_, again), jobs in waiting.items():
            while jobs:
                chunk = None
                try:
                    count, chunk = self._chunks.add(jobs, again=again)
                except ValueError as error:
                    count, jobs[0].attempts.batch = 1, None
                    self._refused.append(Outcome(jobs[0], Fault(kind=Kind.TOO_LARGE, message=str(error))))
                del jobs[:count]
                self._on_its_way -= count
                if chunk is not None:
                    self._full.append(chunk)

    async def close(self, may_close: Callable[[Route, Chunk], bool]) -> None:
        """Make tickets of open batches. Raises OutputError."""
        for route, chunk in list(self._chunks.open.items()):
            if may_close(route, chunk):
                self._chunks.take(route)
                self._full.append(chunk)
        await self._make_tickets()

    async def _make_tickets(self) -> None:
        while self._full:
            chunk, client = self._full[0], self._client
            ticket = await self._in_thread(
                chunk.close,
                provider=client.provider,
                address=client.address,
                account=client.account,
                window=self._window,
                drawn_at=self._clock.wall(),
                run=self._account.run_id,
            )
            await self._in_thread(self._draw, ticket)
            self._account.open[ticket.tag] = ticket.count
            self._full.popleft()
            self._start(ticket, client)

    def drop(self) -> None:
        """Remove the files of batches that are no tickets. Blocks."""
        for chunk in (*self._full, *self._chunks.open.values()):
            chunk.drop()
