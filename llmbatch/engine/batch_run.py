"""Takes one ticket through its steps: upload, create, look up, poll, fetch, settle. Only this module orders them.

Each step is on the disk before the next call leaves. Whatever ends the run, the next one goes on from the last step.
"""

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import anyio

from llmbatch.core.clock import Clock
from llmbatch.core.errand import DISK, Errand, Talk
from llmbatch.core.errors import ActionNeeded, CeilingReached, OutputError
from llmbatch.core.events import Notice
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.ports import Observer
from llmbatch.core.ticket import Proof, Sighting, Status, Step, Ticket
from llmbatch.dialects.batch_api import BatchApi
from llmbatch.pacing.batch_lookup import Found, Verdict, decide, since
from llmbatch.pacing.batch_polling import BatchPace

__all__ = ["Desk", "Left", "NotRun", "Surroundings", "TicketFiles", "TicketRun", "TicketStore"]

_CREATE_GRACE = 30.0
"""Seconds that a create call in flight may take once the run is to end: its answer saves a look-up."""
_FILE_APPEARS = 120.0
"""Seconds in which a file that was just uploaded may be unknown to the create call."""
_LONGEST_LOOK = 30.0
"""Seconds until the next look beyond which a run with `--no-wait` leaves a batch to the next one."""


class Desk(NamedTuple):
    """One provider with the key that goes there: what its batch API is like, and how a call is made."""

    provider: str
    api: BatchApi
    call: Callable[[Errand], Awaitable[Reply | Fault]]
    address: str
    account: str
    pace: BatchPace


class TicketFiles(Protocol):
    """The files of one ticket."""

    input: Any

    def part(self, number: int) -> Any:
        """Return where rows are written until they are whole."""
        ...

    def land(self, number: int) -> None:
        """Give fetched rows their name."""
        ...

    def remove(self) -> None:
        """Remove all."""
        ...

    def outputs(self) -> list[Any]:
        """Return the files of rows that are there."""
        ...


class TicketStore(Protocol):
    """What is remembered of tickets on disk. All block, and raise OSError."""

    def record(self, ticket: Ticket, step: Step, facts: dict[str, Any]) -> Ticket:
        """Put a step on the disk; return the ticket after it."""
        ...

    def files(self, ticket: Ticket) -> TicketFiles:
        """Return the files of a ticket."""
        ...

    def tidy(self, ticket: Ticket, *, keep_rows: bool) -> None:
        """Remove them."""
        ...


class Left(Exception):
    """The ticket is left as it is: the run ends, or does not wait."""


class NotRun(NamedTuple):
    """Why nothing of a batch ran: the whole of it is given back."""

    status: Status


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """What the runs of all tickets share."""

    store: TicketStore
    in_thread: Callable[..., Awaitable[Any]]
    mark_asked: Callable[..., None]
    clock: Clock
    notify: Observer
    random: Callable[[], float]
    hold: bool
    max_outage: float
    waits: bool = True
    live_after: float = math.inf
    stopping: anyio.Event
    may_upload: Callable[[Ticket], float]
    """For how many seconds a ticket has to wait for room in its model's queue; 0 for none."""
    may_not_find: Callable[[str], set[str]]
    """The batches of other tickets of ours."""
    settle: Callable[["TicketRun"], Awaitable[bool]]
    """Write the results of a ticket whose rows are here; whether rows were kept that could not be read."""
    changed: Callable[[Ticket], None]


