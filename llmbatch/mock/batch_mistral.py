"""Mistral's batch jobs: the model stands in the job, the lines are bodies, files and rows are as OpenAI's."""

from typing import Any

from llmbatch.codec import json
from llmbatch.mock.batch import Batch, Stage
from llmbatch.mock.batch_call import BadCall, Call
from llmbatch.mock.batch_family import BatchFamily, Route
from llmbatch.mock.batch_openai import OPENAI_BATCHES, row
from llmbatch.mock.batch_provider import BatchProvider
from llmbatch.mock.batch_rows import BadLine, Line
from llmbatch.mock.provider import below_root
from llmbatch.mock.reply import Reply

__all__ = ["MISTRAL_BATCHES", "MISTRAL_ROUTES"]

_NAME = "mistral"
_ENDPOINTS = ("/chat/completions", "/embeddings")
_LONGEST = 7 * 24  # hours
_STATUSES = {
    Stage.CHECKING: "QUEUED",
    Stage.RUNNING: "RUNNING",
    Stage.FINISHING: "RUNNING",
    Stage.CANCELLING: "CANCELLATION_REQUESTED",
    Stage.FAILED: "FAILED",
    Stage.COMPLETED: "SUCCESS",
    Stage.EXPIRED: "TIMEOUT_EXCEEDED",
    Stage.CANCELLED: "CANCELLED",
}
_LISTING = (
    "page",
    "page_size",
    "model",
    "agent_id",
    "metadata",
    "created_after",
    "created_by_me",
    "status",
    "order_by",
)


def line(raw: bytes, batch: Batch) -> Line:
    """Read a line as the check does; its body gets the model of the job."""
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise BadLine("invalid_json_line", "This line is not parseable as valid JSON.") from error
    if not isinstance(value, dict) or not isinstance(value.get("body"), dict):
        raise BadLine("missing_body", "The line has no body.", "body")
    if not isinstance(value.get("custom_id"), str):
        raise BadLine("missing_custom_id", "The line has no custom_id.", "custom_id")
    if value["body"].get("stream"):
        raise BadLine("streaming_unsupported", "Streaming is not supported in batches.", "body.stream")
    return Line(value["custom_id"], batch.endpoint, value["body"] | {"model": batch.shown["model"]})


def _shown(batch: Batch, now: float) -> dict[str, Any]:
    """Return the job object."""
    ended, problem = batch.ended, batch.checked.problem if batch.checked else None
    total = batch.checked.count if batch.checked else 0
    done = failed = 0
    if ended:
        done, failed = ended.counts["succeeded"], ended.counts["failed"]
    else:
        done = batch.rows_run(now)
    began = batch.checked is not None and not problem and now >= batch.starts
    return {
        "id": batch.id,
        "object": "batch",
        "input_files": [batch.file],
        "endpoint": batch.shown["endpoint"],
        "model": batch.shown["model"],
        "agent_id": None,
        "metadata": batch.shown["metadata"],
        "output_file": ended.outputs[0] if ended else None,
        "error_file": ended.outputs[1] if ended else None,
        "outputs": None,
        "errors": [{"message": f"{problem.message} (line {problem.line})", "count": 1}] if problem else [],
        "status": _STATUSES[batch.stage(now)],
        "created_at": int(batch.created),
        "started_at": int(batch.starts) if began else None,
        "completed_at": int(ended.at) if ended else None,
        "total_requests": total,
        "completed_requests": done + failed,
        "succeeded_requests": done,
        "failed_requests": failed,
    }


def _ok(value: Any) -> Reply:
    return Reply(200, json.dumps(value))


