"""Sends records in batches to a provider: they come back as results, or are asked for again.

Serves the tickets of earlier runs, too. One task a ticket goes through its `steps`; here is decided where records go.
"""

from collections.abc import Callable, Iterable
from typing import Any

import anyio
import anyio.abc

from llmbatch.batches.account import BatchAccount
from llmbatch.batches.calls import BatchClient, Left
from llmbatch.batches.chunks import Chunk, Chunks
from llmbatch.batches.collection import tidy
from llmbatch.batches.copies import Copies
from llmbatch.batches.disk_calls import DiskCalls
from llmbatch.batches.failures import undecided
from llmbatch.batches.first_records import FirstRecords, Place
from llmbatch.batches.intake import Intake
from llmbatch.batches.returns import Returns, goes_live
from llmbatch.batches.settling import TOGETHER, Settling
from llmbatch.batches.sizes import BatchSizes
from llmbatch.batches.steps import run_to_the_end
from llmbatch.batches.ticket_run import TicketContext, TicketRun
from llmbatch.batches.ticket_runs import TicketRuns
from llmbatch.core.clock import Clock
from llmbatch.core.errors import CeilingReached, LlmbatchError
from llmbatch.core.events import Finished, Notice
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import CopiedAnswer, Outcome
from llmbatch.core.ports import Observer
from llmbatch.core.settings import BatchSettings
from llmbatch.core.snapshot import BatchesState
from llmbatch.core.ticket import Ticket
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.engine.dedupe import Entry
from llmbatch.engine.offload import Offload
from llmbatch.engine.ports import Live
from llmbatch.engine.writer import RunInThread
from llmbatch.pacing.cost import Budget
from llmbatch.pacing.retry import RetryPolicy

__all__ = ["Batches"]

_AHEAD = 2
"""Batches that may wait for room in a queue before no more records are read."""


