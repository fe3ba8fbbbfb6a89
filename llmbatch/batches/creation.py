"""Brings a ticket to a running batch: uploads its file, asks for the batch, and looks it up when the answer was lost.

A batch is asked for once. Whatever is not a clear answer may have made one, so the provider's list decides; and since a
list may be wrong, the number of creations is bounded even then.
"""

from collections.abc import Awaitable

from llmbatch.batches.calls import Left, Refused
from llmbatch.batches.failures import is_full, line_in
from llmbatch.batches.ticket_run import NotRun, TicketRun, check_account
from llmbatch.core.errors import ActionNeeded, CeilingReached
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.ticket import BatchError, Sighting, Status, Step, Ticket
from llmbatch.dialects.batch_api import Uploaded, parsed, words_of
from llmbatch.pacing.batch_lookup import Found, Verdict, decide, since

__all__ = ["create", "give_back_all", "look_up", "upload"]

_FILE_APPEARS = 120.0
"""Seconds in which a file that was just uploaded may be unknown to the create call."""
_LONGEST_LOOK = 30.0
"""Seconds until the next look beyond which a run with `--no-wait` leaves a batch to the next one."""
_LOST_CREATES = 3
"""Creations of one batch whose answers may be lost in a run, where a list tells that they made none."""
_UNSURE_CREATES = 1
"""Creations that may be a second batch, where nothing tells."""
_SMALLER_AFTER = 4
"""Refusals for pace in a row after which a smaller batch is tried."""
_SMALL = 64 * 1024
"""Bytes of a file that no limit is meant for."""
_OTHER_CLOCK = 60.0
"""Seconds of skew that are worth another look."""


async def upload(run: TicketRun) -> None:
    """Bring the file to the provider. Raises Left, LlmbatchError."""
    await _wait_for_room(run)
    api, calls, clock = run.client.api, run.calls, run.context.clock
    path = str(run.context.store.files(run.ticket).input)
    uploaded = await calls.until_answered(
        lambda: _unless_its_content(run, calls.talk(api.upload(run.ticket, path))), "the upload"
    )
    if uploaded is None:
        return
    now = clock.wall()
    skew = uploaded.date - now if uploaded.date is not None else 0.0
    run.file_refusals = 0
    facts = {"file": uploaded.file, "uploaded_at": now, "skew": round(skew, 1), "account": run.client.account}
    await run.record(Step.UPLOADED, **facts)


async def _unless_its_content(run: TicketRun, upload: Awaitable[Uploaded]) -> Uploaded | None:
    """Await an upload; None when it was refused for its size, or for one of its lines. Raises Refused, Left."""
    try:
        return await upload
    except Refused as refused:
        if not (_is_too_large(run.ticket, refused.fault) or _blames_a_line(run.ticket, refused.fault)):
            raise
        await _make_smaller(run, refused.fault)
        return None


def _is_too_large(ticket: Ticket, fault: Fault) -> bool:
    """Say whether a smaller batch may be taken: a server that refuses a small one refuses all."""
    return fault.kind is Kind.TOO_LARGE and ticket.bytes > _SMALL


def _blames_a_line(ticket: Ticket, fault: Fault) -> bool:
    """Say whether one line spoils a file that is checked as a whole before a batch is made of it."""
    return fault.kind is Kind.BAD_REQUEST and 1 <= (line_in(fault.message) or 0) <= ticket.requests


async def _make_smaller(run: TicketRun, fault: Fault, *, full: bool = False) -> None:
    """Give all records back, for smaller batches, or for one without the line to blame."""
    error = BatchError(fault.code or "", fault.message, line_in(fault.message) if not full else None)
    run.not_run = NotRun(Status("refused", ended=True, failed=True, errors=(error,)), full=full, fault=fault)
    await give_back_all(run)


