"""Together's files and batches, below /together: OpenAI's calls with other words, no counts, no metadata."""

from datetime import UTC, datetime
from typing import Any

from llmbatch.codec import json
from llmbatch.mock.batch import Batch, Stage
from llmbatch.mock.batch_call import BadCall, Call
from llmbatch.mock.batch_family import BatchFamily, Route, WrittenRow
from llmbatch.mock.batch_provider import BatchProvider
from llmbatch.mock.batch_rows import Answer, BadLine, Line
from llmbatch.mock.batch_store import StoredFile
from llmbatch.mock.batch_upload import Upload
from llmbatch.mock.provider import below_root
from llmbatch.mock.reply import Reply

__all__ = ["TOGETHER_BATCHES", "TOGETHER_ROUTES"]

_NAME = "together"
_ENDPOINTS = ("/chat/completions",)
_LARGEST_FILE = 100 * 2**20
_LONGEST_LINE = 10 * 2**20
_LONGEST_ID = 64
_DAY = 86400
_STATUSES = {
    Stage.CHECKING: "VALIDATING",
    Stage.RUNNING: "IN_PROGRESS",
    Stage.FINISHING: "IN_PROGRESS",
    Stage.CANCELLING: "CANCELING",
    Stage.FAILED: "FAILED",
    Stage.COMPLETED: "COMPLETED",
    Stage.EXPIRED: "EXPIRED",
    Stage.CANCELLED: "CANCELLED",
}


def line(raw: bytes, batch: Batch) -> Line:
    """Read a line as the check does."""
    if len(raw) > _LONGEST_LINE:
        raise BadLine("line_too_long", f"The line is longer than {_LONGEST_LINE} bytes")
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise BadLine("invalid_json", "The line is not valid JSON") from error
    custom_id, body = (value.get("custom_id"), value.get("body")) if isinstance(value, dict) else (None, None)
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= _LONGEST_ID:
        raise BadLine("invalid_custom_id", f"custom_id is a text of 1 to {_LONGEST_ID} characters")
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise BadLine("invalid_body", "body.model is required")
    return Line(custom_id, batch.endpoint, body)


def row(custom_id: str, answer: Answer | str) -> WrittenRow:
    """Write what became of a row."""
    if isinstance(answer, Answer) and answer.status == 200:
        return WrittenRow(0, {"custom_id": custom_id, "response": {"status_code": 200, "body": answer.body}})
    if isinstance(answer, str):
        return WrittenRow(1, {"custom_id": custom_id, "error": {"code": answer, "message": f"The request {answer}."}})
    error = answer.body.get("error") if isinstance(answer.body, dict) else None
    message = error.get("message") if isinstance(error, dict) else "The request failed."
    return WrittenRow(1, {"custom_id": custom_id, "error": {"code": str(answer.status or 504), "message": message}})


def _shown(batch: Batch, provider: BatchProvider) -> dict[str, Any]:
    """Return the batch object; progress is a share, not a count of rows."""
    now, ended, checked = provider.now(), batch.ended, batch.checked
    problem = checked.problem if checked else None
    count = checked.count if checked else 0
    progress = 100.0 if ended else 100.0 * batch.rows_run(now) / count if count else 0.0
    over = ended.at if ended else checked.at if checked and problem else None
    file = provider.store.file(batch.file, _NAME, now)
    at = f" (line {problem.line})" if problem and problem.line is not None else ""
    return {
        "id": batch.id,
        "user_id": "user-mock",
        "input_file_id": batch.file,
        "file_size_bytes": file.bytes if file else 0,
        "status": _STATUSES[batch.stage(now)],
        "job_deadline": _time(batch.created + _DAY),
        "created_at": _time(batch.created),
        "endpoint": batch.shown["endpoint"],
        "progress": progress,
        "model_id": checked.model if checked else None,
        "output_file_id": ended.outputs[0] if ended else None,
        "error_file_id": ended.outputs[1] if ended else None,
        "error": problem.message + at if problem else None,
        "completed_at": _time(over) if over is not None else None,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _file(file: StoredFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "created_at": int(file.created),
        "filename": file.name,
        "bytes": file.bytes,
        "purpose": file.purpose,
        "FileType": "jsonl",
        "LineCount": file.lines,
        "Processed": True,
    }


async def upload(provider: BatchProvider, call: Call) -> Reply:
    """Keep a file."""

    def read(id: str, form: Upload) -> StoredFile:
        name, purpose = form.fields.get("file_name"), form.fields.get("purpose")
        if form.filename is None or not name:
            raise BadCall(400, "file and file_name are required", param="file")
        if purpose != "batch-api":
            raise BadCall(400, f"purpose {purpose!r} is not batch-api", param="purpose")
        return StoredFile(id, _NAME, name, purpose, form.size, provider.now(), form.lines)

    return _ok(_file(await provider.receive_form("file-", call, _LARGEST_FILE, read)))


def _ok(value: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value))


