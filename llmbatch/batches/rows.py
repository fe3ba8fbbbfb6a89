"""Reads the rows of a batch that has ended: each is matched to its record by our own id, and read as a live answer is.

A record without a row is told at the end. Called from a thread: it reads files.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from llmbatch.core.errors import CeilingReached
from llmbatch.core.exchange import Expected
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.outcome import Completion
from llmbatch.core.ticket import Member, Row, Ticket, line_of
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.batch_api import BatchApi, read_row, without_queries
from llmbatch.dialects.packing import for_all

__all__ = ["GIVEN_BACK", "Members", "Problems", "Settled", "rows_of"]

GIVEN_BACK = Fault(kind=Kind.OVERLOADED, message="the batch ended before it was answered", retry=True)
"""What a record gets that did not run, and cost nothing."""
MISSING = Fault(
    kind=Kind.UNPARSABLE,
    message="the batch has ended without a row for it",
    billing=Billing.DOUBTFUL,
    retry=True,
)


class Settled(NamedTuple):
    """A record, and what became of it."""

    member: Member
    verdict: Completion | Fault


@dataclass(slots=True)
class Problems:
    """What is wrong with the rows of a batch: how many tell nothing, and why the others cannot be trusted, if so."""

    unreadable: int = 0
    first: bytes = b""
    """The first line that tells nothing."""
    mixed: str | None = None

    def check(self, ticket: Ticket) -> None:
        """Raise CeilingReached where somebody mixes answers up."""
        if self.mixed is not None:
            raise CeilingReached(
                f"the rows of batch {ticket.batch} are not all its own: {self.mixed}; rows with its own ids are "
                "recorded, records without one wait",
                f"They are kept as FILE.state/batches/{ticket.tag}.out*.kept; the same command fetches them anew. "
                f"If they stay so, ask the provider; `llmbatch batches FILE --give-up {ticket.tag}` ends the wait.",
            )


class Members(Protocol):
    """The records of a batch by line."""

    def __len__(self) -> int: ...

    def of(self, line: int) -> Sequence[Member]:
        """Return the records that share a line, one or more."""
        ...


def rows_of(
    ticket: Ticket, lines: Iterable[bytes], members: Members, api: BatchApi, reader: AnswerReader, problems: Problems
) -> Iterator[Settled]:
    """Yield every record of a batch that has a row once, then those without, unless rows are mixed up."""
    count = len(members)
    seen = array("q", bytes(8 * count))
    for raw in lines:
        if raw.isspace():
            continue
        row = read_row(api, raw)
        if row is None:
            problems.unreadable += 1
            problems.first = problems.first or raw
            continue
        line = line_of(ticket.tag, count, row.id)
        if line is None:
            problems.mixed = problems.mixed or f"the id {str(row.id)[:80]!r} is of no record of it"
            continue
        digest = hash(raw.strip()) or 1
        if seen[line]:
            if seen[line] != digest:
                index = members.of(line)[0].job.identity.index
                problems.mixed = problems.mixed or f"record {index} has two different rows"
            continue
        seen[line] = digest
        yield from _read(ticket, row, members.of(line), reader)
    if problems.unreadable and not any(seen):
        # It holds answers that are paid for, in a form that nobody told us of.
        problems.mixed = f"no row can be read, the first line is {without_queries(problems.first)[:80]!r}"
    if problems.mixed is None:
        for line in range(count):
            if not seen[line]:
                for member in members.of(line):
                    _tell(ticket, member)
                    yield Settled(member, MISSING)


def _read(ticket: Ticket, row: Row, members: Sequence[Member], reader: AnswerReader) -> Iterator[Settled]:
    for member in members:
        _tell(ticket, member)
    verdicts: Sequence[Completion | Fault]
    if row.given_back:
        verdicts = [GIVEN_BACK] * len(members)
    elif row.reply is None:
        verdicts = for_all(row.fault or MISSING, len(members))
    else:
        keeps = tuple(member.job.keep_body for member in members)
        weights = tuple(member.weight for member in members) if len(members) > 1 else ()
        verdicts = reader.read(Expected(ticket.dialect, keeps, members[0].entries, weights), row.reply)
    yield from map(Settled, members, verdicts)


def _tell(ticket: Ticket, member: Member) -> None:
    """Note in a record by which batch it was answered, and when."""
    attempts = member.job.attempts
    attempts.batch = ticket.batch
    attempts.started = ticket.created_at
    attempts.latency = max(0.0, ticket.ended_at - ticket.created_at)
    attempts.possibly_billed += ticket.unsure
