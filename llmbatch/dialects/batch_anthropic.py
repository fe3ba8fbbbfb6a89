"""Batches of Anthropic: all requests travel in the call that makes the batch, and no list tells whose a batch is. Pure.

Only the rows do, by our ids in them, once a batch has ended. So a batch whose creation was cut off is looked for among
those of the same time and size, and known by its first row.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from llmbatch.codec import json
from llmbatch.core.errand import Errand, FilePart, Talk
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Fault
from llmbatch.core.job import Route
from llmbatch.core.ticket import Proof, Row, Sighting, Status, Ticket
from llmbatch.dialects.anthropic import STATUSES
from llmbatch.dialects.batch_api import (
    MB,
    BatchLimits,
    Created,
    Frame,
    Uploaded,
    count,
    fault_of,
    parsed,
    refused_create,
    text,
    wall,
)

__all__ = ["AnthropicBatches"]

_PATH = "/messages/batches"
_SKEW = 600.0
"""Seconds by which clocks may differ, after all that is known of it."""
_LATE = 900.0
"""Seconds after its last byte has arrived within which a batch was made, if it was."""
_SLOWEST = 20_000.0
"""Bytes a second of the slowest line that a large body may have taken."""
_FIRST_ROWS = (1 << 16, 1 << 24)
"""Bytes of an output in which the id of a row is looked for, in turn."""
_ROW_ID = re.compile(rb'"custom_id"\s*:\s*"([^"\\]*)"')
_PAGES = 50


class AnthropicBatches:
    """The Message Batches API."""

    limits = BatchLimits(records=100_000, bytes=256 * MB, kept=29 * 86400.0, discount=0.5, one_model=False)
    proof = Proof.LATE
    frame = Frame(b'{"requests":[\n', b",\n", b"\n]}")

    def refuses(self, route: Route) -> str | None:
        """Return why records of a route cannot go into a batch here."""
        return None if route.dialect == "messages" else f"batches here serve /messages, not {route.path}"

    def line(self, body: bytes, path: str, custom_id: str) -> bytes:
        """Return the line of a record."""
        return b'{"custom_id":"%b","params":%b}' % (custom_id.encode(), body)

    def body(self, line: bytes, model: str) -> dict[str, Any]:
        """Return the body of a line again."""
        body: dict[str, Any] = json.loads(line.rstrip().removesuffix(b","))["params"]
        return body

    def upload(self, ticket: Ticket, path: str) -> Talk[Uploaded | Fault]:
        """Upload nothing: the lines travel in the create call."""
        return Uploaded(None)
        yield

    def create(self, ticket: Ticket, path: str) -> Errand:
        """Return the one call that makes the batch, with all of its lines."""
        headers = {"idempotency-key": f"llmbatch-{ticket.tag}"}  # not documented, and not relied on
        return Errand(method="POST", address=_PATH, headers=headers, body=FilePart(path))

    def created(self, reply: Reply) -> Created | Fault | None:
        """Read the answer to it."""
        batch = parsed(reply)
        if id := text(batch, "id"):
            return Created(id, wall(batch.get("created_at")), _status(batch))
        return refused_create(reply)

    def look(self, ticket: Ticket, since: float) -> Talk[list[Sighting] | Fault]:
        """Look for batches of the right time and size; one that has ended tells by its first row whose it is."""
        after, seen = "", list[Sighting]()
        latest = since + _SKEW + ticket.asked_at - (ticket.first_asked_at or ticket.asked_at)
        latest += _SKEW + _LATE + ticket.bytes / _SLOWEST
        for _ in range(_PAGES):
            reply = yield Errand(method="GET", address=f"{_PATH}?limit=100{after}")
            body = parsed(reply)
            batches = body.get("data")
            if not isinstance(batches, list):
                return fault_of(reply, "the list of batches")
            for batch in batches:
                if not isinstance(batch, dict) or (id := text(batch, "id")) is None:
                    continue
                created, status = wall(batch.get("created_at")), _status(batch)
                if status.total != ticket.requests or not since <= created <= latest:
                    continue
                ours: bool | None = None
                for size in _FIRST_ROWS if status.ended else ():
                    rows = yield Errand(method="GET", address=status.outputs[0], only=size)
                    id_of_row = _ROW_ID.search(rows.body) if 200 <= rows.status < 300 else None
                    if id_of_row is not None:  # a row that is cut off before its id tells nothing
                        ours = id_of_row[1].startswith(ticket.tag.encode())
                        break
                seen.append(Sighting(id, created, ours, status.ended))
            oldest = batches[-1] if batches else {}
            if not body.get("has_more") or wall(oldest.get("created_at")) < since:
                break
            after = f"&after_id={quote(str(oldest.get('id')), safe='')}"
        return [one for one in seen if one.ours is not False]

    def poll(self, ticket: Ticket) -> Errand:
        """Ask how the batch is."""
        return Errand(method="GET", address=f"{_PATH}/{quote(ticket.batch or '', safe='')}")

    def status(self, reply: Reply) -> Status | Fault:
        """Read the answer to that."""
        batch = parsed(reply)
        return _status(batch) if text(batch, "id") else fault_of(reply, "the batch")

    def output(self, ticket: Ticket, name: str) -> Errand:
        """Fetch the rows."""
        return Errand(method="GET", address=name)

    def row(self, line: bytes) -> Row | None:
        """Read one line of the rows."""
        fields = json.loads_shallow(line)
        result = fields.get("result") if isinstance(fields, dict) else None
        if not isinstance(result, dict):
            return None
        id, kind = fields.get("custom_id"), result.get("type")
        if kind == "succeeded":
            return Row(id, Reply(200, {}, json.dumps(result.get("message"))))
        if kind in ("canceled", "cancelled", "expired"):
            return Row(id, given_back=True)
        body = result.get("error")
        body = body if isinstance(body, dict) else {"error": {"message": str(body)}}
        error = body.get("error")
        kind = error.get("type") if isinstance(error, dict) else None
        headers = {"request-id": str(body["request_id"])} if body.get("request_id") else {}
        return Row(id, Reply(STATUSES.get(str(kind), 500), headers, json.dumps(body)))

    def cancel(self, ticket: Ticket) -> Errand:
        """Ask the provider to cancel the batch."""
        return Errand(method="POST", address=f"{_PATH}/{quote(ticket.batch or '', safe='')}/cancel")

    def tidy(self, ticket: Ticket) -> Errand | None:
        """Remove nothing: no file was uploaded."""
        return None


def _status(batch: Mapping[str, Any]) -> Status:
    word = str(batch.get("processing_status") or "")
    counts = batch.get("request_counts")
    numbers = [n for n in map(count, counts.values()) if n is not None] if isinstance(counts, dict) else []
    ended = word == "ended"
    # While it runs, all of its requests count as processing.
    done = [count(counts.get(name)) for name in ("succeeded", "errored")] if ended and isinstance(counts, dict) else []
    # Not its `results_url`: behind a gateway that names the provider's own host, which must not get the gateway's key.
    rows = f"{_PATH}/{quote(str(batch.get('id')), safe='')}/results"
    return Status(
        word,
        ended=ended,
        total=sum(numbers) or None,
        completed=sum(n or 0 for n in done) if done else None,
        outputs=(rows,) if ended else (),
    )
