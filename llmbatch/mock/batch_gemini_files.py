"""Gemini's files: resumable uploads in pieces, the file objects, downloads of results."""

import base64
import os
import re
from datetime import UTC, datetime
from typing import Any

from llmbatch.codec import json
from llmbatch.mock.batch_call import BadCall, Call
from llmbatch.mock.batch_family import Route
from llmbatch.mock.batch_provider import BatchProvider
from llmbatch.mock.batch_store import StoredFile
from llmbatch.mock.error_formats import GEMINI
from llmbatch.mock.reply import Headers, Reply

__all__ = ["FAMILY", "GEMINI_FILE_ROUTES", "page", "timestamp"]

FAMILY = "gemini"
_UPLOADING = "gemini-upload"
"""The family of files that are not complete."""
_LARGEST = 2 * 2**30
_KEPT = 48 * 3600.0
_USUAL_PAGE, _LARGEST_PAGE = 10, 100


def timestamp(seconds: float) -> str:
    """Write a time as Google does."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def page(name: str, shown: list[dict[str, Any]], call: Call) -> Reply:
    """Return the things from the one on that the token of the last page names."""
    size, token = call.limit("pageSize", _USUAL_PAGE, _LARGEST_PAGE), call.query.get("pageToken", "")
    start = next((at for at, one in enumerate(shown) if one["name"] == token), -1) if token else 0
    if start < 0:
        raise BadCall(400, "Invalid page token.")
    found: dict[str, Any] = {name: shown[start : start + size]} if shown else {}
    if len(shown) > start + size:
        found["nextPageToken"] = shown[start + size]["name"]
    return Reply(200, json.dumps(found))


def _shown(file: StoredFile, call: Call) -> dict[str, Any]:
    """Return the file object."""
    source = "UPLOADED" if file.role == "request" else "GENERATED"
    return {
        "name": f"files/{file.id}",
        **({"displayName": file.name} if file.name else {}),
        "mimeType": file.mime,
        "sizeBytes": str(file.bytes),
        "createTime": timestamp(file.created),
        "updateTime": timestamp(file.created),
        **({"expirationTime": timestamp(file.expires)} if file.expires is not None else {}),
        "sha256Hash": base64.b64encode(file.id.encode()).decode(),
        "uri": f"{call.host}/v1beta/files/{file.id}",
        "state": "ACTIVE",
        "source": source,
    }


async def upload(provider: BatchProvider, call: Call) -> Reply:
    """Start an upload, or take a piece of one."""
    commands = {word.strip() for word in call.header(b"x-goog-upload-command").split(",")}
    if "start" in commands:
        return await _start(provider, call)
    id = call.query.get("upload_id", "")
    file = provider.store.file(id, _UPLOADING, provider.now())
    if file is None:
        raise BadCall(404, f"There is no upload {id}.")
    content = provider.store.content(id)
    if "query" in commands:
        return Reply(200, b"", headers=_progress("active", os.stat(content).st_size))
    if "upload" not in commands and "finalize" not in commands:
        raise BadCall(400, "X-Goog-Upload-Command is one of start, upload, query and finalize.")
    received, offset = os.stat(content).st_size, call.header(b"x-goog-upload-offset") or "0"
    if offset != str(received):
        raise BadCall(400, f"The upload has {received} bytes, and its offset is {offset}.")
    with open(content, "ab") as into:  # noqa: ASYNC230
        async for chunk in call.chunks:
            received += len(chunk)
            if received > _LARGEST:
                raise BadCall(413, f"The file is larger than {_LARGEST} bytes.")
            into.write(chunk)
    if "finalize" not in commands:
        return Reply(200, b"", headers=_progress("active", received))
    if file.bytes not in (0, received):
        raise BadCall(400, f"The upload has {received} bytes, and {file.bytes} were announced.")
    now = provider.now()
    done = StoredFile(id, FAMILY, file.name, "batch", received, now, _lines(content), now + _KEPT, file.mime)
    provider.store.add_file(done)
    return Reply(200, json.dumps({"file": _shown(done, call)}), headers=_progress("final", received))


async def _start(provider: BatchProvider, call: Call) -> Reply:
    asked = (await call.body()).get("file") or {}
    announced = call.header(b"x-goog-upload-header-content-length") or "0"
    if call.header(b"x-goog-upload-protocol") != "resumable" or not re.fullmatch("[0-9]{1,12}", announced):
        raise BadCall(400, "The mock takes resumable uploads only, with X-Goog-Upload-Header-Content-Length.")
    if int(announced) > _LARGEST:
        raise BadCall(400, f"The file is larger than {_LARGEST} bytes.")
    id, name = provider.store.new_id(""), asked.get("displayName") or asked.get("display_name") or ""
    mime = call.header(b"x-goog-upload-header-content-type") or "application/octet-stream"
    provider.private_file(id).close()
    provider.store.add_file(StoredFile(id, _UPLOADING, str(name), "upload", int(announced), provider.now(), mime=mime))
    address = f"{call.host}/upload/v1beta/files?upload_id={id}&upload_protocol=resumable"
    return Reply(200, b"", headers=[*_progress("active", 0), (b"x-goog-upload-url", address.encode())])


def _progress(status: str, size: int) -> Headers:
    return [(b"x-goog-upload-status", status.encode()), (b"x-goog-upload-size-received", b"%d" % size)]


def _lines(path: str) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def _found(provider: BatchProvider, id: str) -> StoredFile:
    if (file := provider.store.file(id, FAMILY, provider.now())) is None:
        raise BadCall(403, f"You do not have permission to access the File {id} or it may not exist.")
    return file


async def list_files(provider: BatchProvider, call: Call) -> Reply:
    """Return a page of files, newest first."""
    return page("files", [_shown(file, call) for file in provider.store.files(FAMILY, provider.now())], call)


async def get(provider: BatchProvider, call: Call, id: str) -> Reply:
    """Return a file object."""
    return Reply(200, json.dumps(_shown(_found(provider, id), call)))


async def delete(provider: BatchProvider, _: Call, id: str) -> Reply:
    """Remove a file."""
    provider.store.delete_file(_found(provider, id).id)
    return Reply(200, b"{}")


async def download(provider: BatchProvider, call: Call, id: str) -> Reply:
    """Return the content of a results file; uploads cannot be read."""
    file = _found(provider, id)
    if file.role == "request" or call.query.get("alt") != "media":
        raise BadCall(400, f"The file {id} cannot be downloaded.")
    return provider.download(file, b"application/octet-stream")


_FILES, _ID = "/v1beta/files", "(?P<id>[^/:]+)"
GEMINI_FILE_ROUTES: tuple[Route, ...] = (
    Route("POST", "/upload/v1beta/files", upload, GEMINI),
    Route("GET", _FILES, list_files, GEMINI),
    Route("GET", f"{_FILES}/{_ID}", get, GEMINI),
    Route("DELETE", f"{_FILES}/{_ID}", delete, GEMINI),
    Route("GET", f"(/download)?/v1beta/files/{_ID}:download", download, GEMINI),
)
