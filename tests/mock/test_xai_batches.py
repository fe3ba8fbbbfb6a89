"""xAI's batches: counts and no status, a refused file is a cancelled batch, rows in pages. Its client speaks gRPC."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from .batches import openai_line, until


@pytest.fixture
def http(mock_server: Callable[..., str]) -> Callable[..., httpx.Client]:
    def connect(**settings: Any) -> httpx.Client:
        url = mock_server(**({"batch_delay": 0.2} | settings)).replace("/v1", "/xai/v1")
        return httpx.Client(base_url=url, timeout=5)

    return connect


def submit(client: httpx.Client, *lines: bytes) -> Any:
    file = client.post("/files", data={"expires_after": "3600"}, files={"file": ("in.jsonl", b"\n".join(lines))}).json()
    assert file["expires_at"] == file["created_at"] + 3600
    return client.post("/batches", json={"input_file_id": file["id"], "name": "mine"}).json()


def ended(client: httpx.Client, batch: Any) -> Any:
    def is_over(seen: Any) -> bool:
        return bool(seen["cancel_time"] or (seen["state"]["num_requests"] and not seen["state"]["num_pending"]))

    return until(is_over, lambda: client.get(f"/batches/{batch['batch_id']}").json())


def test_a_batch_runs_from_upload_to_the_last_page(http: Callable[..., httpx.Client]) -> None:
    with http() as client:
        batch = submit(client, openai_line("a"), openai_line("b", "[[mock:status 400]]"), openai_line("c"))
        assert batch["name"] == "mine" and batch["state"]["num_requests"] == 0
        done = ended(client, batch)
        assert done["state"] == {
            "num_requests": 3, "num_pending": 0, "num_success": 2, "num_error": 1, "num_cancelled": 0
        }  # fmt: skip
        rows: dict[str, Any] = {}
        token = None
        while True:
            query = {"limit": 2} | ({"pagination_token": token} if token else {})
            shown = client.get(f"/batches/{batch['batch_id']}/results", params=query).json()
            assert len(shown["results"]) <= 2
            rows |= {row["batch_request_id"]: row["batch_result"] for row in shown["results"]}
            if (token := shown["pagination_token"]) is None:
                break
        assert rows["a"]["response"]["chat_get_completion"]["object"] == "chat.completion"
        assert rows["b"]["error"]["code"] == 3 and rows.keys() == {"a", "b", "c"}
        assert client.get("/batches").json() == {"batches": [done], "pagination_token": None}
        assert client.delete(f"/files/{batch['input_file_id']}").json()["deleted"]


def test_a_file_with_one_bad_line_is_cancelled_with_the_reason(http: Callable[..., httpx.Client]) -> None:
    with http() as client:
        seen = ended(client, submit(client, openai_line("a"), b"{"))
        assert "line 2" in seen["cancel_by_xai_message"] and seen["state"]["num_requests"] == 0


def test_a_cancelled_batch_has_rows_that_say_so(http: Callable[..., httpx.Client]) -> None:
    with http(batch_delay=30.0) as client:
        batch = submit(client, openai_line("a"))
        assert client.post(f"/batches/{batch['batch_id']}:cancel").json()["cancel_time"]
        assert client.get("/batches/none").status_code == 404
