"""Batches of xAI: files and lines as OpenAI's; a batch has a name, counts instead of a status, rows in pages. Pure."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from llmbatch.codec import json
from llmbatch.codec.json_objects import outermost_objects
from llmbatch.core.errand import Errand, Talk
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.ticket import BatchError, Row, Sighting, Status, Ticket
from llmbatch.dialects.batch_api import (
    BatchLimits,
    Created,
    Page,
    Uploaded,
    count,
    date_of,
    fault_of,
    identifier,
    parsed,
    refused_create,
    text,
    wall,
)
from llmbatch.dialects.batch_openai import OpenAIBatches, Quirks, file_form

__all__ = ["XaiBatches"]

_PAGES, _PAGE = 50, 100
_ROWS = 50
"""Rows of a page: each may be an answer of a megabyte, and a page is read in memory."""
_EXPIRY = 30 * 86400
_MODEL = re.compile(r"\bmodel\b.*\bnot\b.*\b(supported|found|exist)", re.IGNORECASE | re.DOTALL)
_RESULTS = re.compile(rb'"results"\s*:\s*\[')
_TOKEN = re.compile(rb'"pagination_token"\s*:\s*"([^"\\]*)"')
_CANCELLED = frozenset({"1", "cancelled", "canceled", "batch_cancelled"})
_STATUSES = {"3": 400, "4": 504, "5": 404, "7": 403, "8": 429, "14": 503, "16": 401}
"""The HTTP statuses of gRPC's codes, which the errors of rows have; 500 for any other."""


class XaiBatches(OpenAIBatches):
    """The batch API of xAI. The input file and the name tell which batch is ours."""

    def __init__(self) -> None:
        # Its pages name a discount of a half, and of a fifth on some models only: the price list decides.
        super().__init__(Quirks(limits=BatchLimits(windows=()), paths=frozenset({"/chat/completions"})))

    def upload(self, ticket: Ticket, path: str) -> Talk[Uploaded | Fault]:
        """Upload the file. It costs storage until it expires, and fields behind the file are not read."""
        headers, body = file_form({"expires_after": str(_EXPIRY)}, f"{_name(ticket)}.jsonl", path, ticket.tag)
        reply = yield Errand(method="POST", address="/files", headers=headers, body=body)
        file = identifier(parsed(reply))
        return fault_of(reply, "the id of the file") if file is None else Uploaded(file, date_of(reply.headers))

    def create(self, ticket: Ticket, path: str) -> Errand:
        """Return the one call that makes the batch."""
        asked = {"name": _name(ticket), "input_file_id": ticket.file}
        return Errand(method="POST", address="/batches", body=json.dumps(asked))

    def created(self, reply: Reply) -> Created | Fault | None:
        """Read the answer to it."""
        batch = parsed(reply)
        if id := text(batch, "batch_id"):
            return Created(id, _time(batch), _status(batch))
        return refused_create(reply)

    def look(self, ticket: Ticket, since: float) -> Talk[list[Sighting] | Fault]:
        """Look for the batch in the whole list: nothing says how it is ordered, and some times are only days."""
        after, seen, tokens = "", list[Sighting](), set[str]()
        for _ in range(_PAGES):
            reply = yield Errand(method="GET", address=f"/batches?limit={_PAGE}{after}")
            page = parsed(reply)
            batches = page.get("batches")
            if not isinstance(batches, list):
                return fault_of(reply, "the list of batches")
            for batch in batches:
                if isinstance(batch, dict) and (id := text(batch, "batch_id")) and _is_ours(batch, ticket):
                    seen.append(Sighting(id, _time(batch), True, _status(batch).ended))
            token = text(page, "pagination_token")
            if token is None:
                return seen
            if token in tokens:
                break
            tokens.add(token)
            after = f"&pagination_token={quote(token, safe='')}"
        return seen or Fault(
            kind=Kind.UNPARSABLE,
            message="the list of batches does not end: it cannot tell whether ours is there",
            status=200,
        )

    def status(self, reply: Reply) -> Status | Fault:
        """Read the answer to a poll."""
        batch = parsed(reply)
        return _status(batch) if text(batch, "batch_id") else fault_of(reply, "the batch")

    def output(self, ticket: Ticket, name: str) -> Errand:
        """Fetch the page of rows with this token; the first one has none."""
        after = f"&pagination_token={quote(name, safe='')}" if name else ""
        batch = quote(ticket.batch or "", safe="")
        return Errand(method="GET", address=f"/batches/{batch}/results?limit={_ROWS}{after}")

    def page(self, reply: Reply) -> Page | Fault:
        """Read a page of rows. A row that strict JSON refuses does not cost the others."""
        begin = _RESULTS.search(reply.body)
        if begin is None:
            return fault_of(reply, "a list of rows")
        rows = [row.replace(b"\n", b" ") + b"\n" for row in outermost_objects([reply.body[begin.end() :]])]
        try:
            token = text(parsed(reply) or json.loads(reply.body), "pagination_token")
        except (ValueError, AttributeError):
            found = _TOKEN.findall(reply.body)
            token = found[-1].decode() if found and found[-1] else None
        return Page(b"".join(rows), token)

    def row(self, line: bytes) -> Row | None:
        """Read one row."""
        fields = json.loads_shallow(line)
        if not isinstance(fields, dict) or "batch_request_id" not in fields:
            return None
        id, result = fields["batch_request_id"], fields.get("batch_result")
        result = result if isinstance(result, dict) else {}
        message, error = text(fields, "error_message"), result.get("error")
        code = str(error.get("code") or "") if isinstance(error, dict) else ""
        message = message or (text(error, "message") if isinstance(error, dict) else error)
        if code not in ("", "0") or message:
            if code.lower() in _CANCELLED:
                return Row(id, given_back=True)
            body = {"error": {"message": f"the batch has no answer: {message or code}", "code": code or None}}
            return Row(id, Reply(_STATUSES.get(code, 500), {}, json.dumps(body)))
        response = result.get("response")
        answers = [one for one in response.values() if isinstance(one, dict)] if isinstance(response, dict) else []
        if answers:
            return Row(id, Reply(200, {}, json.dumps(answers[0])))
        unread = "the row of the batch has no answer that can be read"
        if response:
            fault = Fault(kind=Kind.UNPARSABLE, message=unread, billing=Billing.BILLED, raw=line.rstrip())
        else:
            fault = Fault(kind=Kind.UNPARSABLE, message=unread, billing=Billing.DOUBTFUL, retry=True)
        return Row(id, fault=fault)

    def cancel(self, ticket: Ticket) -> Errand:
        """Ask the provider to cancel the batch."""
        return Errand(method="POST", address=f"/batches/{quote(ticket.batch or '', safe='')}:cancel")


