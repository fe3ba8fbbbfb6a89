"""The official client of Gemini runs whole batches against the mock."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types

from .batches import until

ENDED = {f"JOB_STATE_{state}" for state in ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")}


@pytest.fixture
def client(mock_server: Callable[..., str]) -> Iterator[Callable[..., genai.Client]]:
    with ExitStack() as clients:

        def connect(**settings: Any) -> genai.Client:
            url = mock_server(**({"batch_delay": 0.1} | settings)).removesuffix("/v1")
            made = genai.Client(
                api_key="any", http_options=types.HttpOptions(base_url=url, api_version="v1beta", timeout=5000)
            )
            clients.callback(made.close)
            return made

        yield connect


def line(key: str, prompt: str = "hi", **fields: Any) -> bytes:
    return json.dumps(
        {"key": key, "request": {"contents": [{"role": "user", "parts": [{"text": prompt}]}], **fields}}
    ).encode()


def submit(client: genai.Client, *lines: bytes, model: str = "mock-1") -> types.BatchJob:
    config = types.UploadFileConfig(mime_type="application/jsonl", display_name="in")
    file = client.files.upload(file=io.BytesIO(b"\n".join(lines)), config=config)
    return client.batches.create(model=model, src=file.name, config={"display_name": "T"})  # type: ignore[arg-type]


def state(job: types.BatchJob) -> str:
    assert job.state is not None
    return job.state.name


def ended(client: genai.Client, job: types.BatchJob) -> types.BatchJob:
    return until(lambda seen: state(seen) in ENDED, lambda: client.batches.get(name=job.name or ""))


def rows(client: genai.Client, job: types.BatchJob) -> list[Any]:
    assert job.dest is not None and job.dest.file_name is not None
    return [json.loads(row) for row in client.files.download(file=job.dest.file_name).splitlines()]


def test_a_batch_runs_from_upload_to_delete(client: Callable[..., genai.Client]) -> None:
    one = client(batch_delay=0.4)
    job = submit(one, *(line(f"r{n}", f"question {n}") for n in range(20)))
    assert (job.display_name, job.model) == ("T", "models/mock-1")
    seen = [state(job)]

    def look() -> types.BatchJob:
        found = one.batches.get(name=job.name or "")
        seen.append(state(found))
        return found

    done = until(lambda found: state(found) in ENDED, look)
    order = ["JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"]
    assert seen == sorted(seen, key=order.index) and "JOB_STATE_RUNNING" in seen
    assert job.dest is None and done.end_time is not None
    found = rows(one, done)
    assert sorted(row["key"] for row in found) == sorted(f"r{n}" for n in range(20))
    assert [row["key"] for row in found] != [f"r{n}" for n in range(20)]
    assert all(types.GenerateContentResponse.model_validate(row["response"]).text for row in found)
    assert [listed.name for listed in one.batches.list()] == [job.name]
    one.batches.delete(name=job.name or "")
    with pytest.raises(errors.ClientError, match="404"):
        one.batches.get(name=job.name or "")
    with pytest.raises(errors.ClientError, match="403"):
        rows(one, done)


def test_a_row_says_what_the_live_call_says(client: Callable[..., genai.Client]) -> None:
    one = client()
    row = rows(one, ended(one, submit(one, line("a", "Why is the sky blue?"))))[0]
    body = json.loads(line("a", "Why is the sky blue?"))["request"]
    url = (one._api_client._http_options.base_url or "") + "/v1beta/models/mock-1:generateContent"
    live = httpx.post(url, content=json.dumps(body, separators=(",", ":"))).json()
    assert row["response"]["candidates"] == live["candidates"]


def test_an_upload_comes_in_pieces_and_can_be_read_back_as_an_object(client: Callable[..., genai.Client]) -> None:
    one = client()
    size = 9 * 2**20  # the client sends pieces of 8 MiB
    file = one.files.upload(file=io.BytesIO(b"x" * size), config={"mime_type": "text/plain"})
    again = one.files.get(name=file.name or "")
    assert (again.size_bytes, again.mime_type, again.expiration_time) == (size, "text/plain", file.expiration_time)
    assert [listed.name for listed in one.files.list()] == [file.name]
    one.files.delete(name=file.name or "")
    with pytest.raises(errors.ClientError, match="403"):
        one.files.get(name=file.name or "")


def test_an_upload_that_was_cut_goes_on_where_it_was(mock_server: Callable[..., str]) -> None:
    root = mock_server().removesuffix("/v1")
    start = {"x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start"}
    started = httpx.post(f"{root}/upload/v1beta/files", headers={**start, "x-goog-upload-header-content-length": "6"})
    url = started.headers["x-goog-upload-url"]

    def send(command: str, offset: int = 0, content: bytes = b"") -> httpx.Response:
        headers = {"x-goog-upload-command": command, "x-goog-upload-offset": str(offset)}
        return httpx.post(url, headers=headers, content=content)

    assert send("upload", 0, b"abc").headers["x-goog-upload-status"] == "active"
    assert send("query").headers["x-goog-upload-size-received"] == "3"
    assert send("upload, finalize", 2, b"cdef").status_code == 400
    done = send("upload, finalize", 3, b"def")
    assert (done.headers["x-goog-upload-status"], done.json()["file"]["sizeBytes"]) == ("final", "6")
    assert send("query").status_code == 404


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "empty"),
        ([line("a"), b"{"], "line 2"),
        ([line("a"), b'{"key":"b"}'], "line 2"),
        ([b'{"request":{}}'], "no key"),
        ([line("a"), line("a")], "more than once"),
        ([line("a", temprature=1)], "temprature"),
        ([line("a", contents=[])], "contents is not specified"),
        ([line("a", "[[mock:batch invalid]]")], "told"),
    ],
)
def test_one_bad_line_refuses_the_create(client: Callable[..., genai.Client], lines: list[bytes], told: str) -> None:
    one = client()
    with pytest.raises(errors.ClientError, match=f"400.*{told}"):
        submit(one, *lines)
    assert [*one.batches.list()] == []


def test_a_model_or_a_file_that_is_not_there_refuses_the_create(client: Callable[..., genai.Client]) -> None:
    one = client()
    with pytest.raises(errors.ClientError, match="404"):
        submit(one, line("a"), model="missing-model")
    with pytest.raises(errors.ClientError, match="403"):
        one.batches.create(model="mock-1", src="files/none", config={"display_name": "T"})


def test_rows_that_fail_have_the_codes_of_rpc(client: Callable[..., genai.Client]) -> None:
    one = client()
    faults = {"status code=500": 13, "status code=429": 8, "hang": 4}
    job = ended(one, submit(one, line("good"), *(line(fault, f"[[mock:{fault}]]") for fault in faults)))
    assert {row["key"]: row["error"]["code"] for row in rows(one, job) if "error" in row} == faults


def test_a_batch_that_expires_has_no_results_and_ran_nothing(
    client: Callable[..., genai.Client], tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    one = client(ledger=str(ledger))
    lines = [line("a"), line("b", "[[mock:batch expire times=1]]")]
    job = ended(one, submit(one, *lines))
    assert (state(job), job.dest) == ("JOB_STATE_EXPIRED", None)
    assert not any("custom_id" in json.loads(entry) for entry in ledger.read_text().splitlines())
    assert state(ended(one, submit(one, *lines))) == "JOB_STATE_SUCCEEDED"


def test_a_cancelled_batch_keeps_what_has_run(client: Callable[..., genai.Client]) -> None:
    one = client(batch_delay=3.0)
    job = submit(one, *(line(f"r{n}", f"q{n}") for n in range(40)))
    root = one._api_client._http_options.base_url
    until(
        lambda found: int(found["metadata"]["batchStats"].get("successfulRequestCount", 0)) > 3,
        lambda: httpx.get(f"{root}/v1beta/{job.name}").json(),
    )
    one.batches.cancel(name=job.name or "")
    done = ended(one, job)
    assert state(done) == "JOB_STATE_CANCELLED"
    kinds = ["response" in row for row in rows(one, done)]
    assert len(kinds) == 40 and 3 < sum(kinds) < 40


def test_lists_are_paged_newest_first(client: Callable[..., genai.Client]) -> None:
    one = client()
    made = [submit(one, line("a")).name for _ in range(5)]
    assert [job.name for job in one.batches.list(config={"page_size": 2})] == made[::-1]
