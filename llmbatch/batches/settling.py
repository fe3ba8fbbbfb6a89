"""Writes the results of a batch, and puts on disk which of its records are to be asked for again.

Those are few or all of a batch, so they do not wait in memory. Their marks are cleared before the ticket is settled: a
crash in between settles it again, and a crash after it finds them merely planned.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Protocol

from llmbatch.batches.account import BatchAccount
from llmbatch.batches.calls import Left
from llmbatch.batches.copies import Copies
from llmbatch.batches.rows import GIVEN_BACK, Members, Problems, Settled, rows_of
from llmbatch.batches.sizes import BatchSizes, Blame
from llmbatch.batches.ticket_run import TicketRun
from llmbatch.core.attempts import ALONE
from llmbatch.core.events import Notice, Retrying
from llmbatch.core.fault import Billing
from llmbatch.core.job import Job
from llmbatch.core.outcome import Completion, Outcome
from llmbatch.core.plural import counted
from llmbatch.core.ports import Observer
from llmbatch.core.ticket import Member, Ticket
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.engine.writer import Writer
from llmbatch.pacing.cost import Budget
from llmbatch.pacing.retry import RetryPolicy

__all__ = ["TOGETHER", "Settling"]

TOGETHER = 256
"""Records that are written to a batch, or read from one, in one trip to a thread."""


class _Store(Protocol):
    """The results file, as far as batches need it. All block; raise OSError, OutputError."""

    tickets: Any

    def slot_of(self, job: Job) -> int | None: ...

    def ended(self, job: Job) -> None: ...

    def came_back(self, jobs: Sequence[Job]) -> None: ...

    def record(self, outcomes: Sequence[Outcome]) -> None: ...


@dataclass(slots=True)
class _Piece:
    """What some rows became: outcomes, paid answers of records that ask for a better one, and all that go again."""

    done: list[Outcome]
    paid: list[Outcome]
    again: list[Member]


class Settling:
    """Settles tickets. `is_alone` says whether no other batch of ours is in the queue of a ticket's model."""

    def __init__(
        self,
        *,
        store: _Store,
        account: BatchAccount,
        sizes: BatchSizes,
        copies: Copies,
        reader: AnswerReader,
        policy: RetryPolicy,
        budget: Budget,
        hold: bool,
        notify: Observer,
        random: Callable[[], float],
        sync: Callable[[], None],
        in_thread: Callable[..., Awaitable[Any]],
        is_alone: Callable[[Ticket], bool],
        now: Callable[[], float],
        ask: Callable[[list[Job]], None],
    ) -> None:
        self._store = store
        self._account = account
        self._sizes = sizes
        self._copies = copies
        self._reader = reader
        self._policy = policy
        self._budget = budget
        self._hold = hold
        self._notify = notify
        self._random = random
        self._sync = sync
        self._in_thread = in_thread
        self._is_alone = is_alone
        self._now = now
        self._ask = ask
        self.writer: Writer

    async def settle(self, run: TicketRun) -> bool:
        """Write the results of a batch; say whether rows were kept that could not be read.

        Raises Left when the output refuses them, CeilingReached when rows are mixed up.
        """
        ticket, problems, tickets = run.ticket, Problems(), self._store.tickets
        members = await self._in_thread(tickets.reader, ticket, run.client.api.frame.before.count(b"\n"))
        answers = given_back = 0
        unwritten = self.writer.unwritten
        try:
            back = await self._in_thread(tickets.new_back, ticket)
            try:
                source = await self._source(run, members, problems)
                while True:
                    piece: list[Settled] = await self._in_thread(_next_of, source)
                    if not piece:
                        break
                    sorted = self._sorted(ticket, piece)
                    await self._in_thread(self._put_on_disk, sorted, back)
                    answers += self._put(ticket, sorted)
                    given_back += len(sorted.again)
                    await self.writer.until_written(4 * TOGETHER)
                await self.writer.until_written()
            finally:
                await self._in_thread(back.close)
        finally:
            await self._in_thread(members.close)
        if self.writer.unwritten > unwritten:
            raise Left
        await self._in_thread(self._sync)
        problems.check(ticket)
        if run.not_run is None:
            self._sizes.ran(ticket.route, answers=answers, gave_back=given_back > 0)
        if problems.unreadable:
            self._notify(
                Notice(
                    f"{counted(problems.unreadable, 'row')} of batch {ticket.batch} cannot be matched "
                    "to a record; kept as .kept"
                )
            )
        return problems.unreadable > 0

    async def _source(self, run: TicketRun, members: Members, problems: Problems) -> Iterator[Settled]:
        ticket = run.ticket
        if run.not_run is None:
            lines = self._store.tickets.rows(ticket)
            return rows_of(ticket, lines, members, run.client.api, self._reader, problems)
        status, full, refusal = run.not_run
        alone, now = self._is_alone(ticket), self._now()
        blame = partial(self._sizes.blame, full=full, alone=alone, now=now, refusal=refusal)
        blamed = await self._in_thread(blame, ticket, status.errors)
        return _not_run(ticket, members, blamed)

    def _sorted(self, ticket: Ticket, piece: Sequence[Settled]) -> _Piece:
        sorted = _Piece([], [], [])
        for settled in piece:
            if self._account.owns(ticket):
                self._decide(settled, ticket, sorted)
            elif (slot := self._store.slot_of(settled.member.job)) is not None:  # else it has its end
                settled.member.job.intent_slot = slot
                self._decide(settled, ticket, sorted)
        return sorted

    def _put_on_disk(self, piece: _Piece, back: Any) -> None:
        if piece.paid:
            # Each is its record's line until the next answer replaces it: it never waits in memory.
            self._store.record(piece.paid)
        if piece.again:
            for member in piece.again:
                back.add(member)
            self._store.came_back([member.job for member in piece.again if member.job.intent_slot >= 0])

    def _put(self, ticket: Ticket, piece: _Piece) -> int:
        """Hand outcomes to the writer, with their copies; return how many are answers."""
        copies: list[Outcome] = []
        for outcome in piece.done if self._copies.is_on else ():
            copied, others = self._copies.ended(outcome)
            copies += copied
            if others:
                self._ask(others)
        self.writer.put([*piece.done, *copies])
        for outcome in piece.done:
            self._ended(ticket, outcome.job)
        return sum(isinstance(outcome.verdict, Completion) for outcome in piece.done)

    def _ended(self, ticket: Ticket, job: Job) -> None:
        if self._account.owns(ticket):
            self._account.open[ticket.tag] -= 1
        else:
            self._store.ended(job)

    def _decide(self, settled: Settled, ticket: Ticket, piece: _Piece) -> None:
        """Decide what becomes of a record, by the rules that hold live: it ends, or it is asked for again."""
        member, verdict = settled
        job = member.job
        self._budget.settle(job, verdict)
        if isinstance(verdict, Completion):
            piece.done.append(Outcome(job, verdict))
            return
        if verdict is GIVEN_BACK:
            piece.again.append(member)
            return
        if verdict.split and member.place is not None:
            job.attempts.pack_group = ALONE  # another batch to find out which of them failed may take a day
            piece.again.append(member)
            return
        billing = verdict.billing
        if billing in (Billing.THROTTLED, Billing.SERVER):
            billing = Billing.UNBILLED  # a row with an error has no usage
        attempts = job.attempts
        match billing:
            case Billing.DOUBTFUL:
                attempts.unknown_outcomes += 1
                attempts.possibly_billed += 1
                attempts.pack_group = ALONE
            case Billing.BILLED if verdict.retry:
                attempts.unusable_answers += 1
            case Billing.UNBILLED if verdict.retry:
                attempts.retries += 1
        fault = verdict if billing is verdict.billing else replace(verdict, billing=billing)
        if self._policy.wait(attempts, fault, self._random) is not None:
            self._notify(Retrying(job, fault, 0.0))
            piece.again.append(member)
            if billing is Billing.BILLED:
                piece.paid.append(Outcome(job, verdict))
        elif self._hold and billing is Billing.DOUBTFUL:
            self._account.held += 1 + self._copies.held(job)
            self._ended(ticket, job)
        else:
            piece.done.append(Outcome(job, verdict))


def _not_run(ticket: Ticket, members: Members, blamed: Blame | None) -> Iterator[Settled]:
    """Yield the records of a batch that failed as a whole: all are given back but those of the line to blame."""
    for line in range(len(members)):
        fault, found = GIVEN_BACK, members.of(line)
        if blamed is not None and line == blamed[0]:
            fault = replace(blamed[1], split=len(found) > 1)
        for member in found:
            member.job.attempts.batch = ticket.batch
            member.job.attempts.possibly_billed += ticket.unsure
            member.job.attempts.sent -= fault is GIVEN_BACK
            yield Settled(member, fault)


def _next_of(source: Iterator[Settled]) -> list[Settled]:
    return list(islice(source, TOGETHER))
