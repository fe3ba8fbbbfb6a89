"""Asks again for the records that a batch gave back: live, or in the next batch.

They come from the disk, as there is room for them.
"""

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from llmbatch.batches.account import BatchAccount
from llmbatch.batches.failures import hopeless
from llmbatch.batches.settling import TOGETHER
from llmbatch.batches.sizes import BatchSizes
from llmbatch.batches.ticket_run import TicketRun
from llmbatch.core.job import Job
from llmbatch.core.settings import BatchSettings
from llmbatch.core.ticket import Member, Ticket
from llmbatch.dialects.batch_api import BatchApi
from llmbatch.dialects.packing import unpacked

__all__ = ["Returns", "goes_live"]


class Returns:
    """Gives records back. `into_batch` and `send_live` take them, `until_room` waits until they may; it raises Left."""

    def __init__(
        self,
        *,
        store: Any,
        account: BatchAccount,
        sizes: BatchSizes,
        in_thread: Callable[..., Awaitable[Any]],
        until_room: Callable[[], Awaitable[None]],
        into_batch: Callable[[list[Job]], None],
        send_live: Callable[[list[Job]], None],
    ) -> None:
        self._store = store
        self._account = account
        self._sizes = sizes
        self._in_thread = in_thread
        self._until_room = until_room
        self._into_batch = into_batch
        self._send_live = send_live

    async def give_back(self, run: TicketRun, *, live: bool) -> None:
        """Ask again for what a batch gave back. Raises Left, LlmbatchError."""
        ticket, api, tickets = run.ticket, run.client.api, self._store.tickets
        if run.not_run is not None and (reason := hopeless(run.not_run.status.errors, ticket)) is not None:
            raise reason
        members = await self._in_thread(tickets.reader, ticket, api.frame.before.count(b"\n"))
        try:
            source = tickets.back(ticket)
            while piece := await self._in_thread(self._next_of, source, members, api, ticket):
                await self._until_room()
                jobs = await self._in_thread(self._release, ticket, piece)
                if self._account.owns(ticket):
                    self._account.open[ticket.tag] -= len(piece)
                (self._send_live if live else self._into_batch)(jobs)
        finally:
            await self._in_thread(members.close)
        if not live:
            self._sizes.check_rounds(ticket.route)

    def _next_of(self, source: Iterator[Member], members: Any, api: BatchApi, ticket: Ticket) -> Sequence[Job]:
        """Read some records, with their bodies from what was sent."""
        jobs = []
        for member in islice(source, TOGETHER):
            job, body = member.job, api.body(members.line(member.line), ticket.model)
            job.item = body if member.place is None else unpacked(body, ticket.dialect, member.place)
            jobs.append(job)
        return jobs

    def _release(self, ticket: Ticket, jobs: list[Job]) -> list[Job]:
        """Leave out records of earlier runs that the input does not have."""
        return jobs if self._account.owns(ticket) else [job for job in jobs if self._store.released(job)]


def goes_live(run: TicketRun, settings: BatchSettings) -> bool:
    """Say whether what a batch gave back is asked for live: as `--leftovers` says, or after `--live-after`."""
    outlived = run.ticket.cancelling and settings.live_after < math.inf
    return (settings.leftovers == "live" or outlived) and run.not_run is None
