"""Streamed answers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.codec.sse import MOST_LINES, CutStream, events
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.outcome import Completion
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.openai_chat import Chat
from llmbatch.dialects.openai_stream import fold
from llmbatch.dialects.request_options import Options
from tests.support.scripted import job


def chunk(delta: dict[str, object], finish: str | None = None, index: int = 0) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c1", "model": "m", "choices": [choice], "usage": None}).encode() + b"\n\n"


USAGE = b'data: {"id":"c1","model":"m","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"


def read(stream: bytes) -> Completion | Fault:
    chat = Chat(Options())
    (verdict,) = AnswerReader().read(
        chat.request((job(0),)).expected, Reply(200, {"content-type": "text/event-stream"}, stream)
    )
    return verdict


@given(st.lists(st.text(min_size=1), min_size=1))
def test_the_pieces_are_joined(pieces: list[str]) -> None:
    stream = b"".join(chunk({"content": piece}) for piece in pieces) + chunk({}, "stop") + USAGE + DONE

    verdict = read(stream)

    assert isinstance(verdict, Completion)
    assert (verdict.text, verdict.finish_reason) == ("".join(pieces), "stop")
    assert verdict.usage is not None
    assert (verdict.usage.input_tokens, verdict.usage.output_tokens) == (9, 2)


def test_comments_and_other_line_ends_change_nothing() -> None:
    plain = chunk({"content": "a"}) + chunk({"content": "b"}, "stop") + DONE
    assert fold(b": ping\n\n" + plain.replace(b"\n", b"\r\n")) == fold(plain)


def test_a_stream_that_ends_in_the_middle_is_in_doubt_and_no_answer() -> None:
    verdict = read(chunk({"content": "half an ans"}))
    assert isinstance(verdict, Fault)
    assert (verdict.kind, verdict.billing, verdict.retry) == (Kind.PROTOCOL, Billing.DOUBTFUL, True)


def test_done_without_a_finish_reason_counts_as_stop() -> None:
    assert fold(chunk({"content": "a"}) + DONE)["choices"][0]["finish_reason"] == "stop"


def test_a_finish_reason_without_done_is_enough() -> None:
    assert fold(chunk({"content": "a"}, "length"))["choices"][0]["finish_reason"] == "length"


def test_an_error_in_the_middle_is_judged_as_one() -> None:
    error = b'data: {"error":{"message":"slow down","code":429}}\n\n'
    verdict = read(chunk({"content": "a"}) + error + DONE)
    assert isinstance(verdict, Fault)
    assert verdict.kind is Kind.RATE_LIMITED


def test_tool_calls_come_in_fragments() -> None:
    first = {"index": 0, "id": "t", "function": {"name": "look", "arguments": '{"x"'}}
    stream = chunk({"tool_calls": [first]})
    stream += chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}, "tool_calls") + DONE
    call = fold(stream)["choices"][0]["message"]["tool_calls"][0]
    assert (call["id"], call["function"]) == ("t", {"name": "look", "arguments": '{"x":1}'})


def test_several_choices_stay_apart() -> None:
    stream = chunk({"content": "b"}, "stop", 1) + chunk({"content": "a"}, "stop", 0) + DONE
    assert [choice["message"]["content"] for choice in fold(stream)["choices"]] == ["a", "b"]


@pytest.mark.parametrize("stream", [b"", b"data: 5\n\n", b"data: {\n\n", b'data: {"choices": 3}\n\n', b"\xff"])
def test_what_is_no_stream_of_chunks_is_refused(stream: bytes) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        fold(stream)
    assert isinstance(read(stream), Fault)


def test_an_empty_stream_is_a_cut_one() -> None:
    with pytest.raises(CutStream):
        fold(b"")


def asked(item: dict[str, object], **options: object) -> dict[str, object]:
    one = job(0)
    one.item = item
    before = json.dumps(item)
    body = json.loads(Chat(Options(stream=True), **options).request((one,)).body)  # type: ignore[arg-type]
    assert json.dumps(one.item) == before, "the item is what the key is the digest of"
    return body  # type: ignore[no-any-return]


def test_a_stream_is_asked_for_with_its_usage_where_the_provider_takes_the_question() -> None:
    assert asked({"model": "m"}) == {"model": "m", "stream": True, "stream_options": {"include_usage": True}}
    assert asked({"model": "m"}, stream_usage=False) == {"model": "m", "stream": True}
    own = {"stream": False, "stream_options": {"include_obfuscation": False}}
    assert asked(own) == {"stream": True, "stream_options": {"include_obfuscation": False, "include_usage": True}}


def test_a_stream_that_is_called_something_else_is_read_all_the_same() -> None:
    chat, stream = Chat(Options()), chunk({"content": "a"}, "stop") + DONE
    for beginning in (b"", b": ping\n\n", b"event: message\n"):
        (verdict,) = AnswerReader().read(
            chat.request((job(0),)).expected, Reply(200, {"content-type": "text/plain"}, beginning + stream)
        )
        assert isinstance(verdict, Completion) and verdict.text == "a"


def test_log_probabilities_are_joined_too() -> None:
    def piece(token: str) -> bytes:
        logprobs = {"content": [{"token": token}], "refusal": None}
        choice = {"index": 0, "delta": {"content": token}, "logprobs": logprobs, "finish_reason": None}
        return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"

    folded = fold(piece("a") + piece("b") + DONE)
    assert folded["choices"][0]["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}]}


def test_a_stream_of_nothing_but_lines_is_no_bomb() -> None:
    verdict = read(b"\n" * (MOST_LINES + 1) + chunk({"content": "a"}, "stop") + DONE)
    assert isinstance(verdict, Fault) and (verdict.kind, verdict.billing) == (Kind.UNPARSABLE, Billing.BILLED)
    assert "lines" in verdict.message


@given(st.lists(st.sampled_from([b"data: a", b"data:b", b"event: e", b": c", b"", b"\xef\xbb\xbf", b"id: 1", b"x"])))
def test_lines_may_end_as_they_like(lines: list[bytes]) -> None:
    whole = [list(events(ending.join(lines))) for ending in (b"\n", b"\r", b"\r\n")]
    assert whole[0] == whole[1] == whole[2]


def test_a_stream_that_ends_within_an_event_is_a_cut_one_though_the_connection_ended_in_order() -> None:
    stream = chunk({"content": "a"}, None) + chunk({"content": "b"}, "stop")
    for end in range(len(stream) - 40, len(stream) - 5):
        fault = read(stream[:end])
        assert isinstance(fault, Fault) and fault.billing is Billing.DOUBTFUL and fault.retry
    broken = read(stream[:-20] + b"\n\n" + DONE)
    assert isinstance(broken, Fault) and broken.kind is Kind.UNPARSABLE
