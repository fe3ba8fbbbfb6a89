"""Together's batches: other words, a wrapped create, a bare list. Its client refuses other addresses than its own."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from .batches import chat, openai_line, until

JOB = {
    "id", "user_id", "input_file_id", "file_size_bytes", "status", "job_deadline", "created_at", "endpoint", "progress",
    "model_id", "output_file_id", "error_file_id", "error", "completed_at",
}  # fmt: skip
ENDED = ("COMPLETED", "FAILED", "EXPIRED", "CANCELLED")


@pytest.fixture
def http(mock_server: Callable[..., str]) -> Callable[..., httpx.Client]:
    def connect(**settings: Any) -> httpx.Client:
        url = mock_server(**({"batch_delay": 0.2} | settings)).replace("/v1", "/together/v1")
        return httpx.Client(base_url=url, timeout=5)

    return connect


def submit(client: httpx.Client, *lines: bytes) -> Any:
    form = {"purpose": "batch-api", "file_name": "in.jsonl"}
    file = client.post("/files/upload", data=form, files={"file": ("in.jsonl", b"\n".join(lines))}).json()
    assert (file["filename"], file["purpose"], file["LineCount"]) == ("in.jsonl", "batch-api", len(lines))
    made = client.post("/batches", json={"input_file_id": file["id"], "endpoint": "/v1/chat/completions"})
    assert (made.status_code, made.json().keys(), made.json()["job"].keys()) == (201, {"job"}, JOB)
    return made.json()["job"]


def ended(client: httpx.Client, job: Any) -> Any:
    return until(lambda seen: seen["status"] in ENDED, lambda: client.get(f"/batches/{job['id']}").json())


def rows(client: httpx.Client, file: str) -> list[Any]:
    return [json.loads(row) for row in client.get(f"/files/{file}/content").text.splitlines()]


def test_a_batch_runs_from_upload_to_results(http: Callable[..., httpx.Client]) -> None:
    with http() as client:
        good, bad, late = openai_line("a"), openai_line("b", "[[mock:status 400]]"), openai_line("c", "[[mock:hang]]")
        job = submit(client, good, bad, late)
        done = ended(client, job)
        assert (done["status"], done["progress"], done["error"]) == ("COMPLETED", 100.0, None)
        [row] = rows(client, done["output_file_id"])
        assert (row["custom_id"], row["response"]["status_code"]) == ("a", 200)
        codes = {row["custom_id"]: row["error"]["code"] for row in rows(client, done["error_file_id"])}
        assert codes == {"b": "400", "c": "504"}
        assert client.get("/batches").json() == [done]
        assert client.delete(f"/files/{job['input_file_id']}").json() == {"id": job["input_file_id"], "deleted": True}


@pytest.mark.parametrize("bad", [b"{", openai_line("x" * 65), openai_line("a"), openai_line("b", model=None)])
def test_a_file_with_one_bad_line_fails_with_a_text(http: Callable[..., httpx.Client], bad: bytes) -> None:
    with http() as client:
        failed = ended(client, submit(client, openai_line("a"), bad))
        assert (failed["status"], failed["output_file_id"]) == ("FAILED", None)
        assert failed["error"].endswith("(line 2)")


def test_a_missing_file_shows_after_the_create(http: Callable[..., httpx.Client]) -> None:
    with http() as client:
        made = client.post("/batches", json={"input_file_id": "file-none", "endpoint": "/v1/chat/completions"})
        assert made.status_code == 201
        assert ended(client, made.json()["job"])["status"] == "FAILED"


def test_a_cancelled_batch_and_live_answers_have_the_same_root(http: Callable[..., httpx.Client]) -> None:
    with http(batch_delay=2.0) as client:
        job = submit(client, openai_line("a"))
        assert client.post(f"/batches/{job['id']}/cancel").json()["status"] == "CANCELING"
        assert ended(client, job)["status"] == "CANCELLED"
        assert client.post("/chat/completions", json=chat("hi")).json()["object"] == "chat.completion"
