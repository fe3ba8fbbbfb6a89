"""Batches of OpenAI, and of the many who copied them: a file, a batch of it, two files with rows. Pure.

Copies differ in the case of words, in the form of times, in which fields there are. So all is read leniently, and what
differs in what must be sent stands in `Quirks`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from llmbatch.codec import json
from llmbatch.core.errand import Errand, FilePart, Talk
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Fault, Kind
from llmbatch.core.job import Route
from llmbatch.core.ticket import BatchError, Proof, Row, Sighting, Status, Ticket
from llmbatch.dialects.batch_api import (
    BatchLimits,
    Created,
    Frame,
    Uploaded,
    count,
    date_of,
    fault_of,
    parsed,
    refused_create,
    text,
    wall,
)

__all__ = ["OpenAIBatches", "Quirks", "file_form", "row"]

DAY = 86400.0
_ENDED = frozenset({"completed", "expired", "cancelled", "canceled", "failed", "complete", "timeout_exceeded"})
_GIVEN_BACK = frozenset({"batch_expired", "batch_cancelled", "batch_canceled"})
_PAGES = 50
"""Pages of the list that are read at most."""
_CHECKS, _LONGEST_DELAY = 60, 15.0
"""Times that an uploaded file is looked at until it may be used, and the longest pause before a look, in seconds."""


class Quirks(NamedTuple):
    """How a provider differs from OpenAI in what is sent."""

    limits: BatchLimits = BatchLimits(discount=0.5)
    paths: frozenset[str] = frozenset({"/chat/completions", "/completions", "/responses", "/embeddings"})
    prefix: str = "/v1"
    """Before the path, in lines and in the create call."""
    upload: str = "/files"
    purpose: str = "batch"
    named: bool = False
    """Whether the form of an upload has the file's name as a field of its own."""
    expires: bool = False
    """Whether an upload may be told when to expire."""
    metadata: bool = True
    processed: bool = False
    """Whether a file may be used only once it is `processed`."""


class OpenAIBatches:
    """The batch API of OpenAI's shape."""

    proof = Proof.LISTED
    frame = Frame()

    def __init__(self, quirks: Quirks = Quirks()) -> None:  # noqa: B008  # it is immutable
        self._quirks = quirks
        self.limits = quirks.limits

    def refuses(self, route: Route) -> str | None:
        """Return why records of a route cannot go into a batch here."""
        paths = self._quirks.paths
        return None if route.path in paths else f"batches here serve {', '.join(sorted(paths))}, not {route.path}"

    def line(self, body: bytes, path: str, custom_id: str) -> bytes:
        """Return the line of a record."""
        url = (self._quirks.prefix + path).encode()
        return b'{"custom_id":"%b","method":"POST","url":"%b","body":%b}\n' % (custom_id.encode(), url, body)

    def body(self, line: bytes, model: str) -> dict[str, Any]:
        """Return the body of a line again."""
        body = json.loads(line)["body"]
        if not isinstance(body, dict):
            raise TypeError("no body")
        return body

    def upload(self, ticket: Ticket, path: str) -> Talk[Uploaded | Fault]:
        """Upload the file, and wait until it may be used."""
        quirks, name = self._quirks, f"llmbatch-{ticket.tag}.jsonl"
        fields = {"purpose": quirks.purpose}
        if quirks.named:
            fields["file_name"] = name
        if quirks.expires:
            fields |= {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(30 * 86400)}
        headers, body = file_form(fields, name, path, ticket.tag)
        reply = yield Errand(method="POST", address=quirks.upload, headers=headers, body=body)
        file = text(parsed(reply), "id")
        if file is None:
            return fault_of(reply, "the id of the file")
        date = date_of(reply.headers)
        for number in range(_CHECKS if quirks.processed else 0):
            state = text(parsed(reply), "status")
            if state in ("error", "failed"):
                return fault_of(Reply(400, {}, reply.body), "a file")
            if 200 <= reply.status < 300 and state in ("processed", "uploaded", None):
                break
            delay = min(_LONGEST_DELAY, 1.5**number)
            reply = yield Errand(method="GET", address=f"/files/{quote(file, safe='')}", patience=30.0, delay=delay)
        else:
            if quirks.processed:
                return Fault(kind=Kind.TIMEOUT, message="the uploaded file is not processed", retry=True)
        return Uploaded(file, date)

    def create(self, ticket: Ticket, path: str) -> Errand:
        """Return the one call that makes the batch."""
        asked: dict[str, Any] = {
            "input_file_id": ticket.file,
            "endpoint": self._quirks.prefix + ticket.path,
            "completion_window": _window(ticket.window),
        }
        if self._quirks.metadata:
            asked["metadata"] = {"llmbatch": ticket.tag}
        return Errand(method="POST", address="/batches", body=json.dumps(asked))

    def created(self, reply: Reply) -> Created | Fault | None:
        """Read the answer to it."""
        batch = _batch(reply)
        if id := text(batch, "id"):
            return Created(id, wall(batch.get("created_at")), _status(batch))
        return refused_create(reply)

    def look(self, ticket: Ticket, since: float) -> Talk[list[Sighting] | Fault]:
        """Look for the batch in the list, newest first."""
        after, seen = "", list[Sighting]()
        for _ in range(_PAGES):
            reply = yield Errand(method="GET", address=f"/batches?limit=100{after}")
            batches = _listed(reply)
            if batches is None:
                return fault_of(reply, "the list of batches")
            for batch in batches:
                id = text(batch, "id")
                if id is not None and self._is_ours(batch, ticket):
                    status = _status(batch)
                    seen.append(Sighting(id, wall(batch.get("created_at")), True, status.ended))
            last = batches[-1] if batches else {}
            oldest = wall(last.get("created_at"))
            if not parsed(reply).get("has_more") or (oldest and oldest < since):
                break
            after = f"&after={quote(str(last.get('id')), safe='')}"
        return seen

    def _is_ours(self, batch: Mapping[str, Any], ticket: Ticket) -> bool:
        metadata = batch.get("metadata")
        tagged = isinstance(metadata, dict) and metadata.get("llmbatch") == ticket.tag
        return tagged or (ticket.file is not None and batch.get("input_file_id") == ticket.file)

    def poll(self, ticket: Ticket) -> Errand:
        """Ask how the batch is."""
        return Errand(method="GET", address=f"/batches/{quote(ticket.batch or '', safe='')}")

    def status(self, reply: Reply) -> Status | Fault:
        """Read the answer to that."""
        batch = _batch(reply)
        return _status(batch) if text(batch, "id") else fault_of(reply, "the batch")

    def output(self, ticket: Ticket, name: str) -> Errand:
        """Fetch a file of rows."""
        return Errand(method="GET", address=f"/files/{quote(name, safe='')}/content")

    def row(self, line: bytes) -> Row | None:
        """Read one line of an output."""
        return row(line)

    def cancel(self, ticket: Ticket) -> Errand:
        """Ask the provider to cancel the batch."""
        return Errand(method="POST", address=f"/batches/{quote(ticket.batch or '', safe='')}/cancel")

    def tidy(self, ticket: Ticket) -> Errand | None:
        """Remove the uploaded file."""
        return Errand(method="DELETE", address=f"/files/{quote(ticket.file, safe='')}") if ticket.file else None


