"""The official client of OpenAI runs whole batches against the mock."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch

from .batches import ENDED, ended, openai_line, rows, run, submit, until


@pytest.fixture
def client(mock_server: Callable[..., str]) -> Iterator[Callable[..., openai.OpenAI]]:
    with ExitStack() as clients:

        def connect(root: str = "/v1", key: str = "sk-any", **settings: Any) -> openai.OpenAI:
            url = mock_server(**({"batch_delay": 0.1} | settings)).removesuffix("/v1") + root
            return clients.enter_context(openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=5))

        yield connect


def test_a_batch_runs_from_upload_to_results(client: Callable[..., openai.OpenAI]) -> None:
    one = client(batch_delay=0.5)
    file = one.files.create(
        file=("in.jsonl", b"\n".join(openai_line(f"r{n}", f"question {n}") for n in range(20))),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert (file.purpose, file.filename, file.expires_at) == ("batch", "in.jsonl", file.created_at + 3600)
    batch = one.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"tag": "T"},
    )
    assert (batch.status, batch.metadata, batch.input_file_id) == ("validating", {"tag": "T"}, file.id)
    statuses: dict[str, int] = {}

    def look() -> Batch:
        seen = one.batches.retrieve(batch.id)
        assert seen.request_counts is not None
        statuses[seen.status] = seen.request_counts.completed
        return seen

    done = until(lambda seen: seen.status in ENDED, look)
    order = ["validating", "in_progress", "finalizing", "completed"]
    assert [*statuses] == sorted(statuses, key=order.index) and "in_progress" in statuses
    assert sorted(statuses.values()) == [*statuses.values()]
    assert done.error_file_id is None
    answers = rows(one, done.output_file_id)
    assert sorted(row["custom_id"] for row in answers) == sorted(f"r{n}" for n in range(20))
    assert [row["custom_id"] for row in answers] != [f"r{n}" for n in range(20)]
    assert done.usage is not None
    assert done.usage.total_tokens == sum(row["response"]["body"]["usage"]["total_tokens"] for row in answers)
    assert [listed.id for listed in one.batches.list()] == [batch.id]
    assert one.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        one.files.retrieve(file.id)


def test_a_row_says_what_the_live_call_says(client: Callable[..., openai.OpenAI]) -> None:
    one = client()
    done = run(one, openai_line("a", "Why is the sky blue?"))
    live = one.chat.completions.create(
        model="mock-1", messages=[{"role": "user", "content": "Why is the sky blue?"}]
    ).model_dump()
    body = rows(one, done.output_file_id)[0]["response"]["body"]
    assert body["choices"][0]["message"]["content"] == live["choices"][0]["message"]["content"]
    assert {*body} <= {*live}


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/responses", {"model": "mock-1", "input": "hi"}),
        ("/v1/completions", {"model": "mock-1", "prompt": ["a", "b"]}),
        ("/v1/embeddings", {"model": "mock-1", "input": ["a", "b", "c"]}),
    ],
)
def test_other_endpoints_are_served(client: Callable[..., openai.OpenAI], endpoint: str, body: dict[str, Any]) -> None:
    one = client()
    line = {"custom_id": "a", "method": "POST", "url": endpoint, "body": body}
    done = run(one, json.dumps(line).encode(), endpoint=endpoint)
    answered = rows(one, done.output_file_id)[0]["response"]["body"]
    assert len(answered.get("data") or answered.get("choices") or answered["output"]) == len(
        body.get("prompt") or body["input"] if isinstance(body.get("input"), list) else body.get("prompt") or [1]
    )


@pytest.mark.parametrize(
    ("lines", "code", "line"),
    [
        ([], "empty_file", None),
        ([openai_line("a"), b"{"], "invalid_json_line", 2),
        ([openai_line("a"), openai_line("b"), openai_line("a")], "duplicate_custom_id", 3),
        ([b'{"method":"POST","url":"/v1/chat/completions","body":{}}'], "missing_required_parameter", 1),
        ([openai_line("a"), openai_line("b", model="mock-mini")], "mismatched_model", 2),
        ([openai_line("a", url="/v1/embeddings")], "invalid_url", 1),
        ([openai_line("a", model="missing-model")], "model_not_found", 1),
        ([openai_line("a", stream=True)], "streaming_unsupported", 1),
        ([openai_line("a", model=None)], "invalid_request", 1),
        ([openai_line("a"), openai_line("b", "[[mock:batch invalid]]")], "invalid_request", 2),
    ],
)
def test_a_file_with_one_bad_line_does_not_run(
    client: Callable[..., openai.OpenAI], lines: list[bytes], code: str, line: int | None, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    failed = run(client(ledger=str(ledger)), *lines)
    assert failed.status == "failed"
    assert failed.errors is not None and failed.errors.data is not None
    assert [(error.code, error.line) for error in failed.errors.data] == [(code, line)]
    assert failed.request_counts is not None and failed.request_counts.total == 0
    assert (failed.output_file_id, failed.error_file_id) == (None, None)
    assert not any("custom_id" in json.loads(line) for line in ledger.read_text().splitlines())


def test_a_file_that_is_none_for_batches_fails_the_batch(client: Callable[..., openai.OpenAI]) -> None:
    one = client()
    other = one.files.create(file=("x.txt", b"words"), purpose="user_data")
    for id in ("file-nobodys", "../batches", other.id):
        made = one.batches.create(input_file_id=id, endpoint="/v1/chat/completions", completion_window="24h")
        failed = ended(one, made)
        assert failed.errors is not None and failed.errors.data is not None
        assert failed.errors.data[0].code == "invalid_request"


@pytest.mark.parametrize(
    "fields",
    [
        {"endpoint": "/v1/moderations"},
        {"completion_window": "soon"},
        {"metadata": {"key": "x" * 513}},
        {"metadata": {str(n): "x" for n in range(17)}},
    ],
)
def test_a_create_that_makes_no_sense_is_refused(client: Callable[..., openai.OpenAI], fields: dict[str, Any]) -> None:
    one = client()
    with pytest.raises(openai.BadRequestError):
        submit(one, openai_line("a"), **fields)
    assert [*one.batches.list()] == []


def test_rows_that_fail_stand_in_the_error_file(client: Callable[..., openai.OpenAI]) -> None:
    one = client()
    done = run(
        one,
        openai_line("bad", "[[mock:status code=400]]"),
        openai_line("slow", "[[mock:hang]]"),
        openai_line("wrong", messages="none"),
    )
    assert (done.status, done.output_file_id) == ("completed", None)
    failed = {row["custom_id"]: row for row in rows(one, done.error_file_id)}
    assert failed["bad"]["response"]["status_code"] == failed["wrong"]["response"]["status_code"] == 400
    assert failed["bad"]["error"] is None and "error" in failed["bad"]["response"]["body"]
    assert (failed["slow"]["response"], failed["slow"]["error"]["code"]) == (None, "request_timeout")


def test_rows_expire_go_missing_come_twice_and_are_broken_as_ordered(client: Callable[..., openai.OpenAI]) -> None:
    one = client()
    orders = ("expire", "missing", "duplicate-row", "stranger", "unreadable")
    done = run(one, *(openai_line(order, f"[[mock:batch {order}]]") for order in orders))
    assert done.status == "expired"
    assert [(row["custom_id"], row["error"]["code"]) for row in rows(one, done.error_file_id)] == [
        ("expire", "batch_expired")
    ]
    lines = one.files.content(done.output_file_id or "").text.splitlines()
    broken = [line for line in lines if not line.endswith("}")]
    found = [json.loads(line) for line in lines if line not in broken]
    ids = sorted(row["custom_id"].partition("-")[0] for row in found)
    assert (len(broken), ids) == (1, ["duplicate", "duplicate", "stranger", "stranger"])
    twice = [row["response"]["body"]["choices"] for row in found if row["custom_id"] == "duplicate-row"]
    assert twice[0] != twice[1]


def test_a_cancelled_batch_keeps_what_has_run(client: Callable[..., openai.OpenAI]) -> None:
    one = client(batch_delay=3.0)
    batch = submit(one, *(openai_line(f"r{n}", f"q{n}") for n in range(40)))
    until(lambda seen: seen.request_counts.completed > 3, lambda: one.batches.retrieve(batch.id))
    assert one.batches.cancel(batch.id).status == "cancelling"
    assert one.batches.cancel(batch.id).status == "cancelling"
    done = ended(one, batch)
    assert done.status == "cancelled"
    answered, left = rows(one, done.output_file_id), rows(one, done.error_file_id)
    assert len(answered) + len(left) == 40 and len(answered) > 3
    assert {row["error"]["code"] for row in left} == {"batch_cancelled"}
    with pytest.raises(openai.ConflictError):
        one.batches.cancel(batch.id)


def test_what_is_not_there_is_not_found(client: Callable[..., openai.OpenAI]) -> None:
    one = client()
    calls: list[Callable[[str], Any]] = [
        one.batches.retrieve,
        one.batches.cancel,
        one.files.retrieve,
        one.files.content,
        one.files.delete,
    ]
    for call in calls:
        for id in ("batch_none", "..%2Flock"):
            with pytest.raises(openai.NotFoundError):
                call(id)


def test_lists_are_paged_newest_first(client: Callable[..., openai.OpenAI]) -> None:
    one = client()
    made = [submit(one, openai_line("a")).id for _ in range(5)]
    assert [batch.id for batch in one.batches.list(limit=2)] == made[::-1]


def test_azures_paths_are_served_and_its_uploads_are_pending_at_first(
    client: Callable[..., openai.OpenAI],
) -> None:
    one = client("/openai/v1", batch_delay=25.0).with_options(default_headers={"api-key": "any"})
    file = one.files.create(file=("in.jsonl", openai_line("a", url="/chat/completions")), purpose="batch")
    assert file.status == "pending"  # type: ignore[comparison-overlap]
    with pytest.raises(openai.BadRequestError):
        one.batches.create(input_file_id=file.id, endpoint="/chat/completions", completion_window="24h")  # type: ignore[arg-type]
    until(lambda seen: seen.status == "processed", lambda: one.files.retrieve(file.id))
    made = one.batches.create(input_file_id=file.id, endpoint="/chat/completions", completion_window="24h")  # type: ignore[arg-type]
    assert made.status == "validating"