class TicketRun:
    """One ticket on its way. `status` is what the provider said last."""

    def __init__(self, ticket: Ticket, desk: Desk, around: Surroundings) -> None:
        self.ticket = ticket
        self.desk = desk
        self.status: Status | None = None
        self.not_run: NotRun | None = None
        self.undecided = False
        """Nobody can tell whether there is a batch, and `--in-doubt hold` forbids another."""
        self.waits_for_room = False
        self._around = around
        self._keep_rows = False
        self._since: float | None = None
        """When the trouble began that lasts."""
        self._refusals = 0

    async def run(self) -> None:
        """Go through the steps until the ticket is over. Raises Left, LlmbatchError."""
        steps = {
            Step.DRAWN: self._upload,
            Step.UPLOADED: self._create,
            Step.ASKED: self._look_up,
            Step.RUNNING: self._poll,
            Step.ENDED: self._fetch,
            Step.FETCHED: self._settle,
        }
        while (step := steps.get(self.ticket.step)) is not None:
            await step()

    @property
    def age(self) -> float:
        """Seconds since the batch was created."""
        began = self.ticket.created_at or self.ticket.asked_at or self.ticket.drawn_at
        return max(0.0, self._around.clock.wall() - began)

    async def _upload(self) -> None:
        await self._wait_for_room()
        path = str(self._around.store.files(self.ticket).input)
        uploaded = await self._until_answered(lambda: self._talk(self.desk.api.upload(self.ticket, path)), "the upload")
        now = self._around.clock.wall()
        skew = uploaded.date - now if uploaded.date is not None else 0.0
        await self._record(Step.UPLOADED, file=uploaded.file, uploaded_at=now, skew=round(skew, 1))

    async def _create(self) -> None:
        """Ask for the batch, once: whatever is not a clear answer is looked up."""
        around, api = self._around, self.desk.api
        await self._wait_for_room()
        # In this order: marks without this step would leave its records in doubt after a crash.
        await self._record(Step.ASKED, nth=self.ticket.nth + 1, asked_at=around.clock.wall())
        await self._in_thread(around.mark_asked, self.ticket, sent=True)
        errand = api.create(self.ticket, str(around.store.files(self.ticket).input))
        reply = await self._finish_call(errand)
        if isinstance(reply, Fault):
            if reply.billing is Billing.UNBILLED:
                await self._not_created(reply)
            return  # its end is not known
        created = api.created(reply)
        if isinstance(created, Fault):
            await self._not_created(created)
        elif created is not None:
            self.status = created.status
            created_at = created.created_at or around.clock.wall()
            await self._record(Step.RUNNING, batch=created.batch, created_at=created_at)

    async def _not_created(self, fault: Fault) -> None:
        """Go back to the uploaded file after a clear no, and wait where waiting helps."""
        around = self._around
        if not self.ticket.unsure:
            await self._in_thread(around.mark_asked, self.ticket, sent=False)
        await self._record(Step.UPLOADED, reason=fault.message[:300])
        age = around.clock.wall() - self.ticket.uploaded_at
        if fault.kind in (Kind.NOT_FOUND, Kind.BAD_REQUEST) and "file" in fault.message.lower():
            if age < _FILE_APPEARS:
                await self._sleep(min(3.0, self.desk.pace.first))
                return
            if self.ticket.nth > 1:
                await self._record(Step.DRAWN, file=None)  # it expired meanwhile
                return
        await self._bear(fault, "the batch")

    async def _look_up(self) -> None:
        """Find out whether there is a batch after all."""
        around, api, ticket = self._around, self.desk.api, self.ticket
        empty: list[float] = []
        after = None
        while after is None or after.verdict is Verdict.LOOK:
            if after is not None:
                if not around.waits and after.at - around.clock.wall() > _LONGEST_LOOK:
                    raise Left
                await self._sleep(after.at - around.clock.wall())
            seen = await self._until_answered(self._look, "the list of batches")
            if not seen:
                empty.append(around.clock.wall())
            found = Found(ticket.asked_at, empty, seen)
            after = decide(api.proof, found, hold=around.hold, lag=self.desk.pace.lag, now=around.clock.wall())
        records = f"a batch of {ticket.count:,} records"
        match after.verdict:
            case Verdict.ADOPT if after.batch is not None:
                if after.more:
                    self._say(f"batch {', '.join(after.more)} is of the same file as {after.batch.batch}")
                created_at = after.batch.created_at or around.clock.wall()
                await self._record(Step.RUNNING, batch=after.batch.batch, created_at=created_at, more=after.more)
            case Verdict.CREATE:
                self._say(f"{records} was not created; it is asked for again")
                if not ticket.unsure:
                    await self._in_thread(around.mark_asked, ticket, sent=False)
                await self._record(Step.UPLOADED)
            case Verdict.CREATE_UNSURE:
                self._say(f"nobody can tell whether {records} was created; another is made")
                await self._ask_again()
            case _:
                self.undecided = True
                raise Left

    async def _look(self) -> list[Sighting]:
        """Look once for the batch of this ticket among those of nobody else."""
        ticket = self.ticket
        seen: list[Sighting] = await self._talk(self.desk.api.look(ticket, since(ticket.asked_at, ticket.skew)))
        others = self._around.may_not_find(ticket.tag)
        return [one for one in seen if one.batch not in others]

    async def _ask_again(self) -> None:
        """Create a batch though there may be one: what may be paid twice is counted."""
        self.ticket = replace(self.ticket, unsure=self.ticket.unsure + 1)
        await self._record(Step.ASKED, unsure=self.ticket.unsure, asked_at=self._around.clock.wall())
        await self._create()

    async def _poll(self) -> None:
        """Ask how the batch is until it has ended."""
        around, asked, lost_at, no_rows_at = self._around, 0, math.inf, math.inf
        while self.ticket.step is Step.RUNNING:
            reply = await self._droppable(self.desk.call(self.desk.api.poll(self.ticket)))
            status = reply if isinstance(reply, Fault) else self.desk.api.status(reply)
            now = around.clock.wall()
            if isinstance(status, Status):
                self.status, lost_at, self._since = status, math.inf, None
                around.changed(self.ticket)
                if status.failed:
                    self.not_run = NotRun(status)
                    await self._settle_void()
                    return
                if status.ended and status.completed and not status.outputs:
                    no_rows_at = min(no_rows_at, now)  # the files are named a moment after the end
                    if now - no_rows_at > self.desk.pace.patience:
                        raise self._without_rows()
                elif status.ended:
                    await self._record(
                        Step.ENDED,
                        status=status.word,
                        outputs=status.outputs,
                        completed=status.completed,
                        ended_at=now,
                    )
                    return
                if self.age > around.live_after and not self.ticket.cancelling:
                    await self.cancel()
                    continue
            elif status.status == 404:
                lost_at = min(lost_at, now)
                self._check_account(status)
                if now - lost_at > self.desk.pace.patience:
                    self._say(f"batch {self.ticket.batch} is not found at {self.desk.provider}; it is left for later")
                    raise Left
            else:
                self._check_refusal(status, "a question about a batch")
                self._check_outage(status)
            if not around.waits and (isinstance(status, Status) or self._refusals > 3):
                raise Left
            await self._sleep(self.desk.pace.wait(asked, self.age, around.random))
            asked += 1

    async def cancel(self) -> None:
        """Ask the provider to cancel the batch; what has been answered is collected all the same."""
        await self._record(Step.RUNNING, cancelling=True)
        await self._droppable(self.desk.call(self.desk.api.cancel(self.ticket)))

    async def _fetch(self) -> None:
        """Bring every output here, whatever the status says: rows decide.

        Answers that the provider counts and does not show are waited for: to take them for missing would pay for them
        again.
        """
        around, files, began = self._around, self._around.store.files(self.ticket), self._around.clock.monotonic()
        while True:
            await self._fetch_outputs(files, began)
            if not self.ticket.completed or any(path.stat().st_size for path in files.outputs()):
                break
            if around.clock.monotonic() - began > self.desk.pace.patience:
                raise self._without_rows()
            await self._sleep(self.desk.pace.wait(3, 0.0, around.random))
        await self._record(Step.FETCHED)

    def _without_rows(self) -> CeilingReached:
        return CeilingReached(
            f"batch {self.ticket.batch} has ended with answers, and {self.desk.provider} does not show its rows",
            "Run the same command again soon: they are kept for a limited time.",
            by="wait",
        )

    async def _fetch_outputs(self, files: TicketFiles, began: float) -> None:
        around = self._around
        for number, name in enumerate(self.ticket.outputs):
            while True:
                errand = replace(self.desk.api.output(self.ticket, name), sink=str(files.part(number)))
                reply = await self._droppable(self.desk.call(errand))
                if isinstance(reply, Reply) and 200 <= reply.status < 300:
                    break
                fault = reply if isinstance(reply, Fault) else _refusal(self.desk.api, reply)
                if fault.code == DISK:
                    raise OutputError(fault.message, "Make room, then run the same command again: nothing is lost.")
                if fault.status != 404:
                    self._check_refusal(fault, "rows")
                if around.clock.monotonic() - began > self.desk.pace.patience:
                    raise CeilingReached(
                        f"the rows of batch {self.ticket.batch} cannot be fetched: {fault.message}",
                        "Run the same command again soon: they are kept for a limited time.",
                    )
                await self._sleep(self.desk.pace.wait(3, 0.0, around.random))
            await self._in_thread(files.land, number)

    async def _settle(self) -> None:
        if self.ticket.nth > 1 and self.desk.api.proof is Proof.LISTED:
            await self._look_for_more()
        keep = await self._around.settle(self)
        await self._record(Step.SETTLED)
        self._keep_rows = keep

    async def _settle_void(self) -> None:
        """Give back all records of a batch of which nothing ran."""
        await self._in_thread(self._around.mark_asked, self.ticket, sent=False)
        await self._around.settle(self)
        await self._record(Step.VOID)

    async def _look_for_more(self) -> None:
        """Tell of a second batch of the same file that the list did not show in time."""
        ticket = self.ticket
        try:
            seen = await self._talk(self.desk.api.look(ticket, since(0.0, ticket.skew)))
        except _Refused:
            return
        more = sorted({one.batch for one in seen} - {ticket.batch})
        if more:
            self._say(f"batch {', '.join(more)} is of the same file as {ticket.batch}, and may be paid for too")
            await self._record(Step.FETCHED, more=more, unsure=ticket.unsure + len(more))

    async def tidy(self) -> None:
        """Remove what nobody needs any more, there and here; where that fails, time or the next run does it."""
        errand = self.desk.api.tidy(self.ticket)
        if errand is not None and not self._around.stopping.is_set():
            with anyio.move_on_after(5.0):
                await self.desk.call(errand)
        with suppress(OSError):
            await self._around.in_thread(self._around.store.tidy, self.ticket, keep_rows=self._keep_rows)

    # Calls, waiting, and what refusals mean.

    async def _talk(self, talk: Talk[Any]) -> Any:
        """Hold a conversation of several calls. Raises _Refused."""
        reply: Reply | None = None
        try:
            while True:
                errand = next(talk) if reply is None else talk.send(reply)
                answer = await self._droppable(self.desk.call(errand))
                if isinstance(answer, Fault):
                    raise _Refused(answer)
                reply = answer
        except StopIteration as end:
            result = end.value
        if isinstance(result, Fault):
            raise _Refused(result)
        return result

    async def _until_answered(self, ask: Callable[[], Awaitable[Any]], what: str) -> Any:
        while True:
            try:
                result = await ask()
            except _Refused as refused:
                await self._bear(refused.fault, what)
            else:
                self._since, self._refusals = None, 0
                return result

    async def _bear(self, fault: Fault, what: str) -> None:
        """Wait after a refusal that passes; raise what ends the run for one that does not."""
        self._check_refusal(fault, what)
        self._check_outage(fault)
        self._refusals += 1
        full = fault.billing is Billing.THROTTLED
        base = self.desk.pace.queue_first if full and what == "the batch" else self.desk.pace.first
        if full and what == "the batch":
            self._since = None  # a queue that is full of batches may be so for hours
            if not self._around.waits:
                raise Left
        wait = max(fault.wait or 0.0, min(1800.0, base * 2.0 ** min(self._refusals - 1, 12)))
        await self._sleep(wait * (0.8 + 0.4 * self._around.random()))

    def _check_refusal(self, fault: Fault, what: str) -> None:
        self._refusals += 1
        passing = fault.retry or fault.billing in (Billing.THROTTLED, Billing.DOUBTFUL, Billing.SERVER)
        if not passing or fault.kind in (Kind.UNAUTHORIZED, Kind.NO_CREDIT, Kind.TLS):
            raise ActionNeeded(
                f"{self.desk.provider} refuses {what} ({fault.status or fault.kind}): {fault.message}",
                "Mend that, then run the same command again: no batch is lost.",
            )

    def _check_outage(self, fault: Fault) -> None:
        now = self._around.clock.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > self._around.max_outage:
            raise CeilingReached(
                f"{self.desk.provider} was out of reach for longer than --max-outage: {fault.message}",
                "Run the same command again later: no batch is lost.",
            )

    def _check_account(self, fault: Fault) -> None:
        if self.ticket.account != self.desk.account:
            raise ActionNeeded(
                f"batch {self.ticket.batch} was made with another key or account at {self.ticket.address}, and this "
                f"one does not see it: {fault.message}",
                "Set the key that it was made with, then run the same command again.",
            )

    async def _wait_for_room(self) -> None:
        """Wait until the queue of the model has room for the tokens of this ticket."""
        while (wait := self._around.may_upload(self.ticket)) > 0:
            if not self._around.waits:
                raise Left
            self.waits_for_room = True
            await self._sleep(wait)
        self.waits_for_room = False

    async def _finish_call(self, errand: Errand) -> Reply | Fault:
        """Make a call that is not dropped when the run is to end, unless it takes long then."""
        if self._around.stopping.is_set():
            raise Left
        result: list[Reply | Fault] = []

        async def watch(scope: anyio.CancelScope) -> None:
            await self._around.stopping.wait()
            scope.deadline = anyio.current_time() + _CREATE_GRACE

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, tasks.cancel_scope)
            result.append(await self.desk.call(errand))
            tasks.cancel_scope.cancel()
        return result[0] if result else Fault(kind=Kind.TIMEOUT, message="dropped", billing=Billing.DOUBTFUL)

    async def _droppable(self, call: Awaitable[Reply | Fault]) -> Reply | Fault:
        """Make a call that is dropped when the run is to end. Raises Left then."""
        result: list[Reply | Fault] = []

        async def watch(scope: anyio.CancelScope) -> None:
            await self._around.stopping.wait()
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, tasks.cancel_scope)
            result.append(await call)
            tasks.cancel_scope.cancel()
        if not result:
            raise Left
        return result[0]

    async def _sleep(self, seconds: float) -> None:
        """Wait. Raises Left when the run is to end meanwhile."""
        with anyio.move_on_after(min(seconds, 3600.0)):
            await self._around.stopping.wait()
        if self._around.stopping.is_set():
            raise Left

    async def _record(self, step: Step, **facts: Any) -> None:
        self.ticket = await self._in_thread(self._around.store.record, self.ticket, step, facts)
        self._around.changed(self.ticket)

    async def _in_thread(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        try:
            return await self._around.in_thread(function, *args, **named)
        except OSError as error:
            raise OutputError(
                f"cannot write to the state directory: {error.strerror}",
                "Make room, then run the same command again: no batch is lost.",
            ) from error

    def _say(self, text: str) -> None:
        self._around.notify(Notice(text))


class _Refused(Exception):
    """A call was answered with an error, or with nothing."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def _refusal(api: BatchApi, reply: Reply) -> Fault:
    status = api.status(reply)
    return (
        status if isinstance(status, Fault) else Fault(kind=Kind.PROTOCOL, message=f"HTTP {reply.status}", retry=True)
    )
