"""Anthropic's message batches: all requests come in one body, and each is checked only when it runs."""

import os
import re
from datetime import UTC, datetime
from typing import Any

from llmbatch.codec import json
from llmbatch.mock.batch import Batch, Stage
from llmbatch.mock.batch_call import BadCall, Call
from llmbatch.mock.batch_family import BatchFamily, Route, WrittenRow
from llmbatch.mock.batch_provider import BatchProvider
from llmbatch.mock.batch_requests import split_requests
from llmbatch.mock.batch_rows import Answer, BadLine, Line
from llmbatch.mock.batch_store import StoredFile
from llmbatch.mock.error_formats import ANTHROPIC
from llmbatch.mock.reply import Reply

__all__ = ["ANTHROPIC_BATCHES", "ANTHROPIC_ROUTES"]

_NAME = "anthropic"
_LARGEST = 256 * 2**20
_CUSTOM_ID = re.compile("[a-zA-Z0-9_-]{1,64}")
_DAY = 86400
_STATUSES = {Stage.CANCELLING: "canceling", Stage.COMPLETED: "ended", Stage.EXPIRED: "ended", Stage.CANCELLED: "ended"}
_NEITHER = {"expired": "expired", "cancelled": "canceled"}


def line(raw: bytes, _: Batch) -> Line:
    """Read a request as the create checks it: its `params` are read when it runs."""
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise BadLine("invalid_request", f"The request body is not valid JSON: {error}") from error
    if not isinstance(value.get("params"), dict):
        raise BadLine("invalid_request", "params: Field required")
    custom_id = value.get("custom_id")
    if not isinstance(custom_id, str) or not _CUSTOM_ID.fullmatch(custom_id):
        raise BadLine("invalid_request", "custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'")
    return Line(custom_id, "/messages", value["params"])


def row(custom_id: str, answer: Answer | str) -> WrittenRow:
    """Write what became of a request."""
    if isinstance(answer, str):
        result: dict[str, Any] = {"type": _NEITHER[answer]}
    elif answer.status == 200:
        message = answer.body
        if isinstance(message, dict) and isinstance(message.get("usage"), dict):
            message["usage"]["service_tier"] = "batch"
        result = {"type": "succeeded", "message": message}
    else:
        result = {"type": "errored", "error": _error(answer)}
    return WrittenRow(0, {"custom_id": custom_id, "result": result})


def _error(answer: Answer) -> dict[str, Any]:
    if isinstance(answer.body, dict) and answer.body.get("type") == "error":
        return answer.body
    kind = "timeout_error" if answer.status is None else "api_error"
    text = "The request timed out." if answer.status is None else "Internal server error"
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": None}


def _shown(batch: Batch, now: float, call: Call) -> dict[str, Any]:
    """Return the batch object; counts stay at `processing` until all of it has ended."""
    ended, counts = batch.ended, {"processing": batch.checked.count if batch.checked else 0}
    if ended:
        counts = {"processing": 0} | ended.counts
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": _STATUSES.get(batch.stage(now), "in_progress"),
        "request_counts": {
            "processing": counts["processing"],
            "succeeded": counts.get("succeeded", 0),
            "errored": counts.get("failed", 0),
            "canceled": counts.get("cancelled", 0),
            "expired": counts.get("expired", 0),
        },
        "ended_at": _time(ended.at) if ended else None,
        "created_at": _time(batch.created),
        "expires_at": _time(batch.created + _DAY),
        "archived_at": None,
        "cancel_initiated_at": _time(batch.cancelled) if batch.cancelled is not None else None,
        "results_url": f"{call.host}/v1/messages/batches/{batch.id}/results" if ended else None,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _ok(value: Any) -> Reply:
    return Reply(200, json.dumps(value))


