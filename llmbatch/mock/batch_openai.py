"""OpenAI's files and batches, and Azure's, whose paths differ."""

import re
from functools import partial
from typing import Any

from llmbatch.codec import json
from llmbatch.mock.batch import Batch, Stage
from llmbatch.mock.batch_call import BadCall, Call
from llmbatch.mock.batch_family import BatchFamily, Route, WrittenRow
from llmbatch.mock.batch_provider import BatchProvider
from llmbatch.mock.batch_rows import Answer, BadLine, Line
from llmbatch.mock.batch_store import BatchStore, StoredFile
from llmbatch.mock.batch_upload import Upload
from llmbatch.mock.provider import below_root
from llmbatch.mock.reply import Reply

__all__ = ["OPENAI_BATCHES", "OPENAI_ROUTES"]

_NAME = "openai"
_ENDPOINTS = ("/chat/completions", "/responses", "/completions", "/embeddings")
_WINDOW = re.compile("[0-9]+[hd]")
"""OpenAI takes 24h only; services that copied its API take others."""
_PURPOSES = ("assistants", "batch", "batch-api", "evals", "fine-tune", "user_data", "vision")
_LARGEST_FILE = 200 * 2**20
_SHORTEST, _LONGEST = 3600, 2_592_000
_PROCESSING = 0.02
"""The share of a batch's time in which Azure's uploads are still pending."""
_STATUSES = {
    Stage.CHECKING: "validating",
    Stage.RUNNING: "in_progress",
    Stage.FINISHING: "finalizing",
    Stage.CANCELLING: "cancelling",
    Stage.FAILED: "failed",
    Stage.COMPLETED: "completed",
    Stage.EXPIRED: "expired",
    Stage.CANCELLED: "cancelled",
}
_WHY = {
    "expired": "This request could not be executed before the completion window expired.",
    "cancelled": "This request was cancelled before it could be executed.",
    "request_timeout": "This request timed out.",
}


def line(raw: bytes, batch: Batch) -> Line:
    """Read a line as the check does."""
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise BadLine("invalid_json_line", "This line is not parseable as valid JSON.") from error
    if not isinstance(value, dict):
        raise BadLine("invalid_json_line", "This line is not a JSON object.")
    for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
        if not isinstance(value.get(name), kind):
            raise BadLine("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
    body = value["body"]
    if value["method"] != "POST":
        raise BadLine("invalid_method", f"The method {value['method']!r} is not supported. Use 'POST'.", "method")
    if (path := below_root(value["url"])) != batch.endpoint:
        text = f"The URL {value['url']!r} does not match the endpoint of the batch."
        raise BadLine("invalid_url", text, "url")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise BadLine("invalid_request", "You must provide a model parameter.", "body.model")
    if body.get("stream"):
        raise BadLine("streaming_unsupported", "Chat Completions: streaming is not supported.", "body.stream")
    return Line(value["custom_id"], path, body)


def row(custom_id: str, answer: Answer | str) -> WrittenRow:
    """Write what became of a row."""
    shown: dict[str, Any] = {
        "id": BatchStore.new_id("batch_req_"),
        "custom_id": custom_id,
        "response": None,
        "error": None,
    }
    if isinstance(answer, Answer) and answer.status is not None:
        shown["response"] = {
            "status_code": answer.status,
            "request_id": BatchStore.new_id("req_"),
            "body": answer.body,
        }
        return WrittenRow(0 if answer.status == 200 else 1, shown)
    why = answer if isinstance(answer, str) else "request_timeout"
    shown["error"] = {"code": why if why == "request_timeout" else f"batch_{why}", "message": _WHY[why]}
    return WrittenRow(1, shown)


def _shown(batch: Batch, now: float) -> dict[str, Any]:
    """Return the batch object."""
    stage, ended = batch.stage(now), batch.ended
    problem = batch.checked.problem if batch.checked else None
    began = None if batch.checked is None or problem or now < batch.starts else int(batch.starts)
    end = int(ended.at) if ended else None
    error = problem and {"code": problem.code, "message": problem.message, "param": problem.param, "line": problem.line}
    cancelled = batch.cancelled is not None
    finalizing = began is not None and not cancelled and now >= batch.finishes
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.shown["endpoint"],
        "model": batch.checked.model if batch.checked else None,
        "errors": {"object": "list", "data": [error]} if error else None,
        "input_file_id": batch.file,
        "completion_window": batch.shown["completion_window"],
        "status": _STATUSES[stage],
        "output_file_id": ended.outputs[0] if ended else None,
        "error_file_id": ended.outputs[1] if ended else None,
        "created_at": int(batch.created),
        "in_progress_at": began,
        "expires_at": int(batch.created) + 86400,
        "finalizing_at": int(batch.finishes) if finalizing else None,
        "completed_at": end if stage is Stage.COMPLETED else None,
        "failed_at": int(batch.checked.at) if batch.checked and problem else None,
        "expired_at": end if stage is Stage.EXPIRED else None,
        "cancelling_at": int(batch.cancelled) if batch.cancelled is not None else None,
        "cancelled_at": end if stage is Stage.CANCELLED else None,
        "request_counts": _counts(batch, now),
        "usage": _usage(ended.usage if ended else {"input": 0, "output": 0}),
        "metadata": batch.shown["metadata"],
    }