def _name(ticket: Ticket) -> str:
    return f"llmbatch-{ticket.tag}"


def _is_ours(batch: Mapping[str, Any], ticket: Ticket) -> bool:
    named = text(batch, "name") == _name(ticket)
    return named or (ticket.file is not None and identifier(batch, "input_file_id") == ticket.file)


def _time(batch: Mapping[str, Any]) -> float:
    """Return when a batch was created, 0 where only the day is told."""
    value = batch.get("create_time")
    return 0.0 if isinstance(value, str) and len(value) <= 10 else wall(value)


def _status(batch: Mapping[str, Any]) -> Status:
    """Derive a status from the counts. A batch whose file was refused is cancelled by xAI and has no requests."""
    state = batch.get("state")
    state = state if isinstance(state, dict) else {}
    total, waiting, good, bad, dropped = (
        count(state.get(f"num_{name}")) for name in ("requests", "pending", "success", "error", "cancelled")
    )
    answered = (good or 0) + (bad or 0)
    why, is_cancelled = text(batch, "cancel_by_xai_message"), bool(batch.get("cancel_time"))
    failed = why is not None and not answered
    ended = failed or (waiting == 0 and (bool(total) or is_cancelled))
    if failed:
        word = "failed"
    elif why is not None or is_cancelled:
        word = "cancelled" if ended else "cancelling"
    else:
        word = "completed" if ended else "in_progress" if total else "validating"
    errors = (BatchError("model_not_found" if _MODEL.search(why) else "", why),) if why is not None else ()
    return Status(
        word,
        ended=ended,
        failed=failed,
        total=total,
        completed=answered,
        outputs=("",) if ended and not failed and (answered or dropped) else (),
        errors=errors,
    )