def file_form(fields: Mapping[str, str], name: str, path: str, tag: str) -> tuple[dict[str, str], FilePart]:
    """Return the header and the body of an upload form: the fields, then the file."""
    boundary = f"llmbatch-{tag}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    before, after = "".join(parts).encode(), f"\r\n--{boundary}--\r\n".encode()
    return {"content-type": f"multipart/form-data; boundary={boundary}"}, FilePart(path, before, after)


def row(line: bytes) -> Row | None:
    """Read a row of OpenAI's shape. Raises ValueError for what is no JSON."""
    fields = json.loads_shallow(line)
    if not isinstance(fields, dict):
        return None
    id, response, error = fields.get("custom_id"), fields.get("response"), fields.get("error")
    if isinstance(response, dict) and response.get("body") is not None:
        body, status = response["body"], count(response.get("status_code"))
        if not status:
            # Some copies leave it out, and OpenAI's was 0 once: what is in the body tells.
            status = 500 if isinstance(body, dict) and body.get("error") else 200
        headers = {"x-request-id": str(response["request_id"])} if response.get("request_id") else {}
        return Row(id, Reply(status, headers, body.encode() if isinstance(body, str) else json.dumps(body)))
    if error is None and isinstance(response, dict):
        error = response.get("error")
    code = str(error.get("code") or error.get("type") or "") if isinstance(error, dict) else ""
    message = str(error.get("message") or code or error) if isinstance(error, dict) else str(error)
    fault = Fault(kind=Kind.SERVER_ERROR, message=f"the batch has no answer: {message}", code=code or None, retry=True)
    return Row(id, fault=fault, given_back=code in _GIVEN_BACK)


def _batch(reply: Reply) -> Mapping[str, Any]:
    """Return the batch in an answer, which some wrap."""
    batch = parsed(reply)
    job = batch.get("job")
    return job if isinstance(job, dict) else batch


def _listed(reply: Reply) -> list[dict[str, Any]] | None:
    if not 200 <= reply.status < 300:
        return None
    try:
        body = json.loads(reply.body)
    except ValueError:
        return None
    found = body.get("data") if isinstance(body, dict) else body
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else None


def _status(batch: Mapping[str, Any]) -> Status:
    word = str(batch.get("status") or "").lower()
    counts = batch.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    done, failed = count(counts.get("completed")), count(counts.get("failed"))
    outputs = tuple(file for name in ("output_file_id", "error_file_id") if (file := text(batch, name)))
    return Status(
        word,
        ended=word in _ENDED,
        failed=word == "failed" and not outputs and not done,
        total=count(counts.get("total")),
        completed=None if done is None else done + (failed or 0),
        outputs=outputs,
        errors=_errors(batch),
    )


def _errors(batch: Mapping[str, Any]) -> tuple[BatchError, ...]:
    errors = batch.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else errors
    if not isinstance(listed, list):
        listed = []
    if not listed and (error := batch.get("error")):
        listed = [error if isinstance(error, dict) else {"message": str(error)}]
    return tuple(
        BatchError(str(one.get("code") or ""), str(one.get("message") or ""), count(one.get("line")))
        for one in listed
        if isinstance(one, dict)
    )


def _window(seconds: float) -> str:
    return f"{round(seconds / 3600)}h" if seconds < 7 * DAY or seconds % DAY else f"{round(seconds / DAY)}d"