async def create(provider: BatchProvider, call: Call) -> Reply:
    """Make a batch of the requests in the body."""
    if not call.header(b"anthropic-version"):
        raise BadCall(400, "anthropic-version: header is required")
    store, id = provider.store, provider.store.new_id("msgbatch_")
    try:
        await provider.receive(f"{id}_body", call.chunks, _LARGEST)
        try:
            count = await split_requests(store.content(f"{id}_body"), store.content(id))
        except ValueError as error:
            raise BadCall(400, str(error)) from error
    finally:
        store.delete_file(f"{id}_body")
    size = os.stat(store.content(id)).st_size
    store.add_file(StoredFile(id, _NAME, id, "batch", size, provider.now(), count))
    headers = {"anthropic-version": call.header(b"anthropic-version")}
    try:
        batch = await provider.create(call, checked=True, id=id, family=_NAME, file=id, headers=headers)
    finally:
        store.delete_file(id)  # the batch has its own link to it
    assert batch.checked is not None
    if problem := batch.checked.problem:
        if problem.code == "token_limit_exceeded":
            raise BadCall(429, problem.message)
        at = f"requests.{problem.line - 1}." if problem.line is not None else "requests: "
        raise BadCall(413 if problem.code == "too_many_tasks" else 400, f"{at}{problem.message}")
    return _ok(_shown(batch, provider.now(), call))


def _found(provider: BatchProvider, id: str) -> Batch:
    if (batch := provider.find(id, _NAME)) is None:
        raise BadCall(404, f"No message batch was found with the id {id}.")
    return batch


async def list_batches(provider: BatchProvider, call: Call) -> Reply:
    """Return a page of batches, newest first: those after one, or those before one."""
    found, limit = provider.listed(_NAME), call.limit("limit", 20, 1000)
    ids = [batch.id for batch in found]
    after, before = call.query.get("after_id"), call.query.get("before_id")
    for name, id in (("after_id", after), ("before_id", before)):
        if id and id not in ids:
            raise BadCall(400, f"{name}: {id} is not in the list")
    if before:
        end = ids.index(before)
        start, more = max(0, end - limit), end > limit
    else:
        start = ids.index(after) + 1 if after else 0
        end, more = start + limit, len(ids) > start + limit
    page = [_shown(batch, provider.now(), call) for batch in found[start:end]]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return _ok({"data": page, "has_more": more, **ends})


async def get(provider: BatchProvider, call: Call, id: str) -> Reply:
    """Return a batch object."""
    return _ok(_shown(_found(provider, id), provider.now(), call))


async def cancel(provider: BatchProvider, call: Call, id: str) -> Reply:
    """Cancel a batch that has not ended."""
    batch = await provider.cancel(_found(provider, id))
    if batch.over:
        raise BadCall(400, f"The message batch {id} has ended.")
    return _ok(_shown(batch, provider.now(), call))


async def delete(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Remove a batch that has ended, and its results."""
    batch = _found(provider, id)
    if batch.ended is None:
        raise BadCall(400, f"The message batch {id} has not ended: cancel it first.")
    provider.store.delete_batch(id)
    for output in filter(None, batch.ended.outputs):
        provider.store.delete_file(output)
    return _ok({"id": id, "type": "message_batch_deleted"})


async def results(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Return the rows of a batch that has ended."""
    batch = _found(provider, id)
    file = batch.ended and batch.ended.outputs[0]
    if not file or (found := provider.store.file(file, _NAME, provider.now())) is None:
        raise BadCall(404, f"The message batch {id} has no results.")
    return provider.download(found, b"application/x-jsonl")


ANTHROPIC_BATCHES = BatchFamily(
    _NAME,
    line,
    row,
    lambda batch: (f"{batch.id}_results.jsonl", ""),
    most_lines=100_000,
    refuses_lines=False,
)

_BATCHES, _ID = "(/v1)?/messages/batches", "(?P<id>[^/]+)"
ANTHROPIC_ROUTES: tuple[Route, ...] = (
    Route("POST", _BATCHES, create, ANTHROPIC),
    Route("GET", _BATCHES, list_batches, ANTHROPIC),
    Route("GET", f"{_BATCHES}/{_ID}", get, ANTHROPIC),
    Route("DELETE", f"{_BATCHES}/{_ID}", delete, ANTHROPIC),
    Route("POST", f"{_BATCHES}/{_ID}/cancel", cancel, ANTHROPIC),
    Route("GET", f"{_BATCHES}/{_ID}/results", results, ANTHROPIC),
)
