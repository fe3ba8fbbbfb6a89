"""xAI's files and batches, below /xai: counts and no status, a refused file is a cancelled batch, rows in pages."""

from datetime import UTC, datetime
from itertools import islice
from typing import Any

from llmbatch.codec import json
from llmbatch.mock.batch import Batch
from llmbatch.mock.batch_call import BadCall, Call
from llmbatch.mock.batch_family import BatchFamily, Route, WrittenRow
from llmbatch.mock.batch_provider import BatchProvider
from llmbatch.mock.batch_rows import Answer, BadLine, Line
from llmbatch.mock.batch_store import StoredFile
from llmbatch.mock.batch_upload import Upload
from llmbatch.mock.provider import below_root
from llmbatch.mock.reply import Reply

__all__ = ["XAI_BATCHES", "XAI_ROUTES"]

_NAME = "xai"
_ENDPOINT = "/chat/completions"
_LARGEST_FILE = 200 * 2**20
_DAY = 86400
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 429: 8, 503: 14, 504: 4}


def line(raw: bytes, batch: Batch) -> Line:
    """Read a line as the check does."""
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise BadLine("invalid", "invalid JSON") from error
    if not isinstance(value, dict) or not isinstance(value.get("custom_id"), str):
        raise BadLine("invalid", "custom_id is required")
    body = value.get("body")
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise BadLine("invalid", "body.model is required")
    if below_root(str(value.get("url"))) != _ENDPOINT:
        raise BadLine("invalid", f"url {value.get('url')!r} is not supported")
    return Line(value["custom_id"], _ENDPOINT, body)


def row(custom_id: str, answer: Answer | str) -> WrittenRow:
    """Write what became of a row; there is one list of all."""
    if isinstance(answer, Answer) and answer.status == 200:
        result: dict[str, Any] = {"response": {"chat_get_completion": answer.body}}
    elif isinstance(answer, str):
        result = {"error": {"code": 1 if answer == "cancelled" else "batch_cancelled", "message": f"was {answer}"}}
    else:
        error = answer.body.get("error") if isinstance(answer.body, dict) else None
        message = error.get("message") if isinstance(error, dict) else "The request failed."
        result = {"error": {"code": _CODES.get(answer.status or 504, 13), "message": message}}
    return WrittenRow(0, {"batch_request_id": custom_id, "batch_result": result})


