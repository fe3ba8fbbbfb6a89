"""What the mock's options do to batches."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import httpx
import openai
import pytest

from llmbatch.mock.batch_call import Call
from llmbatch.mock.batch_openai import OPENAI_BATCHES
from llmbatch.mock.batch_provider import BatchProvider
from llmbatch.mock.batch_results import Shared
from llmbatch.mock.batch_store import BatchStore, StoredFile
from llmbatch.mock.batch_worker import BatchWorker
from llmbatch.mock.provider import Provider
from llmbatch.mock.settings import MockSettings

from .batches import ENDED, ended, openai_line, rows, run, submit

Start = Callable[..., openai.OpenAI]


@pytest.fixture
def client(mock_server: Callable[..., str]) -> Iterator[Start]:
    with ExitStack() as clients:

        def connect(**settings: Any) -> openai.OpenAI:
            url = mock_server(**({"batch_delay": 0.1} | settings))
            return clients.enter_context(openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=5))

        yield connect


async def no_body() -> AsyncIterator[bytes]:
    return
    yield


def ledger_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_shares_of_the_rows_expire_fail_and_go_missing(client: Start, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    one = client(batch_expire=0.2, batch_row_errors=0.2, batch_missing=0.2, ledger=str(ledger))
    ids = {f"r{n}" for n in range(300)}
    done = run(one, *(openai_line(id, id) for id in sorted(ids)))
    answered = {row["custom_id"] for row in rows(one, done.output_file_id)}
    errors = rows(one, done.error_file_id)
    expired = {row["custom_id"] for row in errors if row["error"]}
    failed = {row["custom_id"] for row in errors if row["response"]}
    missing = ids - answered - expired - failed
    assert all(30 < len(some) < 90 for some in (expired, failed, missing))
    assert {row["response"]["status_code"] for row in errors if row["response"]} == {429, 500, 503}
    assert done.status == "expired"
    ran = [line for line in ledger_lines(ledger) if "custom_id" in line]
    assert {line["custom_id"] for line in ran} == ids - expired
    assert {line["custom_id"] for line in ran if line["billed"]} == answered | missing
    assert {line["custom_id"] for line in ran if line["fault"] == "missing"} == missing
    assert len(ran) == len({line["n"] for line in ran}) and {line["batch"] for line in ran} == {done.id}


def test_another_batch_of_the_same_file_draws_again(client: Start) -> None:
    one = client(batch_expire=0.5)
    lines = [openai_line(f"r{n}") for n in range(40)]
    outcomes = [
        {row["custom_id"] for row in rows(one, run(one, *lines).error_file_id)}
        for _ in range(2)
    ]  # fmt: skip
    assert outcomes[0] and outcomes[1] and outcomes[0] != outcomes[1]


def test_the_ledger_has_a_line_for_each_create_and_for_each_row_that_ran(client: Start, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    one = client(ledger=str(ledger))
    done = run(one, openai_line("a", "[[mock:batch expire]]"), openai_line("b"), metadata={"llmbatch": "T"})
    lines = ledger_lines(ledger)
    [create] = [line for line in lines if "tag" in line]
    assert create["batch"] == done.id and create["input"] == done.input_file_id
    assert (create["tag"], create["count"], create["billed"]) == ({"llmbatch": "T"}, 2, False)
    assert [line["custom_id"] for line in lines if line["billed"]] == ["b"]


def test_a_create_is_lost_but_its_batch_is_made(client: Start, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    one = client(batch_lost_create=1.0, ledger=str(ledger))
    with pytest.raises(openai.APIConnectionError):
        submit(one, openai_line("a"))
    [made] = one.batches.list()
    assert ended(one, made).status == "completed"
    [create] = [line for line in ledger_lines(ledger) if "tag" in line]
    assert (create["status"], create["fault"], create["batch"]) == (None, "close", made.id)


def test_a_share_of_creates_is_lost(client: Start) -> None:
    one = client(batch_lost_create=0.5)
    outcomes: Counter[bool] = Counter()
    for _ in range(20):
        try:
            submit(one, openai_line("a"))
            outcomes[True] += 1
        except openai.APIConnectionError:
            outcomes[False] += 1
    assert min(outcomes.values()) > 3
    assert len([*one.batches.list()]) == 20


def test_reads_know_of_a_batch_only_later(tmp_path: Path) -> None:
    clock = [0.0]
    settings, store = MockSettings(batch_lag=5.0, batch_delay=20.0), BatchStore(str(tmp_path))
    shared = Shared(settings, Provider(settings), store, None, count(1), lambda: clock[0])
    provider = BatchProvider(shared, BatchWorker(shared, {"openai": OPENAI_BATCHES}))
    call = Call("POST", "/v1/batches", {}, no_body())
    batch = anyio.run(partial(provider.create, call, id="batch_1", family="openai", file="file-1"))
    for clock[0], known in ((0.0, False), (4.9, False), (5.0, True)):
        assert (provider.find(batch.id, "openai") is not None, len(provider.listed("openai"))) == (known, known)


def test_a_new_batch_is_not_found(client: Start) -> None:
    one = client(batch_lag=60)
    batch = submit(one, openai_line("a"))
    for call in (one.batches.retrieve, one.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            call(batch.id)
    assert [*one.batches.list()] == []


def test_a_full_queue_fails_batches_until_one_has_ended(client: Start) -> None:
    one = client(batch_queue=100, batch_delay=0.5)
    line = openai_line("a", "x" * 240)  # 64 tokens
    first = submit(one, line)
    refused = run(one, line)
    assert refused.errors is not None and refused.errors.data is not None
    assert refused.errors.data[0].code == "token_limit_exceeded"
    assert "Limit: 100 enqueued tokens" in (refused.errors.data[0].message or "")
    assert run(one, openai_line("a", "x" * 240, model="mock-mini")).status == "completed"
    assert ended(one, first).status == "completed"
    assert run(one, line).status == "completed"


@pytest.mark.parametrize("path", ["/messages/batches", "/../v1beta/models/mock-1:batchGenerateContent"])
def test_a_full_queue_refuses_the_create_where_that_is_the_custom(path: str, mock_server: Callable[..., str]) -> None:
    root = mock_server(batch_queue=1).removesuffix("/v1")
    if "messages" in path:
        message = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x" * 100}]}
        body: Any = {"requests": [{"custom_id": "a", "params": message}]}
        reply = httpx.post(f"{root}/v1{path}", json=body, headers={"anthropic-version": "2023-06-01"})
    else:
        request = {"contents": [{"parts": [{"text": "x" * 100}]}]}
        start = {"x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start"}
        address = httpx.post(f"{root}/upload/v1beta/files", headers=start).headers["x-goog-upload-url"]
        finish = {"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"}
        file = httpx.post(address, headers=finish, content=json.dumps({"key": "a", "request": request})).json()["file"]
        body = {"batch": {"displayName": "T", "inputConfig": {"fileName": file["name"]}}}
        reply = httpx.post(f"{root}{path[3:]}", json=body)
    assert reply.status_code == 429


def test_an_order_with_times_is_over_in_the_next_batch(client: Start) -> None:
    one = client()
    lines = [openai_line("a", "[[mock:batch expire times=1]]"), openai_line("b", "[[mock:status 500 times=1]]")]
    first, second = run(one, *lines), run(one, *lines)
    assert sorted(row["custom_id"] for row in rows(one, first.error_file_id)) == ["a", "b"]
    assert (second.status, second.error_file_id) == ("completed", None)


def test_live_answers_ignore_orders_to_batches(client: Start) -> None:
    one = client()
    prompt = "[[mock:batch expire]] [[mock:echo]] hello"
    answer = one.chat.completions.create(model="mock-1", messages=[{"role": "user", "content": prompt}])
    assert answer.choices[0].message.content == "hello"


def test_faults_and_refusals_at_random_meet_calls_about_batches_too(mock_server: Callable[..., str]) -> None:
    url = mock_server(fault_rate=0.5, batch_delay=0.1)
    outcomes: Counter[str] = Counter()
    with httpx.Client(timeout=5) as http:
        for _ in range(40):
            try:
                outcomes[str(http.get(f"{url}/batches").status_code)] += 1
            except httpx.TransportError as error:
                outcomes[type(error).__name__] += 1
    assert outcomes["200"] and outcomes["500"] and len(outcomes) > 3


def test_the_key_is_asked_for(mock_server: Callable[..., str]) -> None:
    url = mock_server(api_key="right")
    assert httpx.get(f"{url}/batches").status_code == 401
    assert httpx.get(f"{url}/batches", headers={"authorization": "Bearer right"}).status_code == 200


def test_a_file_is_gone_when_it_has_expired(tmp_path: Path) -> None:
    store = BatchStore(str(tmp_path))
    store.add_file(StoredFile("file-1", "openai", "in.jsonl", "batch", 0, created=0.0, expires=10.0))
    assert store.file("file-1", "openai", 9.9) is not None
    assert store.file("file-1", "openai", 10.0) is None
    assert store.files("openai", 10.0) == []


def test_a_batch_goes_on_when_its_file_is_deleted(client: Start) -> None:
    one = client(batch_delay=0.3)
    batch = submit(one, openai_line("a"))
    one.files.delete(batch.input_file_id)
    assert ended(one, batch).status == "completed"


def test_an_upload_that_is_no_form_is_refused_and_leaves_nothing(
    mock_server: Callable[..., str], tmp_path: Path
) -> None:
    url = mock_server(batch_dir=str(tmp_path / "d"))
    form = {"content-type": "multipart/form-data; boundary=b"}
    head = b'--b\r\ncontent-disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n{}'
    for body, headers in (
        (b"{}", {"content-type": "application/json"}),
        (b"nonsense", form),
        (head, form),  # it ends early
        (head + b"\r\n--b--\r\n", form),  # without a purpose
    ):
        assert httpx.post(f"{url}/files", content=body, headers=headers).status_code == 400
    assert [*(tmp_path / "d" / "files").iterdir()] == []


def test_the_folder_is_for_its_owner_only(mock_server: Callable[..., str], tmp_path: Path) -> None:
    url = mock_server(batch_dir=str(tmp_path / "d"), batch_delay=0.1)
    with openai.OpenAI(base_url=url, api_key="any") as one:
        run(one, openai_line("a"))
    assert {path.stat().st_mode & 0o077 for path in [tmp_path / "d", *(tmp_path / "d").rglob("*")]} == {0}


def test_two_providers_share_a_folder(client: Start, tmp_path: Path) -> None:
    one, other = client(batch_dir=str(tmp_path), seed=1), client(batch_dir=str(tmp_path), seed=1)
    made = [submit(client, openai_line("a")) for client in (one, other, one)]
    for client_, batch in zip((other, one, other), made, strict=True):
        assert ended(client_, batch).status == "completed"
    assert [batch.id for batch in one.batches.list()] == [batch.id for batch in made][::-1]
    assert {batch.status for batch in other.batches.list()} <= set(ENDED)