def _counts(batch: Batch, now: float) -> dict[str, int]:
    if batch.ended:
        counts = batch.ended.counts
        return {"total": sum(counts.values()), "completed": counts["succeeded"], "failed": counts["failed"]}
    total = batch.checked.count if batch.checked and now >= batch.starts else 0
    return {"total": total, "completed": batch.rows_run(now), "failed": 0}


def _usage(used: dict[str, int]) -> dict[str, Any]:
    return {
        "input_tokens": used["input"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": used["output"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": used["input"] + used["output"],
    }


def _file(file: StoredFile, provider: BatchProvider, *, azure: bool = False) -> dict[str, Any]:
    """Return the file object, with the fields of Mistral's beside those of OpenAI's: both have the same address."""
    ready = not azure or provider.now() >= file.created + _PROCESSING * provider.settings.batch_delay
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created),
        "expires_at": int(file.expires) if file.expires is not None else None,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed" if ready else "pending",
        "status_details": None,
        "sample_type": f"batch_{file.role}",
        "source": "upload" if file.role == "request" else "mistral",
        "num_lines": file.lines,
        "mimetype": file.mime,
        "signature": None,
        "visibility": "workspace",
    }


def _ok(value: Any) -> Reply:
    return Reply(200, json.dumps(value))


async def upload(provider: BatchProvider, call: Call) -> Reply:
    """Keep a file."""
    file = await provider.receive_form("file-", call, _LARGEST_FILE, partial(_uploaded, provider))
    return _ok(_file(file, provider, azure=call.is_azure))


def _uploaded(provider: BatchProvider, id: str, form: Upload) -> StoredFile:
    purpose = form.fields.get("purpose")
    if form.filename is None:
        raise BadCall(400, "'file' is a required property", param="file")
    if purpose not in _PURPOSES:
        raise BadCall(400, f"{purpose!r} is not one of {list(_PURPOSES)} - 'purpose'", param="purpose")
    if purpose == "batch" and not form.filename.endswith(".jsonl"):
        raise BadCall(400, "Invalid file format for Batch API. Must be .jsonl", param="file")
    file = StoredFile(id, _NAME, form.filename, purpose, form.size, provider.now(), form.lines)
    if (seconds := form.fields.get("expires_after[seconds]")) is None:
        return file
    if form.fields.get("expires_after[anchor]") != "created_at":
        raise BadCall(400, "Invalid value for 'expires_after.anchor'. Use 'created_at'.", param="expires_after.anchor")
    if not re.fullmatch("[0-9]{1,9}", seconds) or not _SHORTEST <= int(seconds) <= _LONGEST:
        text = f"Invalid 'expires_after.seconds': an integer from {_SHORTEST} to {_LONGEST} was expected."
        raise BadCall(400, text, param="expires_after.seconds")
    return provider.expiring(file, int(seconds))


def _found_file(provider: BatchProvider, id: str) -> StoredFile:
    if (file := provider.store.file(id, _NAME, provider.now())) is None:
        raise BadCall(404, f"No such File object: {id}", param="id", code="not_found")
    return file


async def list_files(provider: BatchProvider, call: Call) -> Reply:
    """Return a page of files, newest first."""
    files = provider.store.files(_NAME, provider.now())
    if (purpose := call.query.get("purpose")) is not None:
        files = [file for file in files if file.purpose == purpose]
    if call.query.get("order") == "asc":
        files.reverse()
    shown = [_file(file, provider, azure=call.is_azure) for file in files]
    return _page(shown, call, call.limit("limit", 10000, 10000))


async def get_file(provider: BatchProvider, call: Call, id: str) -> Reply:
    """Return a file object; Mistral's says here that it is not deleted."""
    return _ok(_file(_found_file(provider, id), provider, azure=call.is_azure) | {"deleted": False})


