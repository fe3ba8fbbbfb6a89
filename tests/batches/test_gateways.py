"""Servers that copied OpenAI's batches with small differences: none of them makes a batch be paid for twice."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmbatch.core.errand import Errand
from llmbatch.core.errors import ActionNeeded, CeilingReached
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Fault
from llmbatch.core.ticket import Status, Step, line_of
from llmbatch.dialects.batch_anthropic import AnthropicBatches
from llmbatch.dialects.batch_openai import OpenAIBatches
from llmbatch.results.row_file import row_lines
from tests.support.batch_runs import BatchRun, Provider, completion, row
from tests.support.tickets import LOST, Play, answer, refused
from tests.support.virtual_time import EPOCH

FILE = {"id": "file-1"}
ENDED = {"id": "batch-1", "status": "completed", "request_counts": {"completed": 0}}


def play(folder: Path, create: Reply | Fault, pages: Callable[[str], Any], batch: Any = ENDED) -> Play:
    """Return a ticket at a server with this answer to a creation, and these pages of its list."""

    def reply(errand: Errand) -> Reply | Fault:
        path, _, query = errand.address.partition("?")
        match errand.method, path:
            case "POST", "/files":
                return answer(200, FILE)
            case "POST", "/batches":
                return create
            case "GET", "/batches":
                found = pages(query)
                return found if isinstance(found, Reply) else answer(200, found)
        return answer(200, {"id": path.rpartition("/")[2], **batch})

    return Play(folder, reply)


OURS = {"id": "batch-1", "input_file_id": "file-1", "status": "completed", "created_at": EPOCH}


@pytest.mark.parametrize(
    "page",
    [
        [OURS],
        {"data": [OURS]},
        {"batches": [OURS]},
        {"items": [OURS], "has_more": "false"},
        {"data": [{**OURS, "created_at": None}], "has_more": None},
        {"data": [{"id": "batch-1", "created_at": EPOCH}]},
    ],
)
def test_a_lost_batch_is_found_in_a_list_of_any_form(tmp_path: Path, page: Any) -> None:
    at = play(tmp_path, LOST, lambda query: page, batch=OURS)
    at.go()
    assert at.count("POST", "/batches") == 1 and at.run.ticket.batch == "batch-1"


def others(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [
        {"id": f"o{n}", "input_file_id": f"x{n}", "status": "completed", "created_at": EPOCH, **fields}
        for n in range(count)
    ]


def test_a_page_that_is_full_is_followed_where_nobody_says_whether_there_are_more(tmp_path: Path) -> None:
    at = play(tmp_path, LOST, lambda query: {"data": [OURS] if "after=" in query else others(100)})
    at.go()
    assert at.count("POST", "/batches") == 1 and at.run.ticket.batch == "batch-1"


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ({"data": others(100), "has_more": True}, "same page"),
        ({"data": others(3, input_file_id=None)}, "names no input file"),
        ({"object": "list"}, "list of batches"),
        (answer(404), "list of batches"),
    ],
)
def test_a_list_that_cannot_be_read_to_its_end_proves_nothing(tmp_path: Path, page: Any, why: str) -> None:
    at = play(tmp_path, LOST, lambda query: page, batch={})
    with pytest.raises(ActionNeeded, match=why) as stopped:
        at.go()
    assert at.count("POST", "/batches") == 1 and "--adopt" in str(stopped.value.hint)


@pytest.mark.parametrize("made", [{"id": 7}, {"data": OURS}, {"batch": OURS}, {"result": {"id": 7}}])
def test_the_name_of_a_batch_is_found_in_any_wrapping(tmp_path: Path, made: Any) -> None:
    at = play(tmp_path, answer(200, made), lambda query: {"data": []})
    at.go()
    assert at.count("POST", "/batches") == 1 and at.run.ticket.batch in ("batch-1", "7")


def test_a_creation_that_was_answered_well_is_not_asked_for_again_whatever_the_list_says(tmp_path: Path) -> None:
    at = play(tmp_path, answer(200, {"uuid": "u", "state": "queued"}), lambda query: {"data": []})
    with pytest.raises(ActionNeeded, match="uuid") as stopped:
        at.go()
    assert at.count("POST", "/batches") == 1 and "--adopt" in str(stopped.value.hint)
    assert at.run.ticket.step is Step.ASKED and at.run.ticket.answered, "the next run knows it too"


@pytest.mark.parametrize("word", ["done", "Succeeded", "SUCCESS", "Finished", "partially completed"])
def test_every_word_for_an_end_ends_the_wait(word: str) -> None:
    status = OpenAIBatches().status(answer(200, {"id": "b", "status": word, "output_file_id": "o"}))
    assert isinstance(status, Status) and status.ended and not status.failed and status.outputs == ("o",)


def test_the_time_of_an_end_ends_the_wait_whatever_the_word() -> None:
    batch = {"id": "b", "status": "archived", "completed_at": 1, "output_file_ids": ["o", {"id": 7}], "error_file": ""}
    status = OpenAIBatches().status(answer(200, batch))
    assert isinstance(status, Status) and status.ended and status.outputs == ("o", "7")


@pytest.mark.parametrize("errors", [["line 2"], "line 2", {"message": "line 2"}, {"data": [{"message": "line 2"}]}])
def test_why_a_batch_failed_is_read_in_any_form(errors: Any) -> None:
    status = OpenAIBatches().status(answer(200, {"id": "b", "status": "failed", "errors": errors}))
    assert isinstance(status, Status) and [error.message for error in status.errors] == ["line 2"]


@pytest.mark.parametrize(
    ("id", "line"), [(" aaaaaaaaaaaaaaaa-1\t", 1), ("AAAAAAAAAAAAAAAA-0", 0), (1, None), ("b-1", None)]
)
def test_blanks_and_capitals_of_an_id_do_not_matter(id: Any, line: int | None) -> None:
    assert line_of("a" * 16, 2, id) == line


FORMS: dict[str, Callable[[list[bytes]], bytes]] = {
    "mark": lambda rows: b"\xef\xbb\xbf" + b"\n".join(rows),
    "array": lambda rows: b"[" + b",".join(rows) + b"]",
    "pretty": lambda rows: b"\n".join(json.dumps(json.loads(one), indent=2).encode() for one in rows),
    "crlf": lambda rows: b"\r\n\r\n".join(rows),
}


def test_rows_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(gzip.compress(b'{"a":1}\n{"b":2}\n'))
    assert list(row_lines(path)) == [b'{"a":1}\n', b'{"b":2}\n']


@pytest.mark.parametrize("damaged", [b'{"a": {"b": 1', b'{"a": "x', b"<html>", b'"a": 1}'])
def test_damaged_rows_at_the_beginning_hide_no_other(tmp_path: Path, damaged: bytes) -> None:
    path, torn = tmp_path / "rows", b'{"torn": {"c": "'
    path.write_bytes(b"\n".join([damaged, torn, torn, b'{"d":4}', b'{"e":5}']))
    assert list(row_lines(path))[-2:] == [b'{"d":4}\n', b'{"e":5}']


class Formed(Provider):
    """A provider whose files of rows have a form of their own."""

    def __init__(self, form: Callable[[list[bytes]], bytes]) -> None:
        super().__init__(lambda lines: [form([row(line) for line in lines])])


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_found_in_a_file_of_any_form(tmp_path: Path, form: str) -> None:
    run = BatchRun(tmp_path / "out.jsonl", Formed(FORMS[form]))
    assert not run.stops and all(line["status"] == "ok" for line in run.lines.values())
    assert len(run.lines) == 4 and run.provider.sizes == [4]


@pytest.mark.parametrize("content", [b"{}", b'{"url": "https://elsewhere/rows"}', b"\xff\xfe{\0", b"<html>"])
@pytest.mark.parametrize("hold", [True, False])
def test_a_file_without_a_row_of_ours_is_kept_and_nothing_is_bought_again(
    tmp_path: Path, content: bytes, hold: bool
) -> None:
    provider = Formed(lambda rows: content)
    for _ in range(2):
        run = BatchRun(tmp_path / "out.jsonl", provider, hold=hold)
        (stop,) = run.stops
        assert isinstance(stop, CeilingReached) and "--give-up" in str(stop.hint)
        assert not run.lines and provider.sizes == [4]


def test_an_answer_without_its_envelope_is_an_answer(tmp_path: Path) -> None:
    provider = Provider(
        lambda lines: [
            json.dumps({"custom_id": line["custom_id"], "response": completion()}).encode() for line in lines
        ]
    )
    run = BatchRun(tmp_path / "out.jsonl", provider)
    assert {line["status"] for line in run.lines.values()} == {"ok"}


@pytest.mark.parametrize("response", ["yes", ["yes"], {"status_code": 200}])
def test_a_row_with_an_answer_that_cannot_be_read_was_paid_for(tmp_path: Path, response: Any) -> None:
    provider = Provider(
        lambda lines: [json.dumps({"custom_id": line["custom_id"], "response": response}).encode() for line in lines]
    )
    run = BatchRun(tmp_path / "out.jsonl", provider)
    assert provider.sizes == [4] and all(line["billed"] and line["status"] == "failed" for line in run.lines.values())


def test_a_row_with_neither_answer_nor_error_is_in_doubt(tmp_path: Path) -> None:
    provider = Provider(
        lambda lines: [json.dumps({"custom_id": line["custom_id"], "response": None}).encode() for line in lines]
    )
    run = BatchRun(tmp_path / "out.jsonl", provider, hold=True)
    assert provider.sizes == [4] and run.batches.account.held == 4


@pytest.mark.parametrize("counted", [4, None])
def test_rows_that_come_without_a_length_and_too_few_are_fetched_again(tmp_path: Path, counted: int | None) -> None:
    fetches = 0

    def reply(errand: Errand) -> Reply:
        nonlocal fetches
        if errand.address == "/batches/batch-1":
            counts = {"request_counts": {"completed": counted}} if counted else {}
            return answer(200, {"id": "batch-1", "status": "completed", "output_file_id": "rows", **counts})
        fetches += 1
        return Reply(200, {}, b'{"custom_id":"x"}\n' * (4 if fetches == 3 else 2), cut=True)

    at = Play(tmp_path, reply).begin_at(Step.RUNNING, batch="batch-1", created_at=EPOCH, count=4)
    at.go()
    assert fetches == 3


def test_rows_that_are_deleted_name_the_way_out_at_once(tmp_path: Path) -> None:
    def reply(errand: Errand) -> Reply:
        return (
            answer(200, {**ENDED, "output_file_id": "rows"}) if errand.address == "/batches/batch-1" else refused(410)
        )

    at = Play(tmp_path, reply).begin_at(Step.RUNNING, batch="batch-1", created_at=EPOCH)
    with pytest.raises(CeilingReached) as stopped:
        at.go()
    assert "--give-up" in str(stopped.value.hint)


def test_a_page_of_a_proxy_between_good_answers_passes(tmp_path: Path) -> None:
    polls = 0

    def reply(errand: Errand) -> Reply:
        nonlocal polls
        polls += 1
        return Reply(200, {}, b"<html>login</html>") if polls < 3 else answer(200, ENDED)

    at = Play(tmp_path, reply).begin_at(Step.RUNNING, batch="batch-1", created_at=EPOCH)
    at.go()
    assert at.store.steps[-1] == "settled"


def test_rows_are_asked_of_the_server_that_was_asked_for_the_batch_whatever_address_it_names(tmp_path: Path) -> None:
    """A gateway passes on where the provider itself has them, and the provider must not get the gateway's key."""
    elsewhere = "https://api.example.com/v1/messages/batches/batch-1/results?sig=1"
    ended = {"id": "batch-1", "processing_status": "ended", "results_url": elsewhere}
    play = Play(tmp_path, lambda errand: answer(200, ended), AnthropicBatches())
    play.begin_at(Step.RUNNING, batch="batch-1", created_at=EPOCH).go()
    assert [errand.address for errand in play.calls] == [
        "/messages/batches/batch-1",
        "/messages/batches/batch-1/results",
    ]
