"""Brings the rows of a batch here: asks how it is until it has ended, cancels it where it takes too long, fetches."""

import math
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

import anyio

from llmbatch.batches.calls import Left, Refused
from llmbatch.batches.creation import give_back_all
from llmbatch.batches.ticket_run import NotRun, TicketFiles, TicketRun, check_account
from llmbatch.core.errand import DISK, Errand
from llmbatch.core.errors import CeilingReached, OutputError
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Fault, Kind
from llmbatch.core.ticket import Proof, Status, Step
from llmbatch.dialects.batch_api import BatchApi, InPages
from llmbatch.pacing.batch_lookup import since

__all__ = ["fetch", "poll", "settle", "tidy"]

_CUT_FETCHES = 5
"""Times that rows are fetched of which some seem to be missing, where nothing marked the end of an answer."""
_FEW_REFUSALS = 3
"""Refusals after which a run with `--no-wait` leaves a batch to the next one."""


async def poll(run: TicketRun) -> None:
    """Ask how the batch is until it has ended. Raises Left, LlmbatchError."""
    context, calls, pace, asked = run.context, run.calls, run.client.pace, 0
    lost_at = no_rows_at = math.inf
    while run.ticket.step is Step.RUNNING:
        reply = await calls.make(run.client.api.poll(run.ticket))
        status = reply if isinstance(reply, Fault) else run.client.api.status(reply)
        now = context.clock.wall()
        if isinstance(status, Status):
            run.status, lost_at = status, math.inf
            calls.worked()
            if status.failed:
                run.not_run = NotRun(status)
                await give_back_all(run)
                return
            if status.ended and status.completed and not status.outputs:
                no_rows_at = min(no_rows_at, now)  # the files are named a moment after the end
                if now - no_rows_at > pace.patience:
                    raise _no_rows(run, "it has ended with answers, and names no file of them")
            elif status.ended:
                facts = {"status": status.word, "outputs": status.outputs, "completed": status.completed}
                await run.record(Step.ENDED, ended_at=now, **facts)
                return
            elif run.age > context.live_after or run.ticket.cancelling:
                await _cancel(run, status)
        elif status.status == 404:
            lost_at = min(lost_at, now)
            calls.trouble = f"batch {run.ticket.batch} is not found"
            check_account(run, status)
            if now - lost_at > pace.patience:
                run.say(
                    f"batch {run.ticket.batch} is not found at {run.client.provider}; it is left for later "
                    f"(`llmbatch batches FILE --give-up {run.ticket.tag}` if it is gone for good)"
                )
                raise Left
        else:
            check_account(run, status)
            calls.check(status, f"a question about batch {run.ticket.batch}")
            calls.check_outage(status)
        if not context.waits and (isinstance(status, Status) or calls.refusals > _FEW_REFUSALS):
            raise Left
        await calls.sleep(pace.wait(asked, run.age, context.random))
        asked += 1


async def _cancel(run: TicketRun, status: Status) -> None:
    """Ask for the cancellation, again as long as the provider does not speak of it; what is answered is collected."""
    if not run.ticket.cancelling:
        await run.record(Step.RUNNING, cancelling=True)
    if "cancel" not in status.word.lower():
        await run.calls.make(run.client.api.cancel(run.ticket))


async def fetch(run: TicketRun) -> None:
    """Bring every output here, whatever the status says: rows decide. Raises Left, LlmbatchError.

    Answers that the provider counts and does not show are waited for: to take them for missing would pay for them
    again.
    """
    context, pace, files = run.context, run.client.pace, run.context.store.files(run.ticket)
    began, fetches, expected = context.clock.monotonic(), 0, run.ticket.completed
    # Pages have a row for each request, and the counts of who has them were seen to change after the end.
    wanted = run.ticket.requests if expected is None or isinstance(run.client.api, InPages) else expected
    while True:
        cut, fetches = await _fetch_outputs(run, files, began), fetches + 1
        rows = await run.in_thread(files.count_rows) if expected or cut else 0
        if cut and fetches < _CUT_FETCHES and rows < wanted:
            await run.calls.sleep(pace.wait(fetches, 0.0, context.random))
            continue
        if not expected or rows:
            break
        if context.clock.monotonic() - began > pace.patience:
            raise _no_rows(run, f"{run.ticket.completed:,} requests were answered, and no row is there")
        await run.calls.sleep(pace.wait(3, 0.0, context.random))
    await run.record(Step.FETCHED)


