"""Batch APIs: what is sent, and what is read from whatever comes back."""

import json
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.errand import Errand, FilePart
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Fault
from llmbatch.core.ticket import Sighting, Status, Step, Ticket
from llmbatch.dialects.batch_api import BatchApi, Created, InPages, Page, read_row, wall
from llmbatch.dialects.batch_apis import BATCH_PROVIDERS, batch_api
from llmbatch.dialects.presets import PRESETS

TAG = "abcdefghij012345"
PATHS = {"anthropic": "/messages", "gemini": "/models/m:generateContent"}


def api_of(name: str) -> BatchApi:
    api = batch_api(name)
    assert api is not None
    return api


def ticket(name: str, **facts: Any) -> Ticket:
    path = PATHS.get(name, "/chat/completions")
    return Ticket(tag=TAG, step=Step.UPLOADED, path=path, model="m", count=2, bytes=9, file="f1", batch="b1", **facts)


def reply(body: Any, status: int = 200, **headers: str) -> Reply:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, said, json.dumps(body).encode())


def answered(talk: Generator[Errand, Reply, Any], *replies: Reply) -> tuple[Any, list[Errand]]:
    """Hold a talk with these replies; return its result and what was asked."""
    asked, waiting = [], iter(replies)
    try:
        asked.append(next(talk))
        while True:
            asked.append(talk.send(next(waiting)))
    except StopIteration as end:
        return end.value, asked


@pytest.mark.parametrize("name", BATCH_PROVIDERS)
def test_the_body_of_a_line_can_be_read_again(name: str) -> None:
    api, body = api_of(name), {"model": "m", "messages": [{"role": "user", "content": "a\nb"}]}
    line = api.line(json.dumps(body).encode(), PATHS.get(name, "/chat/completions"), f"{TAG}-0")
    assert b"\n" not in line.rstrip(b"\n")
    assert api.body(line + api.frame.between, "m") == body
    assert api.refuses(ticket(name).route._replace(dialect=PRESETS[name].endpoint)) is None


@pytest.mark.parametrize("name", BATCH_PROVIDERS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429])
def test_a_refused_create_made_no_batch(name: str, status: int) -> None:
    assert isinstance(api_of(name).created(reply({"error": {"message": "no"}}, status)), Fault)


@pytest.mark.parametrize("name", BATCH_PROVIDERS)
@pytest.mark.parametrize("status", [503, 529])
def test_an_overload_is_a_refusal_of_the_provider_if_it_has_its_error(name: str, status: int) -> None:
    assert isinstance(api_of(name).created(reply({"error": {"message": "busy"}}, status)), Fault)
    assert api_of(name).created(reply({"detail": "no upstream"}, status)) is None


@pytest.mark.parametrize("name", BATCH_PROVIDERS)
@pytest.mark.parametrize(
    "answer", [reply({}, 500), reply({}, 408), reply({}, 502), reply("x"), Reply(200, {}, b"<html>")]
)
def test_any_other_answer_to_a_create_leaves_unknown_whether_there_is_a_batch(name: str, answer: Reply) -> None:
    assert api_of(name).created(answer) is None


def test_together_wraps_the_batch_that_it_made() -> None:
    made = api_of("together").created(reply({"job": {"id": "b9", "status": "VALIDATING"}}, 201))
    assert isinstance(made, Created) and (made.batch, made.status.ended) == ("b9", False)


@pytest.mark.parametrize(
    ("batch", "ended", "failed", "outputs"),
    [
        ({"status": "in_progress", "request_counts": {"total": 2, "completed": 1}}, False, False, ()),
        ({"status": "completed", "output_file_id": None, "error_file_id": "e"}, True, False, ("e",)),
        ({"status": "EXPIRED", "output_file_id": "o", "error_file_id": ""}, True, False, ("o",)),
        ({"status": "failed", "errors": {"data": [{"code": "c", "message": "m", "line": 3}]}}, True, True, ()),
        ({"status": "FAILED", "error": "words"}, True, True, ()),
        ({"status": "something new"}, False, False, ()),
    ],
)
def test_the_files_of_every_end_are_read_and_an_unknown_status_is_running(
    batch: dict[str, Any], ended: bool, failed: bool, outputs: tuple[str, ...]
) -> None:
    status = api_of("openai").status(reply({"id": "b1", **batch}))
    assert isinstance(status, Status)
    assert (status.ended, status.failed, status.outputs) == (ended, failed, outputs)


REFUSED = "JSONL file validation failed: Model grok-9 is not supported for batch processing."


