"""The tickets of one results file: their log, their files, and the records that earlier runs left in them."""

import secrets
import string
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmbatch.codec.digest import FINGERPRINT
from llmbatch.core.errors import UsageError
from llmbatch.core.job import Job
from llmbatch.core.ticket import Member, Step, Ticket
from llmbatch.results import disk
from llmbatch.results.chunk import BackWriter, ChunkFiles, ChunkWriter, MemberReader, members_of
from llmbatch.results.intents import MOST, Intent
from llmbatch.results.lines import key_fingerprint, name_of
from llmbatch.results.pending import Pending
from llmbatch.results.ticket_log import NAME as LOG
from llmbatch.results.ticket_log import TicketLog, read_log

__all__ = ["Tickets", "pending_in"]

_ALPHABET = string.ascii_lowercase + string.digits
FOLDER = "batches"


def pending_in(folder: Path | None) -> Pending:
    """Return the records in open batches, for who holds no lock; what cannot be read is left out."""
    pending = Pending()
    if folder is None:
        return pending
    with suppress(OSError):
        for ticket in read_log(folder / LOG).tickets.values():
            if not ticket.is_open:
                continue
            with suppress(OSError, ValueError, LookupError, TypeError):
                for line in ChunkFiles(folder / FOLDER, ticket.tag).member_lines():
                    for member in members_of(line, ticket.route):
                        job = member.job
                        pending.add(name_of(job.identity), key_fingerprint(job.key), 0, key_fingerprint(job.answer_key))
    return pending


class Tickets:
    """What a results file, whose lock its user holds, knows of batches. Methods block, and raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._state, self._folder = folder, folder / FOLDER
        self.log = TicketLog(folder)
        self.pending = Pending()
        self.has_line: Callable[[Job], bool] = lambda job: False
        """Whether a record had the line of this very request when the run began."""

    def open(self, *, move_broken: bool, notice: Callable[[str], None]) -> None:
        """Read the log; forget what was never asked for, and files of no ticket. Raises UsageError too."""
        moved = self.log.open(move_broken=move_broken)
        if moved is not None:
            notice(f"the log of batches had damaged lines and was moved to {moved}; their batches are looked up")
        for ticket in [ticket for ticket in self.log.tickets.values() if ticket.is_drawn_only]:
            self.log.record(ticket, Step.VOID)
        with suppress(FileNotFoundError):
            for path in sorted(self._folder.iterdir()):
                tag, _, what = path.name.partition(".")
                if tag in self.log.tickets or what.endswith("kept"):
                    continue
                if tag in self.log.kept and what.startswith("out"):  # its run died before it could do that
                    disk.rename(path, path.with_name(f"{path.name}.kept"))
                else:
                    disk.remove(path)

    def read_members(self, first: int) -> Iterator[tuple[Intent, int]]:
        """Yield the intents of the records in open tickets, with their marks, and enter them from slot `first` on.

        Records that have their line are left out: their ticket was being settled. Raises UsageError for files that are
        not as they were written.
        """
        slot = first
        for ticket in self.log.tickets.values():
            count = 0
            for job in self.jobs(ticket):
                count += 1
                if not job.redo and self.has_line(job):
                    continue
                key = key_fingerprint(job.key)
                if self.pending.add(name_of(job.identity), key, slot, key_fingerprint(job.answer_key)):
                    slot += 1
                    attempts = min(MOST, job.attempts.possibly_billed + ticket.unsure + 1)
                    yield Intent(name_of(job.identity) & FINGERPRINT, key, job.redo), attempts
            if count != ticket.count:
                raise self._broken(ticket)

    def jobs(self, ticket: Ticket) -> Iterator[Job]:
        """Yield the records of a ticket. Raises UsageError for files that are not as they were written."""
        route = ticket.route
        try:
            for line in self.files(ticket).member_lines():
                for member in members_of(line, route):
                    yield member.job
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            raise self._broken(ticket) from None

    def _broken(self, ticket: Ticket) -> UsageError:
        return UsageError(
            f"{self.files(ticket).members} is not as it was written: whose answers batch {ticket.batch or ticket.tag} "
            "holds is not known; nothing was sent",
            "Put the file back from a copy; or remove its ticket's files with tickets.jsonl, then what it holds is in "
            "doubt.",
        )

    def new_tag(self) -> str:
        """Return a tag that nobody can guess."""
        return "".join(secrets.choice(_ALPHABET) for _ in range(16))

    def files(self, ticket: Ticket) -> ChunkFiles:
        """Return where the files of a ticket are."""
        return ChunkFiles(self._folder, ticket.tag)

    def new_chunk(self, tag: str, before: bytes, between: bytes, after: bytes) -> ChunkWriter:
        """Begin the files of a ticket."""
        try:
            disk.make_folder(self._folder)
        except FileExistsError:
            pass
        else:
            disk.sync_folder(self._state)
        return ChunkWriter(ChunkFiles(self._folder, tag), before, between, after)

    def reader(self, ticket: Ticket, shift: int) -> MemberReader:
        """Open the members of a ticket; `shift` is how many lines stand before theirs in the file that was sent."""
        return MemberReader(self.files(ticket), ticket, shift)

    def rows(self, ticket: Ticket) -> Iterator[bytes]:
        """Yield the rows that were fetched."""
        return self.files(ticket).row_lines()

    def new_back(self, ticket: Ticket) -> BackWriter:
        """Begin the list of the records that a ticket gives back."""
        return BackWriter(self.files(ticket).back)

    def back(self, ticket: Ticket) -> Iterator[Member]:
        """Yield the records that it gave back, each with its line and its place there."""
        for line in self.files(ticket).back_lines():
            yield from members_of(line, ticket.route)

    def record(self, ticket: Ticket, step: Step, facts: dict[str, Any]) -> Ticket:
        """Put a step on the disk; return the ticket after it."""
        return self.log.record(ticket, step, **facts)

    def keep_rows(self, ticket: Ticket) -> None:
        """Move fetched rows out of the way of those that are fetched anew. The same rows again take no more room."""
        for path in self.files(ticket).outputs():
            disk.rename(path, path.with_name(f"{path.name}-{path.stat().st_size}.kept"))

    def tidy(self, ticket: Ticket, *, keep_rows: bool) -> None:
        """Remove the files of a ticket that is over. With `keep_rows` those that hold what could not be read stay."""
        files = self.files(ticket)
        if keep_rows:
            for path in files.outputs():
                disk.rename(path, path.with_name(f"{path.name}.kept"))
        files.remove()

    def close(self) -> None:
        """Close the log."""
        self.log.close()
