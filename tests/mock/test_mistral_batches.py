"""The official client of Mistral runs whole batches against the mock."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from mistralai.client.models import BatchJob

from .batches import chat, until

ENDED = ("SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED")


@pytest.fixture
def client(mock_server: Callable[..., str]) -> Iterator[Callable[..., Mistral]]:
    with ExitStack() as clients:

        def connect(**settings: Any) -> Mistral:
            url = mock_server(**({"batch_delay": 0.1} | settings)).removesuffix("/v1")
            return clients.enter_context(Mistral(api_key="any", server_url=url, timeout_ms=5000))

        yield connect


def line(custom_id: str, prompt: str = "hi") -> bytes:
    body = {name: value for name, value in chat(prompt).items() if name != "model"}
    return json.dumps({"custom_id": custom_id, "body": body}).encode()


def submit(client: Mistral, *lines: bytes, **fields: Any) -> BatchJob:
    content = b"\n".join(lines)
    file = client.files.upload(file={"file_name": "in.jsonl", "content": content}, purpose="batch")
    assert (file.source, file.sample_type, file.num_lines) == ("upload", "batch_request", len(lines))
    asked = {"endpoint": "/v1/chat/completions", "model": "mock-1"} | fields
    return client.batch.jobs.create(input_files=[file.id], **asked)


def ended(client: Mistral, job: BatchJob) -> BatchJob:
    return until(lambda seen: seen.status in ENDED, lambda: client.batch.jobs.get(job_id=job.id))


def rows(client: Mistral, file_id: Any) -> list[Any]:
    return [json.loads(row) for row in client.files.download(file_id=file_id).read().splitlines()]


def test_a_job_runs_from_upload_to_results(client: Callable[..., Mistral]) -> None:
    one = client(batch_delay=0.4)
    job = submit(
        one, *(line(f"r{n}", f"question {n}") for n in range(20)), metadata={"llmbatch": "T"}, timeout_hours=48
    )
    seen: list[str] = [job.status]

    def look() -> BatchJob:
        found = one.batch.jobs.get(job_id=job.id)
        seen.append(found.status)
        return found

    done = until(lambda found: found.status in ENDED, look)
    assert seen == sorted(seen, key=["QUEUED", "RUNNING", "SUCCESS"].index) and "RUNNING" in seen
    assert (done.total_requests, done.succeeded_requests, done.error_file) == (20, 20, None)
    found = rows(one, done.output_file)
    assert sorted(row["custom_id"] for row in found) == sorted(f"r{n}" for n in range(20))
    assert {row["response"]["body"]["model"] for row in found} == {"mock-1"}
    result = one.files.retrieve(file_id=str(done.output_file))
    assert (result.sample_type, result.source, result.num_lines) == ("batch_result", "mistral", 20)


def test_a_lost_job_is_found_by_its_metadata(client: Callable[..., Mistral]) -> None:
    one = client()
    ours = submit(one, line("a"), metadata={"llmbatch": "ours"})
    submit(one, line("a"), metadata={"llmbatch": "theirs"})
    found = one.batch.jobs.list(metadata={"llmbatch": "ours"})
    assert found.data is not None
    assert ([job.id for job in found.data], found.total) == ([ours.id], 1)
    assert one.batch.jobs.list().total == 2


@pytest.mark.parametrize("bad", [b"{", b'{"custom_id":"b"}', line("a"), line("b", "[[mock:batch invalid]]")])
def test_a_file_with_one_bad_line_does_not_run(client: Callable[..., Mistral], bad: bytes) -> None:
    one = client()
    failed = ended(one, submit(one, line("a"), bad))
    assert (failed.status, failed.output_file, len(failed.errors)) == ("FAILED", None, 1)
    assert "line 2" in failed.errors[0].message


def test_a_cancelled_job_keeps_what_has_run(client: Callable[..., Mistral]) -> None:
    one = client(batch_delay=3.0)
    job = submit(one, *(line(f"r{n}", f"q{n}") for n in range(40)))
    until(lambda seen: seen.completed_requests > 3, lambda: one.batch.jobs.get(job_id=job.id))
    assert one.batch.jobs.cancel(job_id=job.id).status == "CANCELLATION_REQUESTED"
    done = ended(one, job)
    assert done.status == "CANCELLED"
    assert len(rows(one, done.output_file)) + len(rows(one, done.error_file)) == 40
    assert one.batch.jobs.delete(job_id=job.id).deleted


def test_what_makes_no_sense_is_refused(client: Callable[..., Mistral]) -> None:
    one = client()
    for fields in ({"model": "missing-model"}, {"endpoint": "/v1/ocr"}, {"timeout_hours": 1000}):
        with pytest.raises(SDKError):
            submit(one, line("a"), **fields)
    with pytest.raises(SDKError):
        one.batch.jobs.get(job_id="none")


def test_a_job_out_of_time_keeps_what_has_run(client: Callable[..., Mistral]) -> None:
    one = client()
    done = ended(one, submit(one, line("a"), line("b", "[[mock:batch expire]]")))
    assert done.status == "TIMEOUT_EXCEEDED"
    assert [row["custom_id"] for row in rows(one, done.output_file)] == ["a"]