@pytest.mark.parametrize(
    ("state", "more", "word", "failed", "outputs"),
    [
        ({}, {}, "validating", False, ()),
        ({"num_requests": 2, "num_pending": 1, "num_success": 1}, {}, "in_progress", False, ()),
        ({"num_requests": 2, "num_pending": 0, "num_success": 1, "num_error": 1}, {}, "completed", False, ("",)),
        ({"num_requests": 2, "num_pending": 1}, {"cancel_time": "2026-09-23"}, "cancelling", False, ()),
        ({"num_requests": 2, "num_pending": 0, "num_cancelled": 2}, {"cancel_time": "x"}, "cancelled", False, ("",)),
        ({"num_requests": 0, "num_pending": 0}, {"cancel_by_xai_message": REFUSED}, "failed", True, ()),
        (None, {"cancel_by_xai_message": REFUSED}, "failed", True, ()),
    ],
)
def test_xai_tells_by_counts_where_a_batch_stands(
    state: Any, more: dict[str, Any], word: str, failed: bool, outputs: tuple[str, ...]
) -> None:
    status = api_of("xai").status(reply({"batch_id": "b1", "state": state, **more}))
    assert isinstance(status, Status)
    assert (status.word, status.failed, status.outputs) == (word, failed, outputs)
    assert status.ended == (word in ("completed", "cancelled", "failed"))
    assert [error.code for error in status.errors] == (["model_not_found"] if failed else [])


@given(
    answers=st.lists(st.text(max_size=20) | st.just('}],"pagination_token":"no"'), max_size=6),
    token=st.none() | st.sampled_from(["", "next"]),
    indent=st.none() | st.just(2),
    broken=st.booleans(),
)
def test_a_page_of_xai_gives_each_row_a_line_whatever_is_in_it(
    answers: list[str], token: str | None, indent: int | None, broken: bool
) -> None:
    api = api_of("xai")
    assert isinstance(api, InPages)
    rows = [
        {"batch_request_id": f"{TAG}-{n}", "batch_result": {"response": {"chat_get_completion": {"text": text}}}}
        for n, text in enumerate(answers)
    ]
    body = json.dumps({"results": rows, "pagination_token": token}, indent=indent).encode()
    if broken:  # no strict JSON any more
        body = body.replace(b'"batch_result"', b'"x": NaN, "batch_result"')
    page = api.page(Reply(200, {}, body))
    assert isinstance(page, Page)
    found = [read_row(api, line) for line in page.rows.splitlines()]
    assert [row and row.id for row in found] == [row["batch_request_id"] for row in rows]
    assert page.following == (token or None)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"results": null}', b"[]", b'"results"'])
def test_what_is_no_page_of_rows_is_a_fault(body: bytes) -> None:
    api = api_of("xai")
    assert isinstance(api, InPages) and isinstance(api.page(Reply(200, {}, body)), Fault)


def test_gemini_without_rows_did_not_run_if_it_expired() -> None:
    body = {"name": "batches/1", "metadata": {"state": "BATCH_STATE_EXPIRED", "batchStats": {"requestCount": "2"}}}
    status = api_of("gemini").status(reply(body))
    assert isinstance(status, Status) and status.ended and status.failed and status.total == 2


ROWS = [
    ("openai", {"custom_id": "i", "response": {"status_code": 200, "body": {"a": 1}}, "error": None}, 200),
    ("openai", {"custom_id": "i", "response": {"status_code": 429, "body": {"error": {}}}}, 429),
    ("openai", {"custom_id": "i", "response": {"status_code": 0, "body": {"error": {"message": "x"}}}}, 500),
    ("openai", {"custom_id": "i", "response": {"body": {"choices": [1], "error": {"message": "", "code": 0}}}}, 200),
    ("openai", {"custom_id": "i", "response": None, "error": {"code": "batch_expired"}}, None),
    ("together", {"custom_id": "i", "error": {"code": "server_error", "message": "x"}}, "fault"),
    ("together", {"custom_id": "i", "error": {"code": "400", "message": "x"}}, 400),
    ("openai", {"custom_id": "i", "response": {"error": {"code": 422, "message": "x"}}}, 422),
    ("openai", {"custom_id": "i", "error": {"code": "60022", "message": "x"}}, "fault"),
    ("anthropic", {"custom_id": "i", "result": {"type": "succeeded", "message": {}}}, 200),
    ("anthropic", {"custom_id": "i", "result": {"type": "expired"}}, None),
    (
        "anthropic",
        {"custom_id": "i", "result": {"type": "errored", "error": {"error": {"type": "invalid_request_error"}}}},
        400,
    ),
    ("gemini", {"key": "i", "response": {}}, 200),
    ("gemini", {"key": "i", "error": {"code": 8, "message": "x"}}, 429),
    ("mistral", {"custom_id": "i", "response": {"status_code": 200, "body": {}}}, 200),
    ("xai", {"batch_request_id": "i", "batch_result": {"response": {"chat_get_completion": {"id": "x"}}}}, 200),
    ("xai", {"batch_request_id": "i", "batch_result": {"error": {"code": 3, "message": "x"}}}, 400),
    ("xai", {"batch_request_id": "i", "error_message": "x"}, 500),
    ("xai", {"batch_request_id": "i", "batch_result": {"error": {"code": 1, "message": "cancelled"}}}, None),
    ("xai", {"batch_request_id": "i", "batch_result": {}}, "fault"),
    ("xai", {"batch_request_id": "i", "batch_result": {"response": "text"}}, "fault"),
]


