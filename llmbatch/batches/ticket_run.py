"""One ticket under way, and what all of them share: where steps are recorded, which rules the run has."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import anyio

from llmbatch.batches.calls import BatchClient, Calls
from llmbatch.core.clock import Clock
from llmbatch.core.errors import ActionNeeded, OutputError
from llmbatch.core.events import Notice
from llmbatch.core.fault import Fault
from llmbatch.core.plural import counted
from llmbatch.core.ports import Observer
from llmbatch.core.ticket import Status, Step, Ticket

__all__ = ["NotRun", "TicketContext", "TicketFiles", "TicketRun", "TicketStore", "check_account"]

_UNSEEN = frozenset({400, 401, 403, 404, 410})
"""Statuses with which providers answer about what is another account's."""


class TicketFiles(Protocol):
    """The files of one ticket."""

    input: Path

    def part(self, number: int) -> Path:
        """Return where rows are written until they are whole."""
        ...

    def add_rows(self, number: int, rows: bytes, *, anew: bool) -> None:
        """Write rows there, behind others unless they begin `anew`."""
        ...

    def land(self, number: int) -> None:
        """Give fetched rows their name."""
        ...

    def count_rows(self) -> int:
        """Count the rows that were fetched."""
        ...

    def outputs(self) -> list[Path]:
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

    def keep_rows(self, ticket: Ticket) -> None:
        """Move fetched rows out of the way of those that are fetched anew."""
        ...

    def tidy(self, ticket: Ticket, *, keep_rows: bool) -> None:
        """Remove them."""
        ...


class NotRun(NamedTuple):
    """Why nothing of a batch ran, so that all of it is given back. `full`: its queue had no room.

    `fault` is the refusal of a call, which a record gets that is alone to blame.
    """

    status: Status
    full: bool = False
    fault: Fault | None = None


@dataclass(slots=True, kw_only=True)
class TicketContext:
    """What all tickets of a run share."""

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
    wait_for_room: Callable[[Ticket], float]
    """For how many seconds a ticket has to wait for room in its model's queue; 0 for none."""
    batches_of_others: Callable[[str], set[str]]
    """The batches of other tickets of ours."""
    settle: Callable[["TicketRun"], Awaitable[bool]]
    """Write the results of a ticket whose rows are here; whether rows were kept that could not be read."""


class TicketRun:
    """One ticket on its way. `status` is what the provider said last."""

    def __init__(self, ticket: Ticket, client: BatchClient, context: TicketContext) -> None:
        self.ticket = ticket
        self.client = client
        self.context = context
        self.calls = Calls(
            client,
            clock=context.clock,
            random=context.random,
            stopping=context.stopping,
            max_outage=context.max_outage,
        )
        self.status: Status | None = None
        self.not_run: NotRun | None = None
        self.undecided = False
        """Nobody can tell whether there is a batch, and `--in-doubt hold` forbids another."""
        self.waits_for_room = False
        self.keep_rows = False
        """Rows are kept that could not be read."""
        self.lost_creates = 0
        """Creations whose answer was lost and that made no batch, as a look-up found out."""
        self.lost_answer: str | None = None
        """What came instead of the last answer to a creation."""
        self.uploaded_again = False
        self.file_refusals = 0
        """Creations that were refused because of the file, since it was uploaded."""

    @property
    def age(self) -> float:
        """Seconds since the batch was created."""
        began = self.ticket.created_at or self.ticket.asked_at or self.ticket.drawn_at
        return max(0.0, self.context.clock.wall() - began)

    @property
    def records(self) -> str:
        """Its batch in words, while it has no name."""
        return f"a batch of {counted(self.ticket.count, 'record')}"

    async def record(self, step: Step, **facts: Any) -> None:
        """Put a step on the disk. Raises OutputError."""
        self.ticket = await self.in_thread(self.context.store.record, self.ticket, step, facts)

    async def in_thread(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Do what blocks in a thread. Raises OutputError for a disk that refuses."""
        try:
            return await self.context.in_thread(function, *args, **named)
        except OSError as error:
            raise OutputError(
                f"cannot write to the state directory: {error.strerror}",
                "Make room, then run the same command again: no batch is lost.",
            ) from error

    def say(self, text: str) -> None:
        """Tell the user something."""
        self.context.notify(Notice(text))

    @property
    def is_of_another_key(self) -> bool:
        """Whether its last call that mattered was made with another key: what is not seen may be there all the same."""
        return self.ticket.account != self.client.account


def check_account(run: TicketRun, fault: Fault | None = None) -> None:
    """Raise ActionNeeded where a provider does not show us what was made with another key.

    A new key of the same account sees all, so it goes on.
    """
    if not run.is_of_another_key or (fault is not None and fault.status not in _UNSEEN):
        return
    ticket = run.ticket
    batch = f"batch {ticket.batch}" if ticket.batch is not None else run.records
    told = f": {fault.message}" if fault is not None else ""
    raise ActionNeeded(
        f"{batch} (ticket {ticket.tag}) was made with another key or account at {ticket.address}, and this one does "
        f"not see it{told}",
        "Set the key that it was made with, then run the same command again: nothing is lost. "
        f"`llmbatch batches FILE --give-up {ticket.tag}` if that is gone for good.",
    )
