"""Batches of OpenAI, and of the many who copied them: a file, a batch of it, two files with rows. Pure.

What differs among copies in what must be sent stands in `Quirks`; their answers are read in `batch_openai_answers`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from llmbatch.codec import json
from llmbatch.core.errand import Errand, FilePart, Talk
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Fault, Kind
from llmbatch.core.job import Route
from llmbatch.core.ticket import Proof, Row, Sighting, Status, Ticket
from llmbatch.dialects.batch_api import (
    BatchLimits,
    Created,
    Frame,
    Uploaded,
    date_of,
    fault_of,
    identifier,
    parsed,
    refused_create,
    text,
    wall,
)
from llmbatch.dialects.batch_openai_answers import batch_in, listed, row, status_of

__all__ = ["OpenAIBatches", "Quirks", "file_form"]

DAY = 86400.0
_PAGES, _PAGE = 50, 100
"""Pages of the list that are read at most, and how many batches are asked for in each."""
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
        file = identifier(batch_in(reply))
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
        batch = batch_in(reply)
        if id := identifier(batch):
            return Created(id, wall(batch.get("created_at")), status_of(batch))
        return refused_create(reply)

    def look(self, ticket: Ticket, since: float) -> Talk[list[Sighting] | Fault]:
        """Look for the batch in the list, newest first. A list that cannot be read to its end proves nothing."""
        after, seen, known = "", list[Sighting](), set[str]()
        for _ in range(_PAGES):
            reply = yield Errand(method="GET", address=f"/batches?limit={_PAGE}{after}")
            page = listed(reply)
            if page is None:
                return fault_of(reply, "the list of batches")
            for batch in page.batches:
                id = identifier(batch)
                if id is None or id in known:
                    continue
                created = wall(batch.get("created_at"))
                if self._tells_nothing(batch) and (not created or created >= since):
                    # Some lists leave out what the batch itself names.
                    found = batch_in((yield Errand(method="GET", address=_address(id))))
                    if self._tells_nothing(found):
                        return _blind(f"names no input file, not even of {id}")
                    batch = {**found, "id": id}
                if self._is_ours(batch, ticket):
                    seen.append(Sighting(id, wall(batch.get("created_at")), True, status_of(batch).ended))
            ids = {id for batch in page.batches if (id := identifier(batch)) is not None}
            times = [created for batch in page.batches if (created := wall(batch.get("created_at")))]
            if seen or not (len(ids) >= _PAGE if page.more is None else page.more) or (times and max(times) < since):
                return seen
            if ids <= known:
                return _blind("shows the same page again and again")
            known |= ids
            after = f"&after={quote(str(identifier(page.batches[-1])), safe='')}"
        return _blind(f"has more than {_PAGES} pages")

    def _is_ours(self, batch: Mapping[str, Any], ticket: Ticket) -> bool:
        metadata = batch.get("metadata")
        tagged = isinstance(metadata, dict) and metadata.get("llmbatch") == ticket.tag
        return tagged or (ticket.file is not None and identifier(batch, "input_file_id") == ticket.file)

    def _tells_nothing(self, batch: Mapping[str, Any]) -> bool:
        return identifier(batch, "input_file_id") is None and not isinstance(batch.get("metadata"), dict)

    def poll(self, ticket: Ticket) -> Errand:
        """Ask how the batch is."""
        return Errand(method="GET", address=_address(ticket.batch))

    def status(self, reply: Reply) -> Status | Fault:
        """Read the answer to that."""
        batch = batch_in(reply)
        return status_of(batch) if identifier(batch) else fault_of(reply, "the batch")

    def output(self, ticket: Ticket, name: str) -> Errand:
        """Fetch a file of rows."""
        return Errand(method="GET", address=f"/files/{quote(name, safe='')}/content")

    def row(self, line: bytes) -> Row | None:
        """Read one line of an output."""
        return row(line)

    def cancel(self, ticket: Ticket) -> Errand:
        """Ask the provider to cancel the batch."""
        return Errand(method="POST", address=_address(ticket.batch) + "/cancel")

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


def _window(seconds: float) -> str:
    return f"{round(seconds / 3600)}h" if seconds < 7 * DAY or seconds % DAY else f"{round(seconds / DAY)}d"


def _address(batch: str | None) -> str:
    return f"/batches/{quote(batch or '', safe='')}"


def _blind(why: str) -> Fault:
    return Fault(
        kind=Kind.UNPARSABLE, message=f"the list of batches {why}: it cannot tell which one is ours", status=200
    )
