"""Sends records in batches to a provider: they come back as results, or are returned to dispatch.

Serves the tickets of earlier runs, too. One task a ticket goes through its steps (`batch_run`); this module decides
which records go where, and keeps the account of them.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import anyio
import anyio.abc

from llmbatch.core.clock import Clock
from llmbatch.core.errors import CeilingReached, LlmbatchError, OutputError
from llmbatch.core.events import Finished, Notice, Retrying
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion, CopiedAnswer, Outcome
from llmbatch.core.ports import Observer
from llmbatch.core.settings import BatchSettings
from llmbatch.core.snapshot import BatchesState
from llmbatch.core.ticket import BatchError, Step, Ticket
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.batch_api import BatchApi
from llmbatch.engine.batch_chunks import Chunk, Chunks
from llmbatch.engine.batch_failures import hopeless, is_full, limit_in, undecided
from llmbatch.engine.batch_rows import GIVEN_BACK, Settled, rows_of
from llmbatch.engine.batch_run import Desk, Left, Surroundings, TicketRun
from llmbatch.engine.offload import Offload
from llmbatch.engine.writer import Writer
from llmbatch.pacing.cost import Budget
from llmbatch.pacing.retry import RetryPolicy

__all__ = ["SHARE", "Batches"]

_TOGETHER = 256
"""Records that are written to a batch, or read from one, in one trip to a thread."""
_AHEAD = 2
"""Batches that may wait for room in a queue before no more records are read."""
_ROUNDS = 3
"""Batches of a route that may end one after the other without an answer."""
_BAD_LINES = 20
"""Batches of a route that may fail by one line each, before they are cut in half."""
SHARE = 0.9
"""The part of a known limit of queued tokens that one batch takes at most."""


@dataclass(slots=True)
class _RouteState:
    """What is known of one route. `probe` is its first record, which goes live before the first upload."""

    proven: bool = False
    probe: Job | None = None
    waiting: deque[Job] = field(default_factory=deque)
    most: float = math.inf
    """Records of one batch, since larger ones failed without a reason."""
    bad_lines: int = 0
    empty_rounds: int = 0
    full_at: float = -math.inf
    fulls: int = 0


class Batches:
    """The batches of a run. `add` takes records; `is_done` says that nothing is to be done any more."""

    def __init__(
        self,
        *,
        settings: BatchSettings,
        store: Any,
        run_id: str,
        desk: Desk | None,
        find_desk: Callable[[Ticket], Desk | None],
        chunks: Chunks | None,
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
    ) -> None:
        self._settings = settings
        self._store = store
        self._tickets = store.tickets
        self._run_id = run_id
        self._desk = desk
        self._find_desk = find_desk
        self._chunks = chunks
        self._reader = reader
        self._policy = policy
        self._hold = hold
        self._budget = budget
        self._reprice = reprice
        self._worked = worked
        self._clock = clock
        self._notify = notify
        self._random = random
        self._sync = sync
        self._routes: dict[Route, _RouteState] = {}
        self._dedupe = dedupe
        self._followers: dict[int, list[Job]] = {key: [] for key in store.pending.all_keys()} if dedupe else {}
        """Records that wait for the answer to an equal request in a batch, by its key cut to 64 bits."""
        self._answered: set[int] = set()
        self._inbox: deque[tuple[Job, bool]] = deque()
        self._runs: dict[str, TicketRun] = {}
        self._left: dict[str, TicketRun] = {}
        self._back: dict[str, list[tuple[int, Job]]] = {}
        """What the batches that ended gave back, each with the number of its line."""
        self._own: Counter[str] = Counter()
        """Records of tickets of this run that have no end yet, by tag."""
        self._wake = anyio.Event()
        self._is_looking = False
        self._input_ended = False
        self._busy = False
        """Records are on their way from the inbox into batches, and stand in neither."""
        self._stopping = anyio.Event()
        self._intake_done = False
        self._disk = Offload()
        self._tasks: anyio.abc.TaskGroup
        self._writer: Writer
        self._send_live: Callable[[list[Job]], None] = lambda jobs: None
        self._fail: Callable[[LlmbatchError], None] = lambda error: None
        self._changed: Callable[[], None] = lambda: None
        self._is_live_idle: Callable[[], bool] = lambda: True
        self.held = 0
        """Records of batches without a row, that will not be sent again: in doubt."""
        self.not_started = 0
        self.retries = 0
        self._around = Surroundings(
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
            may_upload=self._may_upload,
            may_not_find=self._batches_of_others,
            settle=self._settle,
            changed=lambda ticket: None,
        )

    def connect(
        self,
        writer: Writer,
        send_live: Callable[[list[Job]], None],
        fail: Callable[[LlmbatchError], None],
        changed: Callable[[], None],
        is_live_idle: Callable[[], bool],
    ) -> None:
        """Connect with the rest of the pipeline: results, live requests, the end of the run."""
        self._writer, self._send_live, self._fail = writer, send_live, fail
        self._changed, self._is_live_idle = changed, is_live_idle

    # What the pipeline asks.

    @property
    def takes_new(self) -> bool:
        """Whether the records of the input go into batches."""
        return self._settings.batch_api and self._chunks is not None

    @property
    def has_room(self) -> bool:
        """Whether more records may be read."""
        waiting = sum(run.ticket.is_drawn_only for run in self._runs.values())
        probing = sum(len(state.waiting) for state in self._routes.values())
        return len(self._inbox) + probing <= _TOGETHER and waiting < _AHEAD

    @property
    def is_done(self) -> bool:
        """Whether nothing is to be done any more, now that the input has ended."""
        busy = self._busy or self._runs or self._inbox or (self._chunks is not None and self._chunks.open)
        return not busy and not any(state.probe or state.waiting for state in self._routes.values())

    @property
    def pending(self) -> int:
        """Count the records of this run that are with a provider."""
        return sum(self._own[tag] for tag, run in self._all() if run.ticket.is_open)

    @property
    def earlier(self) -> Any:
        """The records that earlier runs put into batches."""
        return self._store.pending

    def end_account(self) -> None:
        """Count what was read but never asked for, once all is over."""
        self.not_started += len(self._inbox) + sum(len(state.waiting) for state in self._routes.values())
        if self._chunks is not None:
            self.not_started += self._chunks.records
        self.not_started += sum(self._own[tag] for tag, run in self._all() if not run.ticket.is_open)
        self._inbox.clear()
        for state in self._routes.values():
            state.waiting.clear()
        self.not_started += sum(map(len, self._followers.values()))
        self._followers.clear()

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
        )

    def add(self, jobs: Iterable[Job]) -> list[Job]:
        """Take records; return those that are to go live first."""
        live = []
        for job in jobs:
            if self._follows(job):
                continue
            if not self.takes_new:
                live.append(job)
                continue
            state = self._route(job.route)
            if state.proven:
                self._enter(job)
            elif state.probe is None:
                state.probe = job
                live.append(job)
            else:
                state.waiting.append(job)
        self._wake.set()
        return live

    def _enter(self, job: Job) -> None:
        """Put a record in line for a batch, unless an equal request is there or answered already."""
        if not self._follows(job):
            if self._dedupe:
                self._followers[_name(job)] = []
            self._inbox.append((job, False))

    def _follows(self, job: Job) -> bool:
        """Let a record wait for the answer to an equal request, or have it; False when there is none."""
        if not self._dedupe:
            return False
        if _name(job) in self._answered:
            self._writer.put([Outcome(job, CopiedAnswer())])
            return True
        followers = self._followers.get(_name(job))
        if followers is not None:
            followers.append(job)
        return followers is not None

    def _release_followers(self, job: Job, verdict: Completion | Fault) -> list[Outcome]:
        """Give the records that wait for an answer a copy of it; without an answer, ask for the first of them."""
        followers = self._followers.pop(_name(job), [])
        if isinstance(verdict, Completion):
            self._answered.add(_name(job))
            return [Outcome(follower, CopiedAnswer()) for follower in followers]
        if followers and self.takes_new:
            self._followers[_name(job)] = followers[1:]
            self._inbox.append((followers[0], False))
        elif followers:
            self._send_live(followers)
        return []

    def input_ended(self) -> None:
        """Note that no more records come."""
        self._input_ended = True
        self._wake.set()

    def stop(self) -> None:
        """Begin nothing new: what runs at a provider runs on."""
        self._stopping.set()
        self._wake.set()

    def finished(self, event: Finished) -> None:
        """Look for the first records of routes among those that ended."""
        probes = {id(state.probe): state for state in self._routes.values() if state.probe is not None}
        if not probes:
            return
        for outcome in event.outcomes:
            state = probes.get(id(outcome.job)) if isinstance(outcome, Outcome) else None
            if state is not None and isinstance(outcome, Outcome):
                works = isinstance(outcome.verdict, Completion) or outcome.verdict.billing is Billing.BILLED
                if self._dedupe and isinstance(outcome.verdict, Completion):
                    self._answered.add(_name(outcome.job))
                self._probed(state, works=works)

    def live_idle(self) -> None:
        """Note that nothing is live any more: a first record without an end will have none.

        The next one may be left out at once, and so end up here again.
        """
        if self._is_looking:
            return
        self._is_looking = True
        try:
            while self._is_live_idle():
                state = next((state for state in self._routes.values() if state.probe is not None), None)
                if state is None:
                    break
                self._probed(state, works=False)
        finally:
            self._is_looking = False
        if self._inbox:
            self._wake.set()  # what may be spent is known now

    def _probed(self, state: _RouteState, *, works: bool) -> None:
        state.probe = None
        if works:
            state.proven = True
            waiting, state.waiting = state.waiting, deque()
            for job in waiting:
                self._enter(job)
        elif state.waiting and not self._stopping.is_set():
            state.probe = state.waiting.popleft()
            self._send_live([state.probe])
        self._wake.set()
        self._changed()

    def _route(self, route: Route) -> _RouteState:
        state = self._routes.get(route)
        if state is None:
            live = not self._settings.no_first_live and (self._desk is None or self._desk.api.limits.first_live)
            state = self._routes[route] = _RouteState(proven=not live or self._worked(route))
        return state

    # What runs beside it.

    async def run(self) -> None:
        """Serve tickets and take records until all is done, or the run is to end."""
        with self._disk:
            async with anyio.create_task_group() as self._tasks:
                for ticket in list(self._tickets.log.tickets.values()):
                    self._budget.hold(ticket.worst)
                    desk = self._find_desk(ticket)
                    if desk is not None:
                        self._start(TicketRun(ticket, desk, self._around))
                while not self._stopping.is_set():
                    self._wake = anyio.Event()
                    self._busy = True
                    try:
                        await self._take_in()
                        await self._close_chunks()
                    except LlmbatchError as error:
                        self._fail(error)
                        break
                    finally:
                        self._busy = False
                    if self._input_ended and self.is_done:
                        break
                    await self._wake.wait()
            if self._chunks is not None:
                for chunk in self._chunks.open.values():
                    await self._in_thread(chunk.drop)
        self._changed()

    def _start(self, run: TicketRun) -> None:
        self._runs[run.ticket.tag] = run
        self._tasks.start_soon(self._serve, run)

    async def _serve(self, run: TicketRun) -> None:
        """Go with one ticket to its end, then give back what it gave back."""
        tag = run.ticket.tag
        self._left[tag] = run  # unless it comes to its end
        try:
            await run.run()
            await self._give_back(run)
            del self._left[tag]
            await run.tidy()
        except Left:
            if run.undecided:
                self._notify(Notice(undecided(run.ticket, run.desk.provider)))
        except LlmbatchError as error:
            self._fail(error)
        finally:
            self._runs.pop(tag, None)
            self._back.pop(tag, None)
            self._wake.set()
            self._changed()

    async def _take_in(self) -> None:
        """Put the records of the inbox into batches."""
        while self._inbox and self._chunks is not None and not self._stopping.is_set():
            entries: list[tuple[Job, bool]] = []
            while self._inbox and len(entries) < _TOGETHER:
                job = self._inbox[0][0]
                job.batch = ""
                self._reprice(job)
                if not self._budget.reserve((job,)):
                    break
                entries.append(self._inbox.popleft())
            if not entries:
                await self._close_chunks(all=True)
                if not self._runs and self._is_live_idle():
                    raise CeilingReached(
                        f"{self._budget.option}: the next record may cost more than is left",
                        f"Raise {self._budget.option}, then run the same command again.",
                    )
                return
            full, refused = await self._in_thread(self._write, entries)
            for chunk in full:
                await self._draw(chunk)
            if refused:
                for outcome in refused:
                    self._budget.settle(outcome.job, outcome.verdict)
                self._writer.put(refused)
            self._changed()

    def _write(self, entries: Sequence[tuple[Job, bool]]) -> tuple[list[Chunk], list[Outcome]]:
        full, refused = [], []
        assert self._chunks is not None
        for job, again in entries:
            try:
                chunk = self._chunks.add(job, again=again)
            except ValueError as error:
                job.batch = None
                refused.append(Outcome(job, Fault(kind=Kind.TOO_LARGE, message=str(error))))
                continue
            if chunk is not None:
                full.append(chunk)
        return full, refused

    async def _close_chunks(self, *, all: bool = False) -> None:
        """Close the batches that get no more records: of those that were given back once no other batch runs."""
        if self._chunks is None or not (self._input_ended or all) or (self._inbox and not all):
            return
        for route, chunk in list(self._chunks.open.items()):
            state = self._routes.get(route)
            if state is not None and (state.probe is not None or state.waiting):
                continue
            others = any(run.ticket.route == route for run in self._runs.values())
            if chunk.fresh or not others:
                self._chunks.take(route)
                await self._draw(chunk)

    async def _draw(self, chunk: Chunk) -> None:
        assert self._desk is not None
        desk, settings = self._desk, self._settings
        ticket = await self._in_thread(
            lambda: chunk.close(
                provider=desk.provider,
                address=desk.address,
                account=desk.account,
                window=settings.batch_window,
                drawn_at=self._clock.wall(),
                run=self._run_id,
            )
        )
        await self._in_thread(self._tickets.log.draw, ticket)
        self._own[ticket.tag] = ticket.count
        self._start(TicketRun(ticket, desk, self._around))

    # The end of a batch.

    async def _settle(self, run: TicketRun) -> bool:
        """Write the results of a batch; say whether rows were kept that could not be read."""
        ticket, unreadable = run.ticket, list[int]()
        shift = run.desk.api.frame.before.count(b"\n")
        members = await self._in_thread(self._tickets.reader, ticket, shift)
        back: list[tuple[int, Job]] = []
        answers = 0
        unwritten = self._writer.unwritten
        try:
            if run.not_run is not None:
                source = self._not_run(run, members)
            else:
                lines = members.rows(self._tickets.files(ticket).outputs())
                source = rows_of(ticket, lines, members, run.desk.api, self._reader, unreadable)
            while True:
                piece: list[Settled] = await self._in_thread(_next_of, source)
                if not piece:
                    break
                outcomes: list[Outcome] = []
                paid: list[Outcome] = []
                for settled in piece:
                    if self._is_mine(ticket, settled.job):
                        self._judge(settled, ticket, outcomes, paid, back)
                if paid:
                    # Each is its record's line until the next answer replaces it: it never waits in memory.
                    await self._in_thread(self._store.record, paid)
                answers += sum(isinstance(outcome.verdict, Completion) for outcome in outcomes)
                copies = [
                    copy
                    for outcome in (outcomes if self._dedupe else ())
                    for copy in self._release_followers(outcome.job, outcome.verdict)
                ]
                self._writer.put([*outcomes, *copies])
                for outcome in outcomes:
                    self._ended(ticket, outcome.job)
                await self._writer.until_written(4 * _TOGETHER)
            await self._writer.until_written()
        finally:
            await self._in_thread(members.close)
        if self._writer.unwritten > unwritten:
            raise Left
        await self._in_thread(self._sync)
        self._back[ticket.tag] = back
        self._count_round(ticket, answers, bool(back) and run.not_run is None)
        if unreadable:
            self._notify(Notice(f"{len(unreadable)} rows of batch {ticket.batch} cannot be read; they are kept"))
        return bool(unreadable)

    def _is_mine(self, ticket: Ticket, job: Job) -> bool:
        """Say whether a record of a batch still waits for its end; find its intent."""
        if ticket.run == self._run_id:
            return True
        slot = self._store.slot_of(job)
        if slot is None:
            return False
        job.intent_slot = slot
        return True

    def _ended(self, ticket: Ticket, job: Job) -> None:
        if ticket.run == self._run_id:
            self._own[ticket.tag] -= 1
        else:
            self._store.ended(job)

    def _judge(
        self,
        settled: Settled,
        ticket: Ticket,
        done: list[Outcome],
        paid: list[Outcome],
        back: list[tuple[int, Job]],
    ) -> None:
        """Decide what becomes of a record, by the rules that hold live: it ends, or it is given back.

        `paid` gets the paid answers that are no use, of records that are given back for another one.
        """
        line, job, verdict = settled
        self._budget.settle(job, verdict)
        if isinstance(verdict, Completion):
            done.append(Outcome(job, verdict))
            return
        if verdict is GIVEN_BACK:
            back.append((line, job))
            return
        billing = verdict.billing
        if billing in (Billing.THROTTLED, Billing.SERVER):
            billing = Billing.UNBILLED  # a row with an error has no usage
        match billing:
            case Billing.DOUBTFUL:
                job.unknown_outcomes += 1
                job.possibly_billed += 1
            case Billing.BILLED if verdict.retry:
                job.unusable_answers += 1
            case Billing.UNBILLED if verdict.retry:
                job.retries += 1
        fault = verdict if billing is verdict.billing else _with_billing(verdict, billing)
        if self._policy.wait(job, fault, self._random) is not None:
            self.retries += 1
            self._notify(Retrying(job, fault, 0.0))
            back.append((line, job))
            if billing is Billing.BILLED:
                paid.append(Outcome(job, verdict))
        elif self._hold and billing is Billing.DOUBTFUL:
            self.held += 1
            self._ended(ticket, job)
        else:
            done.append(Outcome(job, verdict))

    def _count_round(self, ticket: Ticket, answers: int, gave_back: bool) -> None:
        state = self._route(ticket.route)
        state.empty_rounds = state.empty_rounds + 1 if gave_back and not answers else 0

    async def _give_back(self, run: TicketRun) -> None:
        """Send again what a batch gave back, live or in the next batch."""
        ticket, back = run.ticket, self._back.pop(run.ticket.tag, [])
        state = self._route(ticket.route)
        if not back:
            return
        outlived = ticket.cancelling and self._settings.live_after < math.inf
        live = self._settings.leftovers == "live" or outlived or not self.takes_new
        live = live and run.not_run is None
        shift = run.desk.api.frame.before.count(b"\n")
        members = await self._in_thread(self._tickets.reader, ticket, shift)
        try:
            for start in range(0, len(back), _TOGETHER):
                piece = back[start : start + _TOGETHER]
                jobs = [job for _, job in piece]
                await self._in_thread(_fill, piece, members, run.desk.api)
                jobs = await self._in_thread(self._release, ticket, jobs)
                if ticket.run == self._run_id:
                    self._own[ticket.tag] -= len(piece)
                if self._stopping.is_set() or (not self.takes_new and not live):
                    self.not_started += len(jobs)
                elif live:
                    for job in jobs:
                        job.batch = None
                        self._reprice(job)
                    copies = [copy for job in jobs for copy in self._followers.pop(_name(job), [])]
                    self._send_live([*jobs, *copies])
                else:
                    self._inbox.extend((job, True) for job in jobs)
                    self._wake.set()
        finally:
            await self._in_thread(members.close)
        if state.empty_rounds >= _ROUNDS and not live:
            raise CeilingReached(
                f"{state.empty_rounds} batches of model {ticket.model!r} ended one after the other without an answer",
                "Run the same command again later, or with --leftovers live.",
            )
        if run.not_run is not None and (reason := hopeless(run.not_run.status.errors, ticket)) is not None:
            raise reason

    def _release(self, ticket: Ticket, jobs: list[Job]) -> list[Job]:
        """Note on disk that records are to be sent again; leave out those that the input does not have."""
        if ticket.run != self._run_id:
            jobs = [job for job in jobs if self._store.released(job)]
        self._store.came_back([job for job in jobs if job.intent_slot >= 0])
        return jobs

    # A batch of which nothing ran.

    def _not_run(self, run: TicketRun, members: Any) -> Any:
        """Yield the records of a batch that failed as a whole: one to blame, where the provider names it."""
        assert run.not_run is not None
        ticket, errors = run.ticket, run.not_run.status.errors
        error = errors[0] if errors else BatchError("", f"the batch failed ({run.not_run.status.word})")
        state = self._route(ticket.route)
        blamed = None
        if is_full(errors):
            self._learn_limit(errors, ticket)
        elif hopeless(errors, ticket) is None:
            if error.line is not None and 1 <= error.line <= ticket.count and state.bad_lines < _BAD_LINES:
                state.bad_lines += 1
                blamed = error.line - 1
            elif ticket.count == 1:
                blamed = 0
            else:
                state.most = max(1, ticket.count // 2)
        for line in range(len(members)):
            job, _ = members.job(line)
            job.batch = ticket.batch
            if line == blamed:
                yield Settled(line, job, Fault(kind=Kind.BAD_REQUEST, message=error.message, code=error.code or None))
            else:
                job.sent -= 1
                yield Settled(line, job, GIVEN_BACK)

    def _learn_limit(self, errors: Sequence[BatchError], ticket: Ticket) -> None:
        state = self._route(ticket.route)
        state.full_at = self._clock.monotonic()
        state.fulls += 1
        limit = next((limit for error in errors if (limit := limit_in(error.message)) is not None), None)
        if limit is not None:
            self._tickets.log.learn(ticket.model, limit)
        elif not any(run.ticket.model == ticket.model and run.ticket.is_open for run in self._runs.values()):
            state.most = max(1, ticket.count // 2)

    def token_limit(self, model: str) -> float | None:
        """Return how many tokens may be queued for a model, None where that is not known."""
        known = [limit for limit in (self._settings.batch_tokens, self._tickets.log.limits.get(model)) if limit]
        return min(known) if known else None

    def most(self, route: Route) -> float:
        """Return how many records a batch of a route may have, as far as failures taught that."""
        return self._route(route).most

    def _may_upload(self, ticket: Ticket) -> float:
        """Return for how many seconds a ticket waits for room in the queue of its model."""
        limit, now = self.token_limit(ticket.model), self._clock.monotonic()
        running = [
            run.ticket
            for run in self._runs.values()
            if run.ticket.model == ticket.model
            and run.ticket.tag != ticket.tag
            and run.ticket.is_open
            and run.ticket.step in (Step.ASKED, Step.RUNNING)
        ]
        desk = self._desk
        base = desk.pace.queue_first if desk is not None else 60.0
        if limit is not None and running and sum(one.tokens for one in running) + ticket.tokens > limit:
            return base
        state = self._route(ticket.route)
        if state.fulls and not running:
            return max(0.0, state.full_at + min(1800.0, base * 2.0 ** min(state.fulls - 1, 12)) - now)
        return base if state.fulls and running and state.full_at > now - base else 0.0

    def _batches_of_others(self, tag: str) -> set[str]:
        return {one.batch for one in self._tickets.log.tickets.values() if one.tag != tag and one.batch is not None}

    async def _in_thread(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        try:
            return await self._disk.run(lambda: function(*args, **named))
        except OSError as error:
            raise OutputError(
                f"cannot use the state directory: {error.strerror}",
                "Make room, then run the same command again: no batch is lost.",
            ) from error


def _name(job: Job) -> int:
    return int(job.answer_key[:16], 16)


def _next_of(source: Iterator[Settled]) -> list[Settled]:
    return list(islice(source, _TOGETHER))


def _fill(piece: Sequence[tuple[int, Job]], members: Any, api: BatchApi) -> None:
    """Give records their bodies back, from what was sent."""
    for line, job in piece:
        job.item = api.body(members.line(line), job.route.model)


def _with_billing(fault: Fault, billing: Billing) -> Fault:
    return replace(fault, billing=billing)