async def get_content(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Return what is in a file."""
    return provider.download(_found_file(provider, id), b"application/octet-stream")


async def delete_file(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Remove a file."""
    _found_file(provider, id)
    provider.store.delete_file(id)
    return _ok({"id": id, "object": "file", "deleted": True})


async def create(provider: BatchProvider, call: Call) -> Reply:
    """Make a batch; what is wrong with its file shows later."""
    asked = await call.body()
    for name in ("input_file_id", "endpoint", "completion_window"):
        if not isinstance(asked.get(name), str):
            raise BadCall(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    endpoint, window, file = asked["endpoint"], asked["completion_window"], asked["input_file_id"]
    if below_root(endpoint) not in _ENDPOINTS:
        paths = ", ".join(f"'/v1{path}'" for path in _ENDPOINTS)
        text = f"Invalid value: '{endpoint}'. Supported values are: {paths}."
        raise BadCall(400, text, param="endpoint", code="invalid_value")
    if not _WINDOW.fullmatch(window):
        text = f"Invalid value: '{window}'. Supported values are: '24h'."
        raise BadCall(400, text, param="completion_window", code="invalid_value")
    found = provider.store.file(file, _NAME, provider.now())
    if call.is_azure and found and _file(found, provider, azure=True)["status"] != "processed":
        raise BadCall(400, f"The file {file} is not processed yet.", param="input_file_id", code="invalidFileStatus")
    batch = await provider.create(
        call,
        id=provider.store.new_id("batch_"),
        family=_NAME,
        file=file,
        endpoint=below_root(endpoint),
        shown={"endpoint": endpoint, "completion_window": window, "metadata": _metadata(asked.get("metadata"))},
    )
    return _ok(_shown(batch, provider.now()))


def _metadata(metadata: Any) -> dict[str, str] | None:
    if metadata is None:
        return None
    if not isinstance(metadata, dict) or len(metadata) > 16:
        raise BadCall(400, "Invalid 'metadata': an object of at most 16 pairs was expected.", param="metadata")
    for key, value in metadata.items():
        if not isinstance(value, str) or len(key) > 64 or len(value) > 512:
            text = "Invalid 'metadata': keys have at most 64 characters, values are strings of at most 512."
            raise BadCall(400, text, param="metadata")
    return metadata


def _found(provider: BatchProvider, id: str) -> Batch:
    if (batch := provider.find(id, _NAME)) is None:
        raise BadCall(404, f"No batch found with id '{id}'.", code="not_found")
    return batch


async def list_batches(provider: BatchProvider, call: Call) -> Reply:
    """Return a page of batches, newest first."""
    shown = [_shown(batch, provider.now()) for batch in provider.listed(_NAME)]
    return _page(shown, call, call.limit("limit", 20, 100))


async def get(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Return a batch object."""
    return _ok(_shown(_found(provider, id), provider.now()))


async def cancel(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Cancel a batch; to cancel it twice is no error, to cancel one that is over is."""
    batch = await provider.cancel(_found(provider, id))
    if batch.over:
        raise BadCall(409, f"Cannot cancel a batch with status '{_STATUSES[batch.stage(provider.now())]}'.")
    return _ok(_shown(batch, provider.now()))


def _page(shown: list[dict[str, Any]], call: Call, limit: int) -> Reply:
    """Return the things after the one that the query names."""
    after = call.query.get("after")
    first = next((at for at, one in enumerate(shown, 1) if one["id"] == after), 0)
    if after and not first:
        raise BadCall(400, f"Invalid 'after': {after} is not in the list.", param="after")
    page = shown[first : first + limit]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    more = len(shown) > first + limit
    return _ok({"object": "list", "data": page, **ends, "has_more": more, "total": len(shown)})


OPENAI_BATCHES = BatchFamily(
    _NAME,
    line,
    row,
    lambda batch: (f"{batch.id}_output.jsonl", f"{batch.id}_error.jsonl"),
    one_model=True,
)

_FILES, _BATCHES, _ID = "(/openai)?(/v1)?/files", "(/openai)?(/v1)?/batches", "(?P<id>[^/]+)"
OPENAI_ROUTES: tuple[Route, ...] = (
    Route("POST", _FILES, upload),
    Route("GET", _FILES, list_files),
    Route("GET", f"{_FILES}/{_ID}", get_file),
    Route("GET", f"{_FILES}/{_ID}/content", get_content),
    Route("DELETE", f"{_FILES}/{_ID}", delete_file),
    Route("POST", _BATCHES, create),
    Route("GET", _BATCHES, list_batches),
    Route("GET", f"{_BATCHES}/{_ID}", get),
    Route("POST", f"{_BATCHES}/{_ID}/cancel", cancel),
)
