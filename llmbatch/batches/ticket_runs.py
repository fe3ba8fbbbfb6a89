"""The tickets under way in a run, and what is asked about all of them together. Pure."""

from collections.abc import Iterator, Sequence

from llmbatch.batches.ticket_run import TicketRun
from llmbatch.core.job import Route
from llmbatch.core.snapshot import BatchesState
from llmbatch.core.ticket import Step, Ticket

__all__ = ["TicketRuns"]


class TicketRuns:
    """Tickets are running until their task ends, and open until they have come to their end."""

    def __init__(self) -> None:
        self._running: dict[str, TicketRun] = {}
        self._unfinished: dict[str, TicketRun] = {}
        """Those whose task began and that have not come to their end: a later run goes on with them."""
        self._returning: set[str] = set()

    def __repr__(self) -> str:
        """Show how many are running, are giving records back, and were left."""
        left = len(self._unfinished.keys() - self._running.keys())
        return f"<TicketRuns {len(self._running)} running, {len(self._returning)} giving back, {left} left>"

    def __bool__(self) -> bool:
        return bool(self._running)

    def __iter__(self) -> Iterator[tuple[str, TicketRun]]:
        """Go over all that are running or unfinished, with their tags."""
        return iter(list({**self._running, **self._unfinished}.items()))

    def add(self, run: TicketRun) -> None:
        """Note that the task of a ticket is about to begin."""
        self._running[run.ticket.tag] = run

    def began(self, run: TicketRun) -> None:
        """Note that its task has begun."""
        self._unfinished[run.ticket.tag] = run

    def gives_back(self, run: TicketRun) -> None:
        """Note that what it gave back is asked for again."""
        self._returning.add(run.ticket.tag)

    def finished(self, run: TicketRun) -> None:
        """Note that the ticket has come to its end."""
        del self._unfinished[run.ticket.tag]

    def ended(self, run: TicketRun) -> None:
        """Note that its task ended, however."""
        self._running.pop(run.ticket.tag, None)
        self._returning.discard(run.ticket.tag)

    @property
    def drawn(self) -> int:
        """How many wait to be uploaded."""
        return sum(run.ticket.is_drawn_only for run in self._running.values())

    @property
    def may_release_budget(self) -> bool:
        """Whether one is running that may still give money back."""
        return bool(self._running.keys() - self._returning)

    def serves(self, route: Route) -> bool:
        """Say whether one of the route is running."""
        return any(run.ticket.route == route for run in self._running.values())

    def queued_beside(self, ticket: Ticket) -> Sequence[Ticket]:
        """Return the other tickets of a model that its provider may have in the queue."""
        others = (run.ticket for run in self._running.values() if run.ticket.tag != ticket.tag)
        return [one for one in others if one.model == ticket.model and one.step in (Step.ASKED, Step.RUNNING)]

    def state(self) -> BatchesState | None:
        """Tell where the batches stand; None without any."""
        runs = [run for _, run in self if run.ticket.is_open or run.ticket.is_drawn_only]
        if not runs:
            return None
        running = [run for run in runs if run.ticket.is_open]
        told = [(run.ticket, run.status.completed) for run in running if run.status is not None]
        known = [ticket.records_in(completed) for ticket, completed in told if completed is not None]
        oldest = max(running, key=lambda run: run.age, default=None)
        return BatchesState(
            running=len(running),
            records=sum(run.ticket.count for run in running),
            answered=sum(known) if known else None,
            age=oldest.age if oldest is not None else 0.0,
            window=oldest.ticket.window if oldest is not None else 0.0,
            uploading=sum(run.ticket.is_drawn_only and not run.waits_for_room for run in runs),
            queued=sum(run.waits_for_room for run in runs),
            model=next((run.ticket.model for run in runs if run.waits_for_room), None),
            trouble=next((run.calls.trouble for run in runs if run.calls.trouble is not None), None),
        )
