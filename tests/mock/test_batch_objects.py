"""Each object about batches has the fields that the model of the official client requires, and none that it lacks."""

import json
import typing
from collections.abc import Callable
from typing import Any

import anthropic.types.messages as anthropic_batches
import httpx
import mistralai.client.models as mistral
import openai.types
import pytest
from anthropic.types import Message
from google.genai import types as gemini
from openai.types.batch import Errors
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .batches import openai_line, until

Http = Callable[..., httpx.Response]


def name_of(name: str, field: FieldInfo) -> str:
    """Return the name of a field on the wire."""
    alias = field.alias if field.alias is not None else field.validation_alias
    return alias if isinstance(alias, str) else name


def check(value: dict[str, Any], *models: type[BaseModel]) -> None:
    """Compare an object with the models of all clients that read it."""
    known: set[str] = set()
    for model in models:
        fields = {name_of(name, field): field for name, field in model.model_fields.items()}
        known |= fields.keys()
        required = {name for name, field in fields.items() if field.is_required()}
        assert required <= value.keys(), f"{model.__name__} requires {required - value.keys()}"
        model.model_validate(value)
    assert value.keys() <= known, f"nobody knows {value.keys() - known}"


def api(url: str) -> Http:
    """Return a caller of one API, by method and path; what it answers must be good."""

    def call(method: str, path: str, **named: Any) -> httpx.Response:
        reply = httpx.request(method, path if path.startswith("http") else url + path, timeout=5, **named)
        assert reply.status_code == 200, reply.text
        return reply

    return call


def uploaded(call: Http, *lines: bytes) -> Any:
    files = {"file": ("in.jsonl", b"\n".join(lines))}
    return call("POST", "/files", data={"purpose": "batch"}, files=files).json()


def read_until(call: Http, path: str, ended: Callable[[Any], Any], shown: Callable[[Any], None]) -> Any:
    """Poll until the end; `shown` gets the object at each look."""

    def look() -> Any:
        value = call("GET", path).json()
        shown(value)
        return value

    return until(ended, look)


MARKERS = ["good", "[[mock:status code=400]]", "[[mock:batch expire]]"]


def ends_of_openai(value: Any) -> bool:
    return value["status"] in ("completed", "failed", "expired", "cancelled")


@pytest.mark.parametrize(
    ("lines", "cancelled"), [(["good"], False), (MARKERS, False), (["[[mock:batch invalid]]"], False), (MARKERS, True)]
)
def test_openais_objects(mock_server: Callable[..., str], lines: list[str], cancelled: bool) -> None:
    call = api(mock_server(batch_delay=1.0 if cancelled else 0.2))
    file = uploaded(call, *(openai_line(str(n), prompt) for n, prompt in enumerate(lines)))
    check(file, openai.types.FileObject, mistral.CreateFileResponse)
    made = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = call("POST", "/batches", json=made).json()
    check(batch, openai.types.Batch)
    if cancelled:
        check(call("POST", f"/batches/{batch['id']}/cancel").json(), openai.types.Batch)
    ended = read_until(call, f"/batches/{batch['id']}", ends_of_openai, lambda value: check(value, openai.types.Batch))
    check(ended["request_counts"], openai.types.BatchRequestCounts)
    check(ended["usage"], openai.types.BatchUsage)
    if ended["errors"]:
        check(ended["errors"], Errors)
        check(ended["errors"]["data"][0], openai.types.BatchError)
    for output in filter(None, (ended["output_file_id"], ended["error_file_id"])):
        known = (openai.types.FileObject, mistral.GetFileResponse)
        check(call("GET", f"/files/{output}").json(), *known)
        for row in map(json.loads, call("GET", f"/files/{output}/content").text.splitlines()):
            assert row.keys() == {"id", "custom_id", "response", "error"}
            assert row["response"] is None or row["response"].keys() == {"status_code", "request_id", "body"}
            assert row["error"] is None or row["error"].keys() == {"code", "message"}
            assert (row["response"] is None) != (row["error"] is None)
    check(call("GET", "/batches").json()["data"][0], openai.types.Batch)
    assert {"object", "data", "first_id", "last_id", "has_more"} <= call("GET", "/files").json().keys()
    check(call("DELETE", f"/files/{file['id']}").json(), openai.types.FileDeleted, mistral.DeleteFileResponse)


