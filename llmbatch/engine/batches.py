"""Sends records in batches to a provider: they come back as results, or are asked for again.

Serves the tickets of earlier runs, too. One task a ticket goes through its steps (`batch_run`); this module decides
which records go where, and keeps the account of them.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import anyio
import anyio.abc

from llmbatch.core.clock import Clock
from llmbatch.core.errors import CeilingReached, LlmbatchError, OutputError
from llmbatch.core.events import Finished, Notice
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion, Outcome
from llmbatch.core.ports import Observer
from llmbatch.core.settings import BatchSettings
from llmbatch.core.snapshot import BatchesState
from llmbatch.core.ticket import Step, Ticket
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.engine.batch_account import BatchAccount
from llmbatch.engine.batch_calls import BatchClient, Left
from llmbatch.engine.batch_chunks import Chunk, Chunks
from llmbatch.engine.batch_collection import tidy
from llmbatch.engine.batch_copies import Copies
from llmbatch.engine.batch_failures import undecided
from llmbatch.engine.batch_first_records import FirstRecords, Place
from llmbatch.engine.batch_intake import Intake
from llmbatch.engine.batch_returns import Returns
from llmbatch.engine.batch_run import run_to_the_end
from llmbatch.engine.batch_settling import TOGETHER, Settling
from llmbatch.engine.batch_sizes import BatchSizes
from llmbatch.engine.batch_ticket import TicketContext, TicketRun
from llmbatch.engine.offload import Offload
from llmbatch.engine.writer import RunInThread, Writer
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
        self._account = BatchAccount(run_id)
        self._copies = Copies(store.pending.all_keys(), dedupe=dedupe)
        live = not settings.no_first_live and (client is None or client.api.limits.first_live)
        self._firsts = FirstRecords(lambda route: not live or worked(route))
        self._runs: dict[str, TicketRun] = {}
        self._left: dict[str, TicketRun] = {}
        self._returning: set[str] = set()
        """The tickets whose records are being given back."""
        self._wake = anyio.Event()
        self._room = anyio.Event()
        self._is_looking = False
        self._input_ended = False
        self._busy = False
        """Records are on their way from the inbox into batches, and stand in neither."""
        self._stopping = anyio.Event()
        self._disk = Offload()
        self._offload = offload or self._disk.run
        self._tasks: anyio.abc.TaskGroup
        self._writer: Writer
        self._send_live: Callable[[list[Job]], None] = lambda jobs: None
        self._fail: Callable[[LlmbatchError], None] = lambda error: None
        self._changed: Callable[[], None] = lambda: None
        self._live_jobs: Callable[[], int] = lambda: 0
        self._settling = Settling(
            store=store,
            account=self._account,
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
            is_alone=lambda ticket: not self._queued_beside(ticket),
            now=clock.monotonic,
            ask=self._ask,
        )
        self._returns = Returns(
            store=store,
            account=self._account,
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
                account=self._account,
                budget=budget,
                reprice=reprice,
                clock=clock,
                in_thread=self._in_thread,
                start=self._start,
                refuse=lambda outcomes: self._writer.put(outcomes),
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

    def connect(
        self,
        writer: Writer,
        send_live: Callable[[list[Job]], None],
        fail: Callable[[LlmbatchError], None],
        changed: Callable[[], None],
        live_jobs: Callable[[], int],
    ) -> None:
        """Connect with the rest of the pipeline: results, live requests and how many there are, the end of the run."""
        self._writer = self._settling.writer = writer
        self._send_live, self._fail = send_live, fail
        self._changed, self._live_jobs = changed, live_jobs

    # What the pipeline asks.

    @property
    def takes_new(self) -> bool:
        """Whether the records of the input go into batches."""
        return self._settings.batch_api and self._intake is not None

    @property
    def has_room(self) -> bool:
        """Whether more records may be read."""
        drawn = sum(run.ticket.is_drawn_only for run in self._runs.values())
        return self._waiting + self._firsts.waiting <= TOGETHER and drawn < _AHEAD

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
        return sum(self._account.open[tag] for tag, run in self._all() if run.ticket.is_open)

    @property
    def earlier(self) -> Any:
        """The records that earlier runs put into batches."""
        return self._store.pending

    @property
    def held(self) -> int:
        """Count the records of batches without a row, that will not be sent again: in doubt."""
        return self._account.held

    @property
    def not_started(self) -> int:
        """Count the records that were not asked for, once all is over."""
        return self._account.not_started

    def end_account(self) -> None:
        """Count what was read but never asked for, once all is over."""
        account = self._account
        account.not_started += self._firsts.drop() + self._copies.drop()
        account.not_started += self._intake.records if self._intake is not None else 0
        account.not_started += sum(account.open[tag] for tag, run in self._all() if not run.ticket.is_open)
        self._intake = None

    def _all(self) -> list[tuple[str, TicketRun]]:
        return list({**self._runs, **self._left}.items())

    def state(self) -> BatchesState | None:
        """Tell where the batches stand; None without any."""
        runs = [run for _, run in self._all() if run.ticket.is_open or run.ticket.is_drawn_only]
        if not runs:
            return None
        running = [run for run in runs if run.ticket.is_open]
        known = [run.status.completed for run in running if run.status is not None and run.status.completed is not None]
        oldest = max(running, key=lambda run: run.age, default=None)
        return BatchesState(
            running=len(running),
            records=sum(run.ticket.count for run in running),
            answered=sum(known) if known else None,
            age=oldest.age if oldest is not None else 0.0,
            window=oldest.ticket.window if oldest is not None else 0.0,
            queued=sum(run.waits_for_room for run in runs),
            model=next((run.ticket.model for run in runs if run.waits_for_room), None),
            trouble=next((run.calls.trouble for run in runs if run.calls.trouble is not None), None),
        )

    def add(self, jobs: Iterable[Job]) -> list[Job]:
        """Take records; return those that are to go live first."""
        live = []
        for job in jobs:
            if self._has_copy(job):
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
        if not self._has_copy(job):
            self._copies.enter(job)
            self._into_batch([job], again=False)

    def _has_copy(self, job: Job) -> bool:
        copy = self._copies.take(job)
        if isinstance(copy, Outcome):
            self._writer.put([copy])
        return copy is not False

    def _ask(self, jobs: list[Job]) -> None:
        """Ask for records that waited in vain for the answer to an equal request."""
        if self.takes_new:
            for job in jobs:
                self._enter(job)
            self._wake.set()
        else:
            self._send_live(jobs)

    def _into_batch(self, jobs: list[Job], *, again: bool = True) -> None:
        assert self._intake is not None
        self._intake.add(jobs, again=again)
        self._wake.set()

    def _from_batch(self, jobs: list[Job]) -> None:
        """Send live what a batch gave back, and what waited for the same answers."""
        for job in jobs:
            job.batch = None
            self._reprice(job)
        self._send_live([*jobs, *(copy for job in jobs for copy in self._copies.release(job))])

    async def _until_room(self) -> None:
        """Wait until few records wait to be sent. Raises Left when the run is to end."""
        while not self._stopping.is_set() and (self._waiting > TOGETHER or self._live_jobs() > 4 * TOGETHER):
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
            if self._copies.is_on:
                for outcome in event.outcomes:
                    if isinstance(outcome, Outcome) and isinstance(outcome.verdict, Completion):
                        self._copies.answered(outcome.job, outcome.verdict)
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
            while not self._live_jobs() and (route := self._firsts.unanswered()) is not None:
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
            self._send_live([first])
        self._wake.set()
        self._changed()

    # What runs beside it.

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
                        self._fail(error)
                        break
                    finally:
                        self._busy = False
                    if self._input_ended and self.is_done:
                        break
                    await self._wake.wait()
            if self._intake is not None:
                await self._offload(self._intake.drop)
        self._changed()

    def _start(self, ticket: Ticket, client: BatchClient) -> None:
        run = self._runs[ticket.tag] = TicketRun(ticket, client, self._context)
        self._tasks.start_soon(self._serve, run)

    async def _serve(self, run: TicketRun) -> None:
        """Go with one ticket to its end, then ask again for what it gave back."""
        tag = run.ticket.tag
        self._left[tag] = run  # unless it comes to its end
        try:
            await run_to_the_end(run)
            self._returning.add(tag)
            self._wake.set()
            await self._returns.give_back(run, live=self._goes_live(run))
            del self._left[tag]
            await tidy(run)
        except Left:
            if run.undecided:
                self._notify(Notice(undecided(run.ticket, run.client.provider)))
        except LlmbatchError as error:
            self._fail(error)
        finally:
            self._runs.pop(tag, None)
            self._returning.discard(tag)
            self._wake.set()
            self._changed()

    def _goes_live(self, run: TicketRun) -> bool:
        """Say whether what a batch gave back is asked for live."""
        if not self.takes_new:
            return True
        outlived = run.ticket.cancelling and self._settings.live_after < math.inf
        return (self._settings.leftovers == "live" or outlived) and run.not_run is None

    async def _take_in(self, intake: Intake) -> None:
        """Put the records that wait into batches, and close those that get no more. Raises LlmbatchError."""
        while intake.waiting and not self._stopping.is_set():
            if not await intake.fill():
                await intake.close(self._may_close)
                if not self._runs.keys() - self._returning and not self._live_jobs():
                    raise CeilingReached(
                        f"{self._budget.option}: the next record may cost more than is left",
                        f"Raise {self._budget.option}, then run the same command again.",
                    )
                return
            self._room.set()
            self._changed()
        if self._input_ended and not intake.waiting:
            await intake.close(self._may_close)

    def _may_close(self, route: Route, chunk: Chunk) -> bool:
        """Say whether a batch may get no more records: one of given back ones only once no other batch runs."""
        return self._firsts.is_settled(route) and (
            chunk.fresh > 0 or not any(run.ticket.route == route for run in self._runs.values())
        )

    def _wait_for_room(self, ticket: Ticket) -> float:
        """Return for how many seconds a ticket waits for room in the queue of its model."""
        now, others = self._clock.monotonic(), self._queued_beside(ticket)
        return self._sizes.wait_for_room(ticket, others, now, self._queue_first)

    def _queued_beside(self, ticket: Ticket) -> Sequence[Ticket]:
        """Return the other tickets of a model that its provider may have in the queue."""
        others = (run.ticket for run in self._runs.values() if run.ticket.tag != ticket.tag)
        return [one for one in others if one.model == ticket.model and one.step in (Step.ASKED, Step.RUNNING)]

    def _batches_of_others(self, tag: str) -> set[str]:
        return {one.batch for one in self._tickets.log.tickets.values() if one.tag != tag and one.batch is not None}

    async def _in_thread(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        try:
            return await self._offload(lambda: function(*args, **named))
        except OSError as error:
            raise OutputError(
                f"cannot use the state directory: {error.strerror}",
                "Make room, then run the same command again: no batch is lost.",
            ) from error