async def _fetch_outputs(run: TicketRun, files: TicketFiles, began: float) -> bool:
    """Fetch each output once; say whether one may have been cut off, since nothing marked its end."""
    cut, api = False, run.client.api
    for number, name in enumerate(run.ticket.outputs):
        if isinstance(api, InPages):
            cut = await _fetch_pages(run, api, files, number, name, began)
        else:
            errand = replace(api.output(run.ticket, name), sink=str(files.part(number)))
            cut = (await _fetched(run, errand, began)).cut or cut
        await run.in_thread(files.land, number)
    return cut


async def _fetch_pages(run: TicketRun, api: InPages, files: TicketFiles, number: int, first: str, began: float) -> bool:
    """Fetch an output page by page into one file; say whether rows may still be missing: a list may lag."""
    name: str | None = first
    names: set[str] = set()
    while name is not None and name not in names:
        reply = await _fetched(run, run.client.api.output(run.ticket, name), began)
        page = api.page(reply)
        if isinstance(page, Fault):
            run.calls.check(page, "the fetching of rows")
            run.calls.check_outage(page)
            await run.calls.sleep(run.client.pace.wait(3, 0.0, run.context.random))
            continue
        await run.in_thread(files.add_rows, number, page.rows, anew=not names)
        names.add(name)
        name = page.following
    return True


async def _fetched(run: TicketRun, errand: Errand, began: float) -> Reply:
    """Make a call for rows until it is answered well. Raises Left, LlmbatchError."""
    context, pace, calls = run.context, run.client.pace, run.calls
    while True:
        reply = await calls.make(errand)
        if isinstance(reply, Reply) and 200 <= reply.status < 300:
            calls.worked()
            return reply
        fault = reply if isinstance(reply, Fault) else _refusal(run.client.api, reply)
        if fault.code == DISK:
            raise OutputError(fault.message, "Make room, then run the same command again: nothing is lost.")
        check_account(run, fault)
        if fault.status == 410:
            raise _no_rows(run, fault.message)
        if fault.status != 404:
            calls.check(fault, "the fetching of rows")
        if context.clock.monotonic() - began > pace.patience:
            raise _no_rows(run, fault.message)
        await calls.sleep(pace.wait(3, 0.0, context.random))


def _no_rows(run: TicketRun, why: str) -> CeilingReached:
    ticket, kept = run.ticket, run.client.api.limits.kept
    began = ticket.created_at or ticket.asked_at
    until = "for a limited time" if kept is None else f"until {datetime.fromtimestamp(began + kept):%Y-%m-%d %H:%M}"
    return CeilingReached(
        f"the rows of batch {ticket.batch} cannot be fetched: {why}",
        f"Run the same command again soon: {run.client.provider} keeps them {until}. "
        f"`llmbatch batches FILE --give-up {ticket.tag}` if they are gone for good.",
        by="wait",
    )


def _refusal(api: BatchApi, reply: Reply) -> Fault:
    status = api.status(reply)
    if isinstance(status, Fault):
        return status
    return Fault(kind=Kind.PROTOCOL, message=f"HTTP {reply.status}", retry=True)


async def settle(run: TicketRun) -> None:
    """Write the results of the rows. Raises Left, LlmbatchError.

    Rows that cannot be trusted are kept, and fetched anew by the next run: they may be a page of a proxy.
    """
    if run.ticket.nth > 1 and run.client.api.proof is Proof.LISTED:
        await _look_for_more(run)
    try:
        run.keep_rows = await run.context.settle(run)
    except CeilingReached:
        # In this order: a ticket that is fetched and has no rows would be taken for one without answers.
        await run.record(Step.ENDED)
        await run.in_thread(run.context.store.keep_rows, run.ticket)
        raise
    await run.record(Step.SETTLED, **({"keep_rows": True} if run.keep_rows else {}))


async def _look_for_more(run: TicketRun) -> None:
    """Tell of a second batch of the same file that the list did not show in time."""
    ticket = run.ticket
    try:
        seen = await run.calls.talk(run.client.api.look(ticket, since(ticket.first_asked_at, ticket.skew)))
    except Refused:
        return
    more = sorted({one.batch for one in seen} - {ticket.batch})
    if more:
        run.say(f"batch {', '.join(more)} is of the same file as {ticket.batch}, and may be paid for too")
        await run.record(Step.FETCHED, more=more, unsure=ticket.unsure + len(more))


async def tidy(run: TicketRun) -> None:
    """Remove what nobody needs any more, there and here; where that fails, time or the next run does it."""
    errand = run.client.api.tidy(run.ticket)
    if errand is not None and not run.context.stopping.is_set():
        with anyio.move_on_after(5.0):
            await run.client.call(errand)
    with suppress(OSError):
        await run.context.in_thread(run.context.store.tidy, run.ticket, keep_rows=run.keep_rows)