@pytest.mark.parametrize(("name", "fields", "status"), ROWS)
def test_a_row_is_the_reply_that_its_request_would_have_had(name: str, fields: Any, status: Any) -> None:
    row = api_of(name).row(json.dumps(fields).encode())
    assert row is not None and row.id == "i"
    if status == "fault":
        assert row.fault is not None and not row.given_back
    else:
        assert (row.reply.status if row.reply is not None else None) == status
        assert row.given_back == (status is None)


@pytest.mark.parametrize("name", BATCH_PROVIDERS)
@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"{}"])
def test_no_line_raises(name: str, line: bytes) -> None:
    assert read_row(api_of(name), line) is None


@pytest.mark.parametrize("name", [name for name in BATCH_PROVIDERS if name != "anthropic"])
def test_the_list_tells_which_batch_is_ours(name: str) -> None:
    mine = {"id": "b2", "input_file_id": "f1", "input_files": ["f1"], "created_at": 100, "status": "RUNNING"}
    other = {"id": "b3", "input_file_id": "f2", "input_files": ["f2"], "created_at": 100}
    named = [{"name": "b2", "metadata": {"displayName": f"llmbatch-{TAG}"}}, {"name": "b3", "metadata": {}}]
    batches = [
        {"batch_id": "b3", "name": "x"},
        {"batch_id": "b2", "name": f"llmbatch-{TAG}", "create_time": "2026-11-27"},
    ]
    listed = {"data": [other, mine], "operations": named, "batches": batches, "has_more": False}
    seen, _ = answered(api_of(name).look(ticket(name), 0.0), reply(listed))
    assert [one.batch for one in seen] == ["b2"] and seen[0].ours


def test_at_anthropic_only_rows_tell_whose_a_batch_is() -> None:
    def batch(id: str, status: str, count: int = 2) -> dict[str, Any]:
        return {
            "id": id,
            "processing_status": status,
            "created_at": "2026-01-01T00:00:00Z",
            "request_counts": {"processing": count, "succeeded": 0},
        }

    created = wall("2026-01-01T00:00:00Z")
    listed = {
        "data": [batch("run", "in_progress"), batch("big", "ended", 3), batch("mine", "ended"), batch("not", "ended")]
    }
    rows = Reply(200, {}, json.dumps({"custom_id": f"{TAG}-1", "result": {"type": "expired"}}).encode())
    others = Reply(200, {}, json.dumps({"custom_id": "x", "result": {"type": "expired"}}).encode())
    seen, asked = answered(api_of("anthropic").look(ticket("anthropic"), created - 600), reply(listed), rows, others)
    assert seen == [Sighting("run", created, None, False), Sighting("mine", created, True, True)]
    assert all(errand.only for errand in asked[1:])


def test_uploads_and_creates_carry_the_file_and_our_tag() -> None:
    uploaded, asked = answered(api_of("openai").upload(ticket("openai"), "/x/T.in"), reply({"id": "f7"}))
    assert uploaded.file == "f7" and isinstance(asked[0].body, FilePart) and asked[0].body.path == "/x/T.in"
    create = json.loads(bytes(api_of("openai").create(ticket("openai"), "/x/T.in").body))  # type: ignore[arg-type]
    assert create["input_file_id"] == "f1" and create["metadata"] == {"llmbatch": TAG}
    assert "metadata" not in json.loads(bytes(api_of("together").create(ticket("together"), "").body))  # type: ignore[arg-type]
    azure = api_of("azure").upload(ticket("azure"), "/x/T.in")
    waited, asked = answered(
        azure, reply({"id": "f8", "status": "pending"}), reply({"id": "f8", "status": "processed"})
    )
    assert waited.file == "f8" and len(asked) == 2
    google, asked = answered(
        api_of("gemini").upload(ticket("gemini"), "/x/T.in"),
        reply({}, x_goog_upload_url="https://h/u"),
        reply({"file": {"name": "files/9"}}),
    )
    assert google.file == "files/9" and asked[1].address == "https://h/u"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(1700000000, 1.7e9), (1700000000123, 1700000000.123), ("1700000000", 1.7e9), ("2023-11-14T22:13:20Z", 1.7e9)],
)
def test_times_are_read_in_every_form(value: Any, seconds: float) -> None:
    assert wall(value) == pytest.approx(seconds)
    assert wall(None) == wall("x") == wall(True) == 0.0