async def create(provider: BatchProvider, call: Call) -> Reply:
    """Make a job; what is wrong with its file shows later."""
    asked = await call.body()
    files, endpoint, model = asked.get("input_files"), asked.get("endpoint"), asked.get("model")
    metadata, hours = asked.get("metadata"), asked.get("timeout_hours", 24)
    if not isinstance(endpoint, str) or below_root(endpoint) not in _ENDPOINTS:
        raise BadCall(422, f"endpoint: the mock takes {' and '.join(f'/v1{path}' for path in _ENDPOINTS)}")
    if not isinstance(model, str) or not model:
        raise BadCall(422, "model: Field required", param="model")
    if not isinstance(files, list) or len(files) != 1 or not isinstance(files[0], str):
        raise BadCall(422, "input_files: the mock takes one file", param="input_files")
    if type(hours) is not int or not 1 <= hours <= _LONGEST:
        raise BadCall(422, f"timeout_hours: an integer from 1 to {_LONGEST} was expected", param="timeout_hours")
    if metadata is not None and not isinstance(metadata, dict):
        raise BadCall(422, "metadata: Input should be an object", param="metadata")
    if model == "missing-model":
        raise BadCall(400, f"Invalid model: {model}", code="invalid_model")
    if provider.store.file(files[0], OPENAI_BATCHES.name, provider.now()) is None:
        raise BadCall(404, f"File not found: {files[0]}", code="not_found")
    batch = await provider.create(
        call,
        files_of=OPENAI_BATCHES.name,
        id=provider.store.new_id(""),
        family=_NAME,
        file=files[0],
        endpoint=below_root(endpoint),
        shown={"endpoint": endpoint, "model": model, "metadata": metadata},
    )
    return _ok(_shown(batch, provider.now()))


def _found(provider: BatchProvider, id: str) -> Batch:
    if (batch := provider.find(id, _NAME)) is None:
        raise BadCall(404, f"Batch job {id} not found", code="not_found")
    return batch


async def list_jobs(provider: BatchProvider, call: Call) -> Reply:
    """Return a page of jobs, newest first: those of a model, a status, with metadata.

    Metadata comes as JSON, or each entry as a parameter of its own, as the official client sends it.
    """
    size, page = call.limit("page_size", 100, 1000), call.query.get("page", "0")
    if not page.isdecimal():
        raise BadCall(422, "page: Input should be an integer", param="page")
    wanted = {name: value for name, value in call.query.items() if name not in _LISTING}
    try:
        wanted |= json.loads(call.query.get("metadata", "{}").encode())
    except (ValueError, TypeError) as error:
        raise BadCall(422, "metadata: Input should be an object", param="metadata") from error
    found = [_shown(batch, provider.now()) for batch in provider.listed(_NAME)]
    for name in ("model", "status"):
        if name in call.query:
            found = [job for job in found if job[name] == call.query[name]]
    found = [job for job in found if wanted.items() <= (job["metadata"] or {}).items()]
    if call.query.get("order_by") == "created":
        found.reverse()
    start = int(page) * size
    return _ok({"object": "list", "data": found[start : start + size], "total": len(found)})


async def get(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Return a job object."""
    return _ok(_shown(_found(provider, id), provider.now()))


async def cancel(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Cancel a job; one that is over stays as it is."""
    return _ok(_shown(await provider.cancel(_found(provider, id)), provider.now()))


async def delete(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Remove a job that is over."""
    if not _found(provider, id).over:
        raise BadCall(400, f"Batch job {id} is not over: cancel it first.")
    provider.store.delete_batch(id)
    return _ok({"id": id, "object": "batch", "deleted": True})


MISTRAL_BATCHES = BatchFamily(
    _NAME,
    line,
    row,
    lambda batch: (f"{batch.id}_output.jsonl", f"{batch.id}_error.jsonl"),
    results="batch",
    files_of=OPENAI_BATCHES.name,
    most_lines=1_000_000,
)

_JOBS, _ID = "(/v1)?/batch/jobs", "(?P<id>[^/]+)"
MISTRAL_ROUTES: tuple[Route, ...] = (
    Route("POST", _JOBS, create),
    Route("GET", _JOBS, list_jobs),
    Route("GET", f"{_JOBS}/{_ID}", get),
    Route("DELETE", f"{_JOBS}/{_ID}", delete),
    Route("POST", f"{_JOBS}/{_ID}/cancel", cancel),
)