def _found_file(provider: BatchProvider, id: str) -> StoredFile:
    if (file := provider.store.file(id, _NAME, provider.now())) is None:
        raise BadCall(404, f"file {id} not found", code="not_found")
    return file


async def list_files(provider: BatchProvider, _: Call) -> Reply:
    """Return all files, newest first."""
    return _ok({"data": [_file(file) for file in provider.store.files(_NAME, provider.now())]})


async def get_file(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Return a file object."""
    return _ok(_file(_found_file(provider, id)))


async def get_content(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Return what is in a file."""
    return provider.download(_found_file(provider, id), b"application/octet-stream")


async def delete_file(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Remove a file."""
    provider.store.delete_file(_found_file(provider, id).id)
    return _ok({"id": id, "deleted": True})


async def create(provider: BatchProvider, call: Call) -> Reply:
    """Make a batch; a file that is not there shows later, too."""
    asked = await call.body()
    endpoint, file = asked.get("endpoint"), asked.get("input_file_id")
    if not isinstance(endpoint, str) or below_root(endpoint) not in _ENDPOINTS:
        raise BadCall(400, "endpoint: the mock takes /v1/chat/completions", param="endpoint")
    if not isinstance(file, str):
        raise BadCall(400, "input_file_id is required", param="input_file_id")
    batch = await provider.create(
        call,
        id=provider.store.new_id(""),
        family=_NAME,
        file=file,
        endpoint=below_root(endpoint),
        shown={"endpoint": endpoint},
    )
    return _ok({"job": _shown(batch, provider)}, 201)


def _found(provider: BatchProvider, id: str) -> Batch:
    if (batch := provider.find(id, _NAME)) is None:
        raise BadCall(404, f"batch job {id} not found", code="not_found")
    return batch


async def list_batches(provider: BatchProvider, _: Call) -> Reply:
    """Return all batches, newest first, as a bare array."""
    return _ok([_shown(batch, provider) for batch in provider.listed(_NAME)])


async def get(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Return a batch object."""
    return _ok(_shown(_found(provider, id), provider))


async def cancel(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Cancel a batch; one that is over stays as it is."""
    return _ok(_shown(await provider.cancel(_found(provider, id)), provider))


TOGETHER_BATCHES = BatchFamily(
    _NAME,
    line,
    row,
    lambda batch: (f"{batch.id}-output.jsonl", f"{batch.id}-errors.jsonl"),
    results="batch-api",
)

_FILES, _BATCHES, _ID = "/together/v1/files", "/together/v1/batches", "(?P<id>[^/]+)"
TOGETHER_ROUTES: tuple[Route, ...] = (
    Route("POST", f"{_FILES}/upload", upload),
    Route("GET", _FILES, list_files),
    Route("GET", f"{_FILES}/{_ID}", get_file),
    Route("GET", f"{_FILES}/{_ID}/content", get_content),
    Route("DELETE", f"{_FILES}/{_ID}", delete_file),
    Route("POST", _BATCHES, create),
    Route("GET", _BATCHES, list_batches),
    Route("GET", f"{_BATCHES}/{_ID}", get),
    Route("POST", f"{_BATCHES}/{_ID}/cancel", cancel),
)
