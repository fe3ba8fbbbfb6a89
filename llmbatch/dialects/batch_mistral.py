"""Batches of Mistral: files and rows as OpenAI's, jobs in words of its own. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from llmbatch.codec import json
from llmbatch.core.errand import Errand, Talk
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Fault
from llmbatch.core.ticket import BatchError, Sighting, Status, Ticket
from llmbatch.dialects.batch_api import BatchLimits, Created, count, fault_of, parsed, refused_create, text, wall
from llmbatch.dialects.batch_openai import OpenAIBatches, Quirks

__all__ = ["MistralBatches"]

_JOBS = "/batch/jobs"
_ENDED = frozenset({"SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED"})
_PAGES = 50
_LATEST = 2.0**37
"""The last second, some thousand years ahead, that is asked for where clocks are far off."""


class MistralBatches(OpenAIBatches):
    """The batch jobs of Mistral. The model stands in the job and not in its lines."""

    def __init__(self) -> None:
        limits = BatchLimits(records=500_000, windows=(), kept=None, discount=0.5)
        super().__init__(Quirks(limits=limits, paths=frozenset({"/chat/completions", "/embeddings"})))

    def line(self, body: bytes, path: str, custom_id: str) -> bytes:
        """Return the line of a record."""
        fields = {name: value for name, value in json.loads(body).items() if name != "model"}
        return json.dumps({"custom_id": custom_id, "body": fields}) + b"\n"

    def body(self, line: bytes, model: str) -> dict[str, Any]:
        """Return the body of a line again, with its model."""
        return {"model": model, **json.loads(line)["body"]}

    def create(self, ticket: Ticket, path: str) -> Errand:
        """Return the one call that makes the batch."""
        asked = {
            "endpoint": "/v1" + ticket.path,
            "model": ticket.model,
            "input_files": [ticket.file],
            "metadata": {"llmbatch": ticket.tag},
            "timeout_hours": max(1, round(ticket.window / 3600)),
        }
        return Errand(method="POST", address=_JOBS, body=json.dumps(asked))

    def created(self, reply: Reply) -> Created | Fault | None:
        """Read the answer to it."""
        job = parsed(reply)
        if id := text(job, "id"):
            return Created(id, wall(job.get("created_at")), _status(job))
        return refused_create(reply)

    def look(self, ticket: Ticket, since: float) -> Talk[list[Sighting] | Fault]:
        """Look for the job among those created since then."""
        time = datetime.fromtimestamp(min(max(0.0, since), _LATEST), UTC)
        after, seen = quote(time.isoformat(), safe=""), list[Sighting]()
        for page in range(_PAGES):
            reply = yield Errand(method="GET", address=f"{_JOBS}?page={page}&page_size=100&created_after={after}")
            jobs = parsed(reply).get("data")
            if not isinstance(jobs, list):
                if 200 <= reply.status < 300 and parsed(reply).get("total") == 0:
                    break
                return fault_of(reply, "the list of batches")
            for job in jobs:
                if isinstance(job, dict) and (id := text(job, "id")) and _is_ours(job, ticket):
                    seen.append(Sighting(id, wall(job.get("created_at")), True, _status(job).ended))
            if len(jobs) < 100:
                break
        return seen

    def poll(self, ticket: Ticket) -> Errand:
        """Ask how the job is."""
        return Errand(method="GET", address=f"{_JOBS}/{quote(ticket.batch or '', safe='')}")

    def status(self, reply: Reply) -> Status | Fault:
        """Read the answer to that."""
        job = parsed(reply)
        return _status(job) if text(job, "id") else fault_of(reply, "the batch")

    def cancel(self, ticket: Ticket) -> Errand:
        """Ask the provider to cancel the job."""
        return Errand(method="POST", address=f"{_JOBS}/{quote(ticket.batch or '', safe='')}/cancel")


def _is_ours(job: Mapping[str, Any], ticket: Ticket) -> bool:
    metadata, files = job.get("metadata"), job.get("input_files")
    tagged = isinstance(metadata, dict) and metadata.get("llmbatch") == ticket.tag
    return tagged or (ticket.file is not None and isinstance(files, list) and ticket.file in files)


def _status(job: Mapping[str, Any]) -> Status:
    word = str(job.get("status") or "")
    outputs = tuple(file for name in ("output_file", "error_file") if (file := text(job, name)))
    done = count(job.get("completed_requests"))
    errors = job.get("errors")
    return Status(
        word.lower(),
        ended=word in _ENDED,
        failed=word == "FAILED" and not outputs and not done,
        total=count(job.get("total_requests")),
        completed=done,
        outputs=outputs,
        errors=tuple(
            BatchError("", str(error.get("message") or ""))
            for error in (errors if isinstance(errors, list) else ())
            if isinstance(error, dict)
        ),
    )