async def create(run: TicketRun, *, unsure: int = 0) -> None:
    """Ask for the batch, once: whatever is not a clear answer is looked up. Raises Left, LlmbatchError.

    `unsure` is how many creations before it may have made a batch that nobody finds.
    """
    context, api = run.context, run.client.api
    await _wait_for_room(run)
    if context.stopping.is_set():
        raise Left
    if run.is_of_another_key:
        await run.record(Step.DRAWN, file=None)  # this one does not see the file
        return
    now = context.clock.wall()
    unsure += run.ticket.unsure
    # In this order: marks without this step would leave its records in doubt after a crash.
    first = run.ticket.first_asked_at or now
    await run.record(Step.ASKED, nth=run.ticket.nth + 1, asked_at=now, first_asked_at=first, unsure=unsure)
    await run.in_thread(context.mark_asked, run.ticket, sent=True)
    if context.stopping.is_set():
        await _back_to_the_file(run)  # nothing has left
        raise Left
    reply = await run.calls.finish(api.create(run.ticket, str(context.store.files(run.ticket).input)))
    if isinstance(reply, Fault):
        if reply.billing is Billing.UNBILLED:
            await _refused(run, reply)
        else:
            run.lost_answer = reply.message
            run.calls.trouble = f"the answer to a creation was lost: {reply.message}"
        return
    created = api.created(reply)
    if isinstance(created, Fault):
        await _refused(run, created)
    elif created is not None:
        run.status = created.status
        run.calls.worked()
        await run.record(Step.RUNNING, batch=created.batch, created_at=created.created_at or context.clock.wall())
    else:
        run.lost_answer = words_of(reply)
        run.calls.trouble = f"a creation was answered with HTTP {reply.status}"
        if parsed(reply):
            why = f"the answer to a creation names no batch: {run.lost_answer}"
            await run.record(Step.ASKED, answered=True, reason=why)


async def _back_to_the_file(run: TicketRun, reason: str | None = None) -> None:
    """Note that the last creation made no batch."""
    if not run.ticket.unsure:
        await run.in_thread(run.context.mark_asked, run.ticket, sent=False)
    await run.record(Step.UPLOADED, reason=reason)


async def _refused(run: TicketRun, fault: Fault) -> None:
    """Go on after a clear no: wait where waiting helps, upload a file that is gone, make a batch smaller."""
    pace, calls = run.client.pace, run.calls
    await _back_to_the_file(run, fault.message[:300])
    if _blames_a_line(run.ticket, fault):
        await _make_smaller(run, fault)
        return
    if fault.kind in (Kind.NOT_FOUND, Kind.BAD_REQUEST) and run.ticket.file and "file" in fault.message.lower():
        if run.context.clock.wall() - run.ticket.uploaded_at < _FILE_APPEARS:
            run.file_refusals += 1
            await calls.sleep(min(30.0, min(3.0, pace.first) * 1.5 ** min(run.file_refusals - 1, 12)))
            return
        if not run.uploaded_again:
            run.uploaded_again = True
            await run.record(Step.DRAWN, file=None)  # it expired meanwhile
            return
    throttled = fault.billing is Billing.THROTTLED
    full = is_full((BatchError(fault.code or "", fault.message),))
    if full or _is_too_large(run.ticket, fault) or (throttled and calls.refusals >= _SMALLER_AFTER):
        await _make_smaller(run, fault, full=fault.kind is not Kind.TOO_LARGE)
        return
    if throttled and not run.context.waits:
        raise Left
    # A provider that has enough batches may have so for hours.
    await calls.wait_out(fault, "a batch", base=pace.queue_first if throttled else None, outage=not throttled)


async def give_back_all(run: TicketRun) -> None:
    """Give back all records of a batch of which nothing ran."""
    await run.in_thread(run.context.mark_asked, run.ticket, sent=False)
    await run.context.settle(run)
    await run.record(Step.VOID)


