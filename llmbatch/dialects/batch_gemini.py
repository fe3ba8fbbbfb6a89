"""Batches of Gemini: a file, a batch of it with a name of ours, a file with rows. Pure.

Files go to and come from paths beside the API's base, on the same host.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from llmbatch.codec import json
from llmbatch.core.errand import Errand, FilePart, Talk
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Fault
from llmbatch.core.job import Route
from llmbatch.core.ticket import BatchError, Proof, Row, Sighting, Status, Ticket
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

__all__ = ["GeminiBatches"]

_LIVE, _BATCH = ":generateContent", ":batchGenerateContent"
_ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED"})
_PAGES = 50
_HTTP = {1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 13: 500, 14: 503, 16: 401}
"""The HTTP status of each code of google.rpc."""


class GeminiBatches:
    """The batch mode of the Gemini API, with files."""

    limits = BatchLimits(records=50_000, bytes=2000 * MB, windows=(), kept=2 * 86400.0, discount=0.5)
    proof = Proof.LISTED
    frame = Frame()

    def refuses(self, route: Route) -> str | None:
        """Return why records of a route cannot go into a batch here."""
        return None if route.path.endswith(_LIVE) else f"batches here serve generateContent, not {route.path}"

    def line(self, body: bytes, path: str, custom_id: str) -> bytes:
        """Return the line of a record."""
        return b'{"key":"%b","request":%b}\n' % (custom_id.encode(), body)

    def body(self, line: bytes, model: str) -> dict[str, Any]:
        """Return the body of a line again."""
        body: dict[str, Any] = json.loads(line)["request"]
        return body

    def upload(self, ticket: Ticket, path: str) -> Talk[Uploaded | Fault]:
        """Upload the file: one call asks where, one brings it."""
        headers = {
            "x-goog-upload-protocol": "resumable",
            "x-goog-upload-command": "start",
            "x-goog-upload-header-content-length": str(ticket.bytes),
            "x-goog-upload-header-content-type": "application/jsonl",
        }
        named = json.dumps({"file": {"displayName": _name(ticket), "mimeType": "application/jsonl"}})
        reply = yield Errand(method="POST", address="//upload/v1beta/files", headers=headers, body=named)
        where = reply.headers.get("x-goog-upload-url")
        if not 200 <= reply.status < 300 or not where:
            return fault_of(reply, "the address of the upload")
        headers = {"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"}
        headers["content-type"] = "application/jsonl"
        reply = yield Errand(method="POST", address=where, headers=headers, body=FilePart(path))
        file = parsed(reply).get("file")
        name = text(file, "name") if isinstance(file, dict) else None
        return Uploaded(name) if name is not None else fault_of(reply, "the name of the file")

    def create(self, ticket: Ticket, path: str) -> Errand:
        """Return the one call that makes the batch."""
        batch = {"displayName": _name(ticket), "inputConfig": {"fileName": ticket.file}}
        address = ticket.path.removesuffix(_LIVE) + _BATCH
        return Errand(method="POST", address=address, body=json.dumps({"batch": batch}))

    def created(self, reply: Reply) -> Created | Fault | None:
        """Read the answer to it."""
        operation = parsed(reply)
        if name := text(operation, "name"):
            return Created(name, wall(_metadata(operation).get("createTime")), _status(operation))
        return refused_create(reply)

    def look(self, ticket: Ticket, since: float) -> Talk[list[Sighting] | Fault]:
        """Look for the batch of our name."""
        token, seen = "", list[Sighting]()
        for _ in range(_PAGES):
            reply = yield Errand(method="GET", address=f"/batches?pageSize=100{token}")
            if not 200 <= reply.status < 300:
                return fault_of(reply, "the list of batches")
            body = parsed(reply)
            listed = body.get("operations") or body.get("batches") or []
            for operation in listed if isinstance(listed, list) else []:
                metadata = _metadata(operation) if isinstance(operation, dict) else {}
                if metadata.get("displayName") == _name(ticket) and (name := text(operation, "name")):
                    ended = _status(operation).ended
                    seen.append(Sighting(name, wall(metadata.get("createTime")), True, ended))
            following = text(body, "nextPageToken")
            if following is None:
                break
            token = f"&pageToken={quote(following, safe='')}"
        return seen

    def poll(self, ticket: Ticket) -> Errand:
        """Ask how the batch is."""
        return Errand(method="GET", address=_address(ticket.batch))

    def status(self, reply: Reply) -> Status | Fault:
        """Read the answer to that."""
        operation = parsed(reply)
        return _status(operation) if text(operation, "name") else fault_of(reply, "the batch")

    def output(self, ticket: Ticket, name: str) -> Errand:
        """Fetch the file of rows."""
        return Errand(method="GET", address=f"//download/v1beta{_address(name)}:download?alt=media")

    def row(self, line: bytes) -> Row | None:
        """Read one line of an output."""
        fields = json.loads_shallow(line)
        if not isinstance(fields, dict):
            return None
        metadata = fields.get("metadata")
        id = fields.get("key", metadata.get("key") if isinstance(metadata, dict) else None)
        if fields.get("response") is not None:
            return Row(id, Reply(200, {}, json.dumps(fields["response"])))
        error = fields.get("error")
        if not isinstance(error, dict):
            return None
        code = count(error.get("code")) or 13
        if code == 1:
            return Row(id, given_back=True)
        return Row(id, Reply(_HTTP.get(code, code if 400 <= code < 600 else 500), {}, json.dumps({"error": error})))

    def cancel(self, ticket: Ticket) -> Errand:
        """Ask the provider to cancel the batch."""
        return Errand(method="POST", address=f"{_address(ticket.batch)}:cancel", body=b"{}")

    def tidy(self, ticket: Ticket) -> Errand | None:
        """Remove the uploaded file."""
        return Errand(method="DELETE", address=_address(ticket.file)) if ticket.file else None


def _name(ticket: Ticket) -> str:
    return f"llmbatch-{ticket.tag}"


def _address(name: str | None) -> str:
    return "/" + quote(name or "", safe="/")


def _metadata(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = operation.get("metadata")
    return metadata if isinstance(metadata, dict) else operation


def _status(operation: Mapping[str, Any]) -> Status:
    metadata = _metadata(operation)
    word = str(metadata.get("state") or "").removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
    stats = metadata.get("batchStats")
    stats = stats if isinstance(stats, dict) else {}
    total, waiting = count(stats.get("requestCount")), count(stats.get("pendingRequestCount"))
    done = [n for name in ("successfulRequestCount", "failedRequestCount") if (n := count(stats.get(name))) is not None]
    outputs = tuple(
        file
        for place in (metadata.get("output"), operation.get("response"), metadata.get("dest"))
        if isinstance(place, dict) and (file := text(place, "responsesFile") or text(place, "fileName"))
    )[:1]
    error = operation.get("error")
    errors = (
        (BatchError(str(error.get("code") or ""), str(error.get("message") or "")),) if isinstance(error, dict) else ()
    )
    ended = word in _ENDED or operation.get("done") is True
    # One that expires has no rows at all, and nothing of it is charged.
    nothing = ended and not outputs and (word in ("FAILED", "EXPIRED") or bool(errors))
    answered = sum(done) if done else None if total is None or waiting is None else total - waiting
    return Status(word.lower(), ended, nothing, total, answered, outputs, errors)