@pytest.mark.parametrize("cancelled", [False, True])
def test_anthropics_objects(mock_server: Callable[..., str], cancelled: bool) -> None:
    call, path = api(mock_server(batch_delay=1.0 if cancelled else 0.2)), "/messages/batches"
    requests = [
        {
            "custom_id": str(n),
            "params": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": text}]},
        }
        for n, text in enumerate(MARKERS)
    ]
    headers = {"anthropic-version": "2023-06-01"}
    batch = call("POST", path, json={"requests": requests}, headers=headers).json()
    model = anthropic_batches.MessageBatch
    check(batch, model)
    if cancelled:
        check(call("POST", f"{path}/{batch['id']}/cancel").json(), model)
    ended = read_until(
        call,
        f"{path}/{batch['id']}",
        lambda value: value["processing_status"] == "ended",
        lambda value: check(value, model),
    )
    check(ended["request_counts"], anthropic_batches.MessageBatchRequestCounts)
    results = {
        kind.model_fields["type"].annotation.__args__[0]: kind  # type: ignore[union-attr]
        for kind in typing.get_args(typing.get_args(anthropic_batches.MessageBatchResult)[0])
    }
    kinds = set()
    for row in map(json.loads, call("GET", ended["results_url"]).text.splitlines()):
        check(row, anthropic_batches.MessageBatchIndividualResponse)
        check(row["result"], results[row["result"]["type"]])
        kinds.add(row["result"]["type"])
        if row["result"]["type"] == "succeeded":
            check(row["result"]["message"], Message)
    assert kinds == {"succeeded", "errored", "expired"} or (cancelled and "canceled" in kinds)
    check(call("GET", path).json()["data"][0], model)
    check(call("DELETE", f"{path}/{batch['id']}").json(), anthropic_batches.DeletedMessageBatch)


OPERATION = {"name", "metadata", "done", "response", "error"}
METADATA = {"@type", "model", "displayName", "inputConfig", "output", "createTime", "endTime", "updateTime",
            "batchStats", "state", "name", "priority"}  # fmt: skip
STATS = {"requestCount", "pendingRequestCount", "successfulRequestCount", "failedRequestCount"}


@pytest.mark.parametrize("cancelled", [False, True])
def test_geminis_objects(mock_server: Callable[..., str], cancelled: bool) -> None:
    call = api(mock_server(batch_delay=0.2).removesuffix("/v1"))
    start = {"x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start"}
    finish = {"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"}
    lines = [
        json.dumps({"key": str(n), "request": {"contents": [{"parts": [{"text": text}]}]}}).encode()
        for n, text in enumerate(MARKERS[:2])
    ]
    address = call("POST", "/upload/v1beta/files", headers=start).headers["x-goog-upload-url"]
    file = call("POST", address, headers=finish, content=b"\n".join(lines)).json()["file"]
    check(file, gemini.File)
    asked = {"batch": {"displayName": "T", "inputConfig": {"fileName": file["name"]}}}
    made = call("POST", "/v1beta/models/mock-1:batchGenerateContent", json=asked).json()

    def check_operation(value: Any) -> None:
        assert {"name", "metadata"} <= value.keys() <= OPERATION
        assert METADATA - {"output", "endTime", "priority"} <= value["metadata"].keys() <= METADATA
        assert value["metadata"]["batchStats"].keys() <= STATS
        assert all(isinstance(count, str) for count in value["metadata"]["batchStats"].values())
        assert ("done" in value) == ("endTime" in value["metadata"])

    check_operation(made)
    if cancelled:
        assert call("POST", f"/v1beta/{made['name']}:cancel", json={}).json() == {}
    ended = read_until(call, f"/v1beta/{made['name']}", lambda value: value.get("done"), check_operation)
    output = ended["metadata"]["output"]["responsesFile"]
    check(call("GET", f"/v1beta/{output}").json(), gemini.File)
    for row in map(json.loads, call("GET", f"/download/v1beta/{output}:download?alt=media").text.splitlines()):
        assert row.keys() in ({"key", "response"}, {"key", "error"})
        if "response" in row:
            gemini.GenerateContentResponse.model_validate(row["response"])
        else:
            check(row["error"], gemini.JobError)
    check_operation(call("GET", "/v1beta/batches").json()["operations"][0])


@pytest.mark.parametrize("lines", [["good"], MARKERS, ["[[mock:batch invalid]]"]])
def test_mistrals_objects(mock_server: Callable[..., str], lines: list[str]) -> None:
    call = api(mock_server(batch_delay=0.2))
    file = uploaded(call, *(openai_line(str(n), prompt) for n, prompt in enumerate(lines)))
    asked = {"input_files": [file["id"]], "endpoint": "/v1/chat/completions", "model": "mock-1"}
    job = call("POST", "/batch/jobs", json=asked).json()
    check(job, mistral.BatchJob)
    states = ("SUCCESS", "FAILED", "TIMEOUT_EXCEEDED")
    ended = read_until(
        call,
        f"/batch/jobs/{job['id']}",
        lambda value: value["status"] in states,
        lambda value: check(value, mistral.BatchJob),
    )
    for error in ended["errors"]:
        check(error, mistral.BatchError)
    check(call("GET", "/batch/jobs").json(), mistral.ListBatchJobsResponse)
    check(call("DELETE", f"/batch/jobs/{job['id']}").json(), mistral.DeleteBatchJobResponse)