async def look_up(run: TicketRun) -> None:
    """Find out whether there is a batch after all. Raises Left, LlmbatchError."""
    context, ticket, asked_at = run.context, run.ticket, run.ticket.asked_at
    empty: list[float] = []
    while True:
        by_hand = _by_hand(ticket)
        seen = await run.calls.until_answered(lambda: _look(run), "the list of batches", way=by_hand)
        now = _now(run)
        asked_at = min(asked_at, now)  # our clock went back since
        runs = any(one.ours is None and not one.ended for one in seen)
        if not runs:
            empty.append(now)
        after = decide(
            run.client.api.proof,
            Found(asked_at, empty, seen),
            hold=context.hold,
            lag=run.client.pace.lag,
            now=now,
        )
        if after.verdict is not Verdict.ADOPT and not runs:
            check_account(run)
        if after.verdict is not Verdict.LOOK:
            break
        if not context.waits and (runs or after.at - now > _LONGEST_LOOK):
            raise Left
        await run.calls.sleep(after.at - now)
    match after.verdict:
        case Verdict.ADOPT if after.batch is not None:
            if after.more:
                run.say(f"batch {', '.join(after.more)} is of the same file as {after.batch.batch}")
            created_at = after.batch.created_at or now
            await run.record(Step.RUNNING, batch=after.batch.batch, created_at=created_at, more=after.more)
        case Verdict.CREATE | Verdict.CREATE_UNSURE if ticket.answered:
            raise ActionNeeded(
                f"{run.client.provider} has made {run.records}, and cannot be understood: {ticket.reason}",
                _by_hand(ticket),
            )
        case Verdict.CREATE:
            run.lost_creates += 1
            await _back_to_the_file(run)
            if run.lost_creates >= _LOST_CREATES:
                raise _no_batch(run, "none was made")
            run.say(f"{run.records} was not created; it is asked for again")
        case Verdict.CREATE_UNSURE if ticket.unsure < _UNSURE_CREATES:
            run.say(f"nobody can tell whether {run.records} was created; another is made")
            await create(run, unsure=1)
        case Verdict.CREATE_UNSURE:
            raise _no_batch(run, "nobody can tell whether that made one")
        case _:
            run.undecided = True
            raise Left


def _no_batch(run: TicketRun, what: str) -> CeilingReached:
    ticket, provider = run.ticket, run.client.provider
    times = run.lost_creates or ticket.unsure + 1
    last = f" (the last: {run.lost_answer})" if run.lost_answer else ""
    way = "Run the same command again later." if run.lost_creates else _by_hand(ticket)
    return CeilingReached(
        f"{provider} was asked {times} times for {run.records}, each answer was lost{last}, and {what}",
        way,
        by="outage",
    )


def _by_hand(ticket: Ticket) -> str:
    return (
        f"Look there: `llmbatch batches FILE --adopt {ticket.tag}=BATCH` names the batch, "
        f"`--give-up {ticket.tag}` says that there is none."
    )


def _now(run: TicketRun) -> float:
    """Return the time by our clock as it was at the upload: if it jumped ahead since, the provider's tells."""
    now, told = run.context.clock.wall(), run.calls.skew
    return now if told is None else min(now, now + told - run.ticket.skew)


async def _look(run: TicketRun) -> list[Sighting]:
    """Look once for the batch of a ticket among those of nobody else, by the provider's clock.

    If the two clocks differ otherwise than at the upload, nobody knows which of them jumped, or when: either difference
    may have been that of the request, so both are tried.
    """
    ticket, skew = run.ticket, run.ticket.skew
    seen: dict[str, Sighting] = {}
    for _ in range(2):
        asked = since(ticket.first_asked_at or ticket.asked_at, skew)
        seen |= {one.batch: one for one in await run.calls.talk(run.client.api.look(ticket, asked))}
        told = run.calls.skew
        if told is None or abs(told - skew) < _OTHER_CLOCK:
            break
        skew = told
    others = run.context.batches_of_others(ticket.tag)
    return [one for one in seen.values() if one.batch not in others]


async def _wait_for_room(run: TicketRun) -> None:
    """Wait until the queue of the model has room for the tokens of a ticket."""
    while (wait := run.context.wait_for_room(run.ticket)) > 0:
        if not run.context.waits:
            raise Left
        run.waits_for_room = True
        await run.calls.sleep(wait)
    run.waits_for_room = False
