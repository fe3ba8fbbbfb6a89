"""Gemini's batches: long-running operations on a file of requests. One bad line fails the create."""

from typing import Any

from llmbatch.codec import json
from llmbatch.mock.batch import Batch, Stage
from llmbatch.mock.batch_call import BadCall, Call
from llmbatch.mock.batch_family import BatchFamily, Route, WrittenRow
from llmbatch.mock.batch_gemini_files import FAMILY, GEMINI_FILE_ROUTES, page, timestamp
from llmbatch.mock.batch_provider import BatchProvider
from llmbatch.mock.batch_rows import Answer, BadLine, Line
from llmbatch.mock.error_formats import GEMINI
from llmbatch.mock.reply import Reply

__all__ = ["GEMINI_BATCHES", "GEMINI_BATCH_ROUTES"]

_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
_STATES = {
    Stage.CHECKING: "PENDING",
    Stage.RUNNING: "RUNNING",
    Stage.FINISHING: "RUNNING",
    Stage.CANCELLING: "RUNNING",
    Stage.FAILED: "FAILED",
    Stage.COMPLETED: "SUCCEEDED",
    Stage.EXPIRED: "EXPIRED",
    Stage.CANCELLED: "CANCELLED",
}
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 501: 12, 503: 14, 504: 4}
"""The codes of google.rpc.Status by HTTP status."""
_CANCELLED, _UNKNOWN, _DEADLINE = 1, 2, 4


def line(raw: bytes, batch: Batch) -> Line:
    """Read a line as the create does."""
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise BadLine("invalid_request", f"Failed to parse the line as JSON: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("request"), dict):
        raise BadLine("invalid_request", "The line has no request.")
    if not isinstance(value.get("key"), str):
        raise BadLine("invalid_request", "The line has no key.")
    return Line(value["key"], batch.endpoint, value["request"])


def row(key: str, answer: Answer | str) -> WrittenRow:
    """Write what became of a line."""
    if isinstance(answer, str):
        error = {"code": _CANCELLED, "message": "The request was cancelled."}
    elif answer.status == 200:
        return WrittenRow(0, {"key": key, "response": answer.body})
    elif answer.status is None:
        error = {"code": _DEADLINE, "message": "Deadline expired before operation could complete."}
    else:
        found = answer.body.get("error") if isinstance(answer.body, dict) else None
        text = found.get("message") if isinstance(found, dict) else "An internal error has occurred."
        error = {"code": _CODES.get(answer.status, _UNKNOWN), "message": text}
    return WrittenRow(0, {"key": key, "error": error})


def _shown(batch: Batch, now: float) -> dict[str, Any]:
    """Return the operation."""
    stage, ended = batch.stage(now), batch.ended
    output = ended and ended.outputs[0] and {"responsesFile": f"files/{ended.outputs[0]}"}
    changed = ended.at if ended else max(batch.created, min(now, batch.finishes))
    shown: dict[str, Any] = {
        "name": f"batches/{batch.id}",
        "metadata": {
            "@type": _TYPE,
            "model": f"models/{batch.shown['model']}",
            "displayName": batch.shown["displayName"],
            "inputConfig": {"fileName": f"files/{batch.file}"},
            **({"output": output} if output else {}),
            "createTime": timestamp(batch.created),
            **({"endTime": timestamp(ended.at)} if ended else {}),
            "updateTime": timestamp(changed),
            "batchStats": _stats(batch, now),
            "state": f"BATCH_STATE_{_STATES[stage]}",
            "name": f"batches/{batch.id}",
        },
    }
    if ended:
        shown["done"] = True
    if output:
        shown["response"] = {"@type": f"{_TYPE}Output", **output}
    return shown


def _stats(batch: Batch, now: float) -> dict[str, str]:
    """Count the rows, in strings; what is 0 is left out."""
    total = batch.checked.count if batch.checked else 0
    run = batch.rows_run(now)
    counts = {"requestCount": total, "pendingRequestCount": total - run, "successfulRequestCount": run}
    if batch.ended:
        ends = batch.ended.counts
        failed = ends["failed"] + ends["expired"] + ends["cancelled"]
        counts |= {"pendingRequestCount": 0, "successfulRequestCount": ends["succeeded"], "failedRequestCount": failed}
    return {name: str(count) for name, count in counts.items() if count}


def _ok(value: Any) -> Reply:
    return Reply(200, json.dumps(value))


async def create(provider: BatchProvider, call: Call, model: str) -> Reply:
    """Make a batch of the lines of a file, all of which are read at once."""
    asked = (await call.body()).get("batch") or {}
    source = asked.get("inputConfig") or asked.get("input_config") or {}
    name = asked.get("displayName") or asked.get("display_name")
    file = str(source.get("fileName") or source.get("file_name") or "")
    if not name:
        raise BadCall(400, "* GenerateContentBatch.display_name: display_name is required.")
    if model == "missing-model":
        raise BadCall(404, f"models/{model} is not found for API version v1beta, or is not supported.")
    if not file.startswith("files/"):
        raise BadCall(400, "The mock takes batches from files only: batch.inputConfig.fileName is missing.")
    if provider.store.file(file.removeprefix("files/"), FAMILY, provider.now()) is None:
        raise BadCall(403, f"You do not have permission to access the File {file[6:]} or it may not exist.")
    batch = await provider.create(
        call,
        checked=True,
        id=provider.store.new_id(""),
        family=FAMILY,
        file=file.removeprefix("files/"),
        endpoint=f"/models/{model}:generateContent",
        shown={"model": model, "displayName": name},
    )
    assert batch.checked is not None
    if problem := batch.checked.problem:
        if problem.code == "token_limit_exceeded":
            raise BadCall(429, problem.message)
        at = f" (line {problem.line})" if problem.line is not None else ""
        raise BadCall(400, problem.message + at)
    return _ok(_shown(batch, provider.now()))


def _found(provider: BatchProvider, id: str) -> Batch:
    if (batch := provider.find(id, FAMILY)) is None:
        raise BadCall(404, "Requested entity was not found.")
    return batch


async def list_batches(provider: BatchProvider, call: Call) -> Reply:
    """Return a page of batches, newest first."""
    return page("operations", [_shown(batch, provider.now()) for batch in provider.listed(FAMILY)], call)


async def get(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Return the operation of a batch."""
    return _ok(_shown(_found(provider, id), provider.now()))


async def cancel(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Cancel a batch; for one that is over nothing changes."""
    await provider.cancel(_found(provider, id))
    return _ok({})


async def delete(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Remove a batch and its results."""
    batch = _found(provider, id)
    provider.store.delete_batch(id)
    for output in filter(None, batch.ended.outputs if batch.ended else ()):
        provider.store.delete_file(output)
    return _ok({})


GEMINI_BATCHES = BatchFamily(
    FAMILY,
    line,
    row,
    lambda batch: ("", ""),
    most_lines=2**31,
    refuses_bodies=True,
    no_results_if_expired=True,
    prefix="batch-",
)

_BATCHES, _ID = "/v1beta/batches", "(?P<id>[^/:]+)"
GEMINI_BATCH_ROUTES: tuple[Route, ...] = (
    *GEMINI_FILE_ROUTES,
    Route("POST", "/v1beta/models/(?P<model>[^/:]+):batchGenerateContent", create, GEMINI),
    Route("GET", _BATCHES, list_batches, GEMINI),
    Route("GET", f"{_BATCHES}/{_ID}", get, GEMINI),
    Route("DELETE", f"{_BATCHES}/{_ID}", delete, GEMINI),
    Route("POST", f"{_BATCHES}/{_ID}:cancel", cancel, GEMINI),
)