class Batches:
    """The batches of a run. `add` takes records; `is_done` says that nothing is to be done any more."""

    def __init__(
        self,
        *,
        settings: BatchSettings,
        store: Any,
        run_id: str,
        client: BatchClient | None,
        find_client: Callable[[Ticket], BatchClient | None],
        chunks: Chunks | None,
        sizes: BatchSizes,
        reader: AnswerReader,
        policy: RetryPolicy,
        hold: bool,
        dedupe: bool,
        max_outage: float,
        budget: Budget,
        reprice: Callable[[Job], None],
        worked: Callable[[Route], bool],
        clock: Clock,
        notify: Observer,
        random: Callable[[], float],
        sync: Callable[[], None],
        offload: RunInThread | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._tickets = store.tickets
        self._queue_first = client.pace.queue_first if client is not None else 60.0
        self._find_client = find_client
        self._sizes = sizes
        self._budget = budget
        self._reprice = reprice
        self._clock = clock
        self._notify = notify
        self.account = BatchAccount(run_id)
        self._copies = Copies(store.pending.answer_keys() if dedupe else (), dedupe=dedupe)
        live = not settings.no_first_live and (client is None or client.api.limits.first_live)
        self._firsts = FirstRecords(lambda route: not live or worked(route))
        self._runs = TicketRuns()
        self._wake = anyio.Event()
        self._room = anyio.Event()
        self._is_looking = False
        self._input_ended = False
        self._busy = False
        """Records are on their way from the inbox into batches, and stand in neither."""
        self._stopping = anyio.Event()
        self._disk = Offload()
        self._in_thread = DiskCalls(offload or self._disk.run)
        self._tasks: anyio.abc.TaskGroup
        self._live: Live
        self._settling = Settling(
            store=store,
            account=self.account,
            sizes=sizes,
            copies=self._copies,
            reader=reader,
            policy=policy,
            budget=budget,
            hold=hold,
            notify=notify,
            random=random,
            sync=sync,
            in_thread=self._in_thread,
            is_alone=lambda ticket: not self._runs.queued_beside(ticket),
            now=clock.monotonic,
            ask=self._ask,
        )
        self._returns = Returns(
            store=store,
            account=self.account,
            sizes=sizes,
            in_thread=self._in_thread,
            until_room=self._until_room,
            into_batch=self._into_batch,
            send_live=self._from_batch,
        )
        self._intake = None
        if client is not None and chunks is not None:
            self._intake = Intake(
                chunks,
                client,
                window=settings.batch_window,
                draw=self._tickets.log.draw,
                account=self.account,
                budget=budget,
                reprice=reprice,
                clock=clock,
                in_thread=self._in_thread,
                start=self._start,
                refuse=lambda outcomes: self._live.writer.put(outcomes),
            )
        self._context = TicketContext(
            store=self._tickets,
            in_thread=self._in_thread,
            mark_asked=store.mark_asked,
            clock=clock,
            notify=notify,
            random=random,
            hold=hold,
            max_outage=max_outage,
            waits=not settings.no_wait,
            live_after=settings.live_after,
            stopping=self._stopping,
            wait_for_room=self._wait_for_room,
            batches_of_others=self._batches_of_others,
            settle=self._settling.settle,
        )

    def connect(self, live: Live) -> None:
        """Connect with the live side of the run."""
        self._live = live
        self._settling.writer = live.writer

    @property
    def takes_new(self) -> bool:
        """Whether the records of the input go into batches."""
        return self._settings.batch_api and self._intake is not None

    @property
    def has_room(self) -> bool:
        """Whether more records may be read."""
        return self._waiting + self._firsts.waiting <= TOGETHER and self._runs.drawn < _AHEAD

    @property
    def _waiting(self) -> int:
        return self._intake.waiting if self._intake is not None else 0

    @property
    def is_done(self) -> bool:
        """Whether nothing is to be done any more, now that the input has ended."""
        entering = self._intake.records if self._intake is not None else 0
        return not (self._busy or self._runs or entering) and self._firsts.all_settled

    @property
    def pending(self) -> int:
        """Count the records of this run that are with a provider."""
        return sum(self.account.open[tag] for tag, run in self._runs if run.ticket.is_open)

    @property
    def earlier(self) -> Any:
        """The records that earlier runs put into batches."""
        return self._store.pending

    def end_account(self) -> None:
        """Count what was read but never asked for, once all is over."""
        entering = self._intake.records if self._intake is not None else 0
        left = sum(self.account.open[tag] for tag, run in self._runs if not run.ticket.is_open)
        self.account.not_started += self._firsts.drop() + self._copies.drop() + entering + left
        self._intake = None

    def state(self) -> BatchesState | None:
        """Tell where the batches stand; None without any."""
        return self._runs.state()

    def add(self, jobs: Iterable[Job]) -> list[Job]:
        """Take records; return those that are to go live first."""
        live = []
        for job in jobs:
            if self._shares(job):
                continue
            place = self._firsts.place(job) if self.takes_new else Place.LIVE
            if place is Place.BATCH:
                self._enter(job)
            elif place is Place.LIVE:
                live.append(job)
        self._wake.set()
        return live

    def _enter(self, job: Job) -> None:
        """Put a record in line for a batch, unless an equal request is there or answered already."""
        if not self._shares(job):
            self._copies.enter(job)
            self._into_batch([job], again=False)

    def _shares(self, job: Job) -> bool:
        """Let a record share what became, or will become, of an equal request; False when there is none."""
        entry = self._copies.take(job)
        if self._copies.is_live(job):
            self._live.send([job])  # there it waits
        elif entry is Entry.COPY:
            self._live.writer.put([Outcome(job, CopiedAnswer())])
        self.account.held += entry is Entry.HOLD
        return entry is not None

    def _ask(self, jobs: list[Job]) -> None:
        """Ask for records that waited in vain for the answer to an equal request."""
        if self.takes_new:
            for job in jobs:
                self._enter(job)
            self._wake.set()
        else:
            self._live.send(jobs)

    def _into_batch(self, jobs: list[Job], *, again: bool = True) -> None:
        assert self._intake is not None
        self._intake.add(jobs, again=again)
        self._wake.set()

    def _from_batch(self, jobs: list[Job]) -> None:
        """Send live what a batch gave back, and what waited for the same answers."""
        for job in jobs:
            job.attempts.batch = None
            self._reprice(job)
        self._live.send([*jobs, *(copy for job in jobs for copy in self._copies.release(job))])

    async def _until_room(self) -> None:
        """Wait until few records wait to be sent. Raises Left when the run is to end."""
        while not self._stopping.is_set() and (self._waiting > TOGETHER or self._live.jobs() > 4 * TOGETHER):
            if self._room.is_set():
                self._room = anyio.Event()  # one for all who wait
            await self._room.wait()
        if self._stopping.is_set():
            raise Left

    def input_ended(self) -> None:
        """Note that no more records come."""
        self._input_ended = True
        self._wake.set()

    def stop(self) -> None:
        """Begin nothing new: what runs at a provider runs on."""
        self._stopping.set()
        self._wake.set()
        self._room.set()

    def finished(self, event: Finished) -> None:
        """Look for the first records of routes among those that ended."""
        self._room.set()
        for route, works in list(self._firsts.ended(event)):
            self._copies.live_ended(event.outcomes)
            self._first_ended(route, works=works)

    def live_idle(self) -> None:
        """Note that nothing is live any more: a first record without an end will have none.

        The next one may be left out at once, and so end up here again.
        """
        self._room.set()
        if self._is_looking:
            return
        self._is_looking = True
        try:
            while not self._live.jobs() and (route := self._firsts.unanswered()) is not None:
                self._first_ended(route, works=False)
        finally:
            self._is_looking = False
        if self._waiting:
            self._wake.set()  # what may be spent is known now

    def _first_ended(self, route: Route, *, works: bool) -> None:
        released, first = self._firsts.answered(route, works=works)
        for job in released:
            self._enter(job)
        if first is not None:
            self._live.send([first])
        self._wake.set()
        self._live.changed()

    async def run(self) -> None:
        """Serve tickets and take records until all is done, or the run is to end."""
        with self._disk:
            async with anyio.create_task_group() as self._tasks:
                for ticket in list(self._tickets.log.tickets.values()):
                    self._budget.hold(ticket.worst)
                    client = self._find_client(ticket)
                    if client is not None:
                        self._start(ticket, client)
                while not self._stopping.is_set():
                    self._wake = anyio.Event()
                    self._busy = True
                    try:
                        if self._intake is not None:
                            await self._take_in(self._intake)
                    except LlmbatchError as error:
                        self._live.fail(error)
                        break
                    finally:
                        self._busy = False
                    if self._input_ended and self.is_done:
                        break
                    await self._wake.wait()
            if self._intake is not None:
                await self._in_thread(self._intake.drop)
        self._live.changed()

    def _start(self, ticket: Ticket, client: BatchClient) -> None:
        run = TicketRun(ticket, client, self._context)
        self._runs.add(run)
        self._tasks.start_soon(self._serve, run)

    async def _serve(self, run: TicketRun) -> None:
        """Go with one ticket to its end, then ask again for what it gave back."""
        self._runs.began(run)
        try:
            await run_to_the_end(run)
            self._runs.gives_back(run)
            self._wake.set()
            await self._returns.give_back(run, live=not self.takes_new or goes_live(run, self._settings))
            self._runs.finished(run)
            await tidy(run)
        except Left:
            if run.undecided:
                self._notify(Notice(undecided(run.ticket, run.client.provider)))
        except LlmbatchError as error:
            self._live.fail(error)
        finally:
            self._runs.ended(run)
            self._wake.set()
            self._live.changed()

    async def _take_in(self, intake: Intake) -> None:
        """Put the records that wait into batches, and close those that get no more. Raises LlmbatchError."""
        while intake.waiting and not self._stopping.is_set():
            if not await intake.fill():
                await intake.close(self._may_close)
                if not self._runs.may_release_budget and not self._live.jobs():
                    raise CeilingReached(
                        f"{self._budget.option}: the next record may cost more than is left",
                        f"Raise {self._budget.option}, then run the same command again.",
                    )
                return
            self._room.set()
            self._live.changed()
        if self._input_ended and not intake.waiting:
            await intake.close(self._may_close)

    def _may_close(self, route: Route, chunk: Chunk) -> bool:
        """Say whether a batch may get no more records: one of given back ones only once no other batch runs."""
        return self._firsts.is_settled(route) and (chunk.fresh > 0 or not self._runs.serves(route))

    def _wait_for_room(self, ticket: Ticket) -> float:
        """Return for how many seconds a ticket waits for room in the queue of its model."""
        now, others = self._clock.monotonic(), self._runs.queued_beside(ticket)
        return self._sizes.wait_for_room(ticket, others, now, self._queue_first)

    def _batches_of_others(self, tag: str) -> set[str]:
        return {one.batch for one in self._tickets.log.tickets.values() if one.tag != tag and one.batch is not None}
