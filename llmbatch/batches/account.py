"""Counts the records of this run in batches, so that the books of a run balance whatever ends it."""

from collections import Counter

from llmbatch.core.ticket import Ticket

__all__ = ["BatchAccount"]


class BatchAccount:
    """The records of open tickets, by ticket, and those that ended without a result line."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.open: Counter[str] = Counter()
        """Records of tickets of this run that have no end yet, by tag."""
        self.held = 0
        """Records of batches without a row, that will not be sent again: in doubt."""
        self.not_started = 0

    def owns(self, ticket: Ticket) -> bool:
        """Say whether this run drew a ticket."""
        return ticket.run == self.run_id
