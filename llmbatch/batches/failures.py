"""What the failure of a whole batch means: a full queue, a fault that no record is to blame for. Pure."""

import re
from collections.abc import Sequence

from llmbatch.core.errors import ActionNeeded
from llmbatch.core.plural import counted
from llmbatch.core.ticket import BatchError, Ticket

__all__ = ["hopeless", "is_full", "limit_in", "line_in", "undecided"]

_NOT_THE_RECORDS = ("model_not_found", "invalid_url", "billing_hard_limit_reached", "insufficient_quota")
_LINE = re.compile(r"\bline:?\s{0,2}(\d{1,9})\b|\brequests(?:\.|\[)(\d{1,9})\b", re.IGNORECASE)
_LIMIT = re.compile(r"limit:?\s*(?:of\s*)?(\d[\d,]{2,15})", re.IGNORECASE)


def hopeless(errors: Sequence[BatchError], ticket: Ticket) -> ActionNeeded | None:
    """Return why a person must act: the fault would meet every batch of the model. None for any other."""
    error = next((error for error in errors if error.code in _NOT_THE_RECORDS), None)
    if error is None:
        return None
    return ActionNeeded(
        f"the provider made no batch for model {ticket.model!r} ({error.code}): {error.message}",
        "Correct that, then run the same command again.",
    )


def is_full(errors: Sequence[BatchError]) -> bool:
    """Say whether the queue of the model had no room for the tokens of a batch."""
    return any(error.code == "token_limit_exceeded" or "enqueued token" in error.message for error in errors)


def line_in(message: str) -> int | None:
    """Find which line (from 1) a refusal blames: `(line 3)`, or `requests.2.params`, which count from 0."""
    found = _LINE.search(message)
    if found is None:
        return None
    return int(found[1]) if found[1] is not None else int(found[2]) + 1


def limit_in(message: str) -> int | None:
    """Find the limit in a refusal: `Limit: 2,000,000 enqueued tokens`."""
    found = _LIMIT.search(message)
    return int(found[1].replace(",", "")) if found is not None else None


def undecided(ticket: Ticket, provider: str) -> str:
    """Say that nobody can tell whether there is a batch, and what a person can do."""
    return (
        f"nobody can tell whether a batch of {counted(ticket.count, 'record')} was created at {provider}: they are "
        "held; --in-doubt retry makes another, "
        f"`llmbatch batches FILE --adopt {ticket.tag}=BATCH` names the one that is there, --give-up {ticket.tag} says "
        "that there is none"
    )
