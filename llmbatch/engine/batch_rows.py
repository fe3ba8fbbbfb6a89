"""Reads the rows of a batch that has ended: each is matched to its record by our own id, and read as a live answer is.

A record without a row is told at the end. Called from a thread: it reads files.
"""

from array import array
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple, Protocol

from llmbatch.core.errors import CeilingReached
from llmbatch.core.exchange import Expected
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.job import Job
from llmbatch.core.outcome import Completion
from llmbatch.core.ticket import Row, Ticket, line_of
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.batch_api import BatchApi

__all__ = ["GIVEN_BACK", "Settled", "rows_of"]

GIVEN_BACK = Fault(kind=Kind.OVERLOADED, message="the batch ended before it was answered", retry=True)
"""What a record gets that did not run, and cost nothing."""
MISSING = Fault(
    kind=Kind.UNPARSABLE,
    message="the batch has ended without a row for it",
    billing=Billing.DOUBTFUL,
    retry=True,
)


class Settled(NamedTuple):
    """A record, the number of its line, and what became of it. `body` is the request, where that was asked for."""

    line: int
    job: Job
    verdict: Completion | Fault


class Members(Protocol):
    """The records of a batch by line."""

    def __len__(self) -> int: ...

    def job(self, line: int) -> tuple[Job, int]:
        """Return a record, and how many entries of its answer's list are its own."""
        ...


class Rows(Protocol):
    """The lines that a provider gave, of all its files."""

    def __iter__(self) -> Iterator[bytes]: ...


def rows_of(
    ticket: Ticket, lines: Iterator[bytes], members: Members, api: BatchApi, reader: AnswerReader, unreadable: list[int]
) -> Iterator[Settled]:
    """Yield every record of a batch once, those without a row last; `unreadable` gets a number for each broken line.

    Raises CeilingReached for rows that are of another batch or contradict each other: then somebody mixes answers up.
    """
    count = len(members)
    seen = array("Q", bytes(8 * count))
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        row = api.row(raw)
        if row is None:
            unreadable.append(number)
            continue
        line = line_of(ticket.tag, count, row.id)
        if line is None:
            raise _mixed(ticket, f"row {number} has the id {str(row.id)[:80]!r}, which is of no record of it")
        digest = int.from_bytes(blake2b(raw.strip(), digest_size=8).digest(), "little") | 1
        if seen[line]:
            if seen[line] != digest:
                raise _mixed(ticket, f"it has two different rows for record {members.job(line)[0].identity.index}")
            continue
        seen[line] = digest
        yield _read(ticket, line, row, members, reader)
    for line in range(count):
        if not seen[line]:
            yield Settled(line, _job(ticket, members.job(line)[0]), MISSING)


def _read(ticket: Ticket, line: int, row: Row, members: Members, reader: AnswerReader) -> Settled:
    job, entries = members.job(line)
    job = _job(ticket, job)
    if row.given_back:
        return Settled(line, job, GIVEN_BACK)
    if row.reply is None:
        return Settled(line, job, row.fault or MISSING)
    (verdict,) = reader.read(Expected(ticket.dialect, (job.keep_body,), entries), row.reply)
    return Settled(line, job, verdict)


def _job(ticket: Ticket, job: Job) -> Job:
    job.batch = ticket.batch
    job.started = ticket.created_at
    job.latency = max(0.0, ticket.ended_at - ticket.created_at)
    job.possibly_billed += ticket.unsure
    return job


def _mixed(ticket: Ticket, what: str) -> CeilingReached:
    return CeilingReached(
        f"the rows of batch {ticket.batch} cannot be trusted: {what}; nothing more of it was recorded",
        f"Its raw rows are kept in the state directory as batches/{ticket.tag}.out*; ask the provider.",
    )