def _shown(batch: Batch, provider: BatchProvider) -> dict[str, Any]:
    """Return the batch object. Before its file is checked it has no requests."""
    now, ended, checked = provider.now(), batch.ended, batch.checked
    problem = checked.problem if checked else None
    count = checked.count if checked and not problem and now >= batch.starts else 0
    # The last one is pending until its row can be read.
    good, bad, dropped = min(batch.rows_run(now), count - 1) if count else 0, 0, 0
    if ended:
        counts = ended.counts
        good, bad, dropped = counts["succeeded"], counts["failed"], counts["expired"] + counts["cancelled"]
        count = good + bad + dropped
    cancelled = checked.at if checked and problem else batch.cancelled
    why = None
    if problem:
        at = f"line {problem.line}: " if problem.line is not None else ""
        why = f"JSONL file validation failed: {at}{problem.message}"
    return {
        "batch_id": batch.id,
        "name": batch.shown["name"],
        "create_time": _time(batch.created),
        "expire_time": _time(batch.created + 30 * _DAY),
        "create_api_key_id": "key-mock",
        "cancel_time": _time(cancelled) if cancelled is not None else None,
        "cancel_by_xai_message": why,
        "input_file_id": batch.file,
        "state": {
            "num_requests": count,
            "num_pending": count - good - bad - dropped,
            "num_success": good,
            "num_error": bad,
            "num_cancelled": dropped,
        },
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _ok(value: Any) -> Reply:
    return Reply(200, json.dumps(value))


def _file(file: StoredFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "created_at": int(file.created),
        "expires_at": int(file.expires) if file.expires is not None else None,
        "filename": file.name,
        "bytes": file.bytes,
        "purpose": file.purpose,
    }


async def upload(provider: BatchProvider, call: Call) -> Reply:
    """Keep a file."""

    def read(id: str, form: Upload) -> StoredFile:
        if form.filename is None:
            raise BadCall(400, "file is required", param="file")
        seconds = form.fields.get("expires_after")
        file = StoredFile(id, _NAME, form.filename, "batch", form.size, provider.now(), form.lines)
        if seconds is None:
            return file
        if not seconds.isdecimal() or not 3600 <= int(seconds) <= 30 * _DAY:
            raise BadCall(400, "expires_after is a number of seconds from 3600 to 2592000", param="expires_after")
        return provider.expiring(file, int(seconds))

    return _ok(_file(await provider.receive_form("file_", call, _LARGEST_FILE, read)))


def _found_file(provider: BatchProvider, id: str) -> StoredFile:
    if (file := provider.store.file(id, _NAME, provider.now())) is None:
        raise BadCall(404, f"file {id} not found", code="not_found")
    return file


async def get_file(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Return a file object."""
    return _ok(_file(_found_file(provider, id)))


async def delete_file(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Remove a file."""
    provider.store.delete_file(_found_file(provider, id).id)
    return _ok({"id": id, "deleted": True})


async def create(provider: BatchProvider, call: Call) -> Reply:
    """Make a batch; what is wrong with its file shows later."""
    asked = await call.body()
    name, file = asked.get("name"), asked.get("input_file_id")
    if not isinstance(name, str) or not isinstance(file, str):
        raise BadCall(400, "name and input_file_id are required")
    batch = await provider.create(
        call, id=provider.store.new_id("batch_"), family=_NAME, file=file, endpoint=_ENDPOINT, shown={"name": name}
    )
    return _ok(_shown(batch, provider))


def _found(provider: BatchProvider, id: str) -> Batch:
    if (batch := provider.find(id, _NAME)) is None:
        raise BadCall(404, f"batch {id} not found", code="not_found")
    return batch


async def list_batches(provider: BatchProvider, call: Call) -> Reply:
    """Return a page of batches."""
    shown = [_shown(batch, provider) for batch in provider.listed(_NAME)]
    start, limit = _start(call), call.limit("limit", 20, 1000)
    following = str(start + limit) if len(shown) > start + limit else None
    return _ok({"batches": shown[start : start + limit], "pagination_token": following})


async def get(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Return a batch object."""
    return _ok(_shown(_found(provider, id), provider))


async def cancel(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Cancel a batch; one that is over stays as it is."""
    return _ok(_shown(await provider.cancel(_found(provider, id)), provider))


async def results(provider: BatchProvider, call: Call, id: str) -> Reply:
    """Return a page of the rows that are there."""
    batch = _found(provider, id)
    start, limit = _start(call), call.limit("limit", 100, 1000)
    name = batch.ended.outputs[0] if batch.ended else None
    rows = _rows(provider.store.content(name), start, limit + 1) if name is not None else []
    following = str(start + limit) if len(rows) > limit else None
    page = b'{"results":[%b],"pagination_token":%b}' % (b",".join(rows[:limit]), json.dumps(following))
    return Reply(200, page)


def _rows(path: str, start: int, limit: int) -> list[bytes]:
    """Read some rows as they are: a fault may have made one of them unreadable."""
    with open(path, "rb") as file:
        return [raw.rstrip(b"\n") for raw in islice(file, start, start + limit)]


def _start(call: Call) -> int:
    token = call.query.get("pagination_token", "0")
    if not token.isdecimal():
        raise BadCall(400, "pagination_token is not one of ours", param="pagination_token")
    return int(token)


XAI_BATCHES = BatchFamily(_NAME, line, row, lambda batch: (f"{batch.id}-results.jsonl", ""), prefix="file_")

_FILES, _BATCHES, _ID = "/xai/v1/files", "/xai/v1/batches", "(?P<id>[^/:]+)"
XAI_ROUTES: tuple[Route, ...] = (
    Route("POST", _FILES, upload),
    Route("GET", f"{_FILES}/{_ID}", get_file),
    Route("DELETE", f"{_FILES}/{_ID}", delete_file),
    Route("POST", _BATCHES, create),
    Route("GET", _BATCHES, list_batches),
    Route("GET", f"{_BATCHES}/{_ID}", get),
    Route("POST", f"{_BATCHES}/{_ID}:cancel", cancel),
    Route("GET", f"{_BATCHES}/{_ID}/results", results),
)
