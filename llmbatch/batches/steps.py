"""Takes one ticket through its steps, from the file to the results. Only this module orders them.

Each step is on the disk before the next call leaves. Whatever ends the run, the next one goes on from the last step.
"""

from collections.abc import Awaitable, Callable, Mapping

from llmbatch.batches.collection import fetch, poll, settle
from llmbatch.batches.creation import create, look_up, upload
from llmbatch.batches.ticket_run import TicketRun
from llmbatch.core.ticket import Step

__all__ = ["run_to_the_end"]

_NEXT: Mapping[Step, Callable[[TicketRun], Awaitable[None]]] = {
    Step.DRAWN: upload,
    Step.UPLOADED: create,
    Step.ASKED: look_up,
    Step.RUNNING: poll,
    Step.ENDED: fetch,
    Step.FETCHED: settle,
}
"""What comes after each step. A ticket that is settled or void is over."""


async def run_to_the_end(run: TicketRun) -> None:
    """Go through the steps until the ticket is over. Raises Left, LlmbatchError."""
    while (step := _NEXT.get(run.ticket.step)) is not None:
        await step(run)
