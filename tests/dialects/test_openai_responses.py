"""OpenAI's responses: what is asked, and what a 200 may turn out to be."""

import json
from typing import Any

import pytest

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.outcome import Completion, Usage
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.openai_responses import Responses
from llmbatch.dialects.request_options import Options
from tests.support.scripted import job

MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "Hi."}]}


def body(prompt: Prompt, **options: Any) -> dict[str, Any]:
    return Responses(Options(model="m", **options)).item(prompt)[1]


def read(answer: Any, **headers: str) -> Completion | Fault:
    raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    dialect = Responses(Options())
    (verdict,) = AnswerReader().read(dialect.request([job(1)]).expected, Reply(200, headers, raw))
    return verdict


def response(*output: Any, status: str = "completed", **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 9, "output_tokens": 14, "output_tokens_details": {"reasoning_tokens": 12}}
    return {"model": "m-1", "status": status, "error": None, "output": [*output], "usage": usage} | more


def events(*said: dict[str, Any]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in said)


def test_a_prompt_a_system_prompt_and_a_cap_have_their_places() -> None:
    assert body(Prompt(text="hi", system="s"), max_tokens=5) == {
        "model": "m",
        "input": "hi",
        "instructions": "s",
        "max_output_tokens": 5,
    }
    assert body(Prompt(input=[{"role": "user", "content": "x"}]))["input"] == [{"role": "user", "content": "x"}]


def test_chat_messages_become_items() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}
    said = [
        {"role": "user", "content": [{"type": "text", "text": "what?"}, image, {"type": "input_file"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "that."}]},
        {"role": "user", "content": "sure?"},
    ]
    assert body(Prompt(messages=said))["input"] == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "what?"},
                {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
                {"type": "input_file"},
            ],
        },
        {"role": "assistant", "content": [{"type": "output_text", "text": "that."}]},
        {"role": "user", "content": "sure?"},
    ]


def test_what_a_chat_asks_for_is_asked_for_the_way_it_is_here() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
    params = {"max_tokens": 3, "reasoning_effort": "low", "tools": [tool, {"type": "web_search"}], "tool_choice": tool}
    made = body(Prompt(text="x", params=params | {"response_format": schema}), defaults={"text": {"verbosity": "low"}})
    flat = {"type": "function", "name": "f", "parameters": {}}
    assert made == {
        "model": "m",
        "input": "x",
        "max_output_tokens": 3,
        "reasoning": {"effort": "low"},
        "tools": [flat, {"type": "web_search"}],
        "tool_choice": flat,
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}}},
    }


def test_several_choices_have_no_place() -> None:
    with pytest.raises(RecordError, match="'n'"):
        body(Prompt(text="x"), defaults={"n": 2})


@pytest.mark.parametrize(
    ("given", "word"), [({}, "input"), ({"input": ""}, "input"), ({"input": "x", "background": True}, "background")]
)
def test_a_body_that_cannot_be_answered_is_refused(given: dict[str, Any], word: str) -> None:
    with pytest.raises(RecordError, match=word):
        body(Prompt(body=given))


def test_an_answer_is_all_texts_of_all_messages() -> None:
    reasoning = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
    verdict = read(response(reasoning, MESSAGE, {"type": "web_search_call"}, MESSAGE), **{"x-request-id": "r"})
    assert isinstance(verdict, Completion)
    assert (verdict.text, verdict.finish_reason, verdict.model, verdict.request_id) == ("Hi.Hi.", "stop", "m-1", "r")
    assert verdict.usage == Usage(9, 14, None, None, 12)
    assert verdict.extra["reasoning"] == "Hm."


def test_a_call_and_a_refusal() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    verdict = read(response(call))
    assert isinstance(verdict, Completion) and (verdict.text, verdict.finish_reason) == (None, "tool_calls")
    assert verdict.extra["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]
    refused = read(response({"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}))
    assert isinstance(refused, Completion) and (refused.text, refused.extra["refusal"]) == (None, "no")


@pytest.mark.parametrize(
    ("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("odd", "odd")]
)
def test_an_incomplete_answer_says_why(reason: str, finish: str) -> None:
    verdict = read(response(MESSAGE, status="incomplete", incomplete_details={"reason": reason}))
    assert isinstance(verdict, Completion) and (verdict.text, verdict.finish_reason) == ("Hi.", finish)


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/webp;base64,aGk="}}


@pytest.mark.parametrize(
    ("output", "text", "extra"),
    [
        ([], None, {}),
        ([{"type": "message", "content": "Hi."}], "Hi.", {}),
        ([{"type": "message", "content": None}], None, {}),
        ([{"role": "assistant", "content": [{"text": "Hi."}, {"type": "output_text", "text": None}]}], "Hi.", {}),
        (
            [{"type": "image_generation_call", "result": "aGk=", "output_format": "webp"}, MESSAGE],
            "Hi.",
            {"images": [PICTURE]},
        ),
        (
            [{"type": "message", "content": [MESSAGE["content"][0] | {"annotations": [{"url": "u"}]}]}],  # type: ignore[operator, index]
            "Hi.",
            {"citations": [{"url": "u"}]},
        ),
        (
            [{"type": "message", "content": [MESSAGE["content"][0] | {"logprobs": [{"token": "Hi."}]}]}],  # type: ignore[operator, index]
            "Hi.",
            {"logprobs": {"content": [{"token": "Hi."}]}},
        ),
        ([{"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm."}]}], None, {"reasoning": "Hm."}),
        ([{"type": "reasoning", "summary": "Hm."}], None, {"reasoning": "Hm."}),
    ],
)
def test_what_else_an_output_holds_has_a_field(output: list[Any], text: str | None, extra: dict[str, Any]) -> None:
    verdict = read(response(*output))
    assert isinstance(verdict, Completion) and verdict.text == text
    assert {name: value for name, value in verdict.extra.items() if name != "provider_finish_reason"} == extra


def test_calls_of_other_kinds_and_arguments_that_are_objects() -> None:
    custom = {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"}
    call = {"type": "function_call", "call_id": "d", "name": "g", "arguments": {"x": 1}}
    verdict = read(response(custom, call))
    assert isinstance(verdict, Completion) and verdict.finish_reason == "tool_calls"
    assert verdict.extra["tool_calls"] == [
        {"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}},
        {"id": "d", "type": "function", "function": {"name": "g", "arguments": '{"x":1}'}},
    ]


@pytest.mark.parametrize("used", [{"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}, {}, None])
def test_zeros_alone_are_no_usage(used: Any) -> None:
    verdict = read(response(MESSAGE, usage=used))
    assert isinstance(verdict, Completion) and verdict.usage is None


@pytest.mark.parametrize(
    ("answer", "kind", "billing", "retry"),
    [
        (response(status="failed", error={"code": "server_error"}), Kind.SERVER_ERROR, Billing.SERVER, True),
        (response(status="failed", error={"code": "rate_limit_exceeded"}), Kind.RATE_LIMITED, Billing.THROTTLED, True),
        (response(status="failed", error={"code": "vector_store_timeout"}), Kind.GATEWAY, Billing.DOUBTFUL, True),
        (response(status="failed", error={"code": "invalid_prompt"}), Kind.BAD_REQUEST, Billing.UNBILLED, False),
        (response(status="failed"), Kind.BAD_REQUEST, Billing.UNBILLED, False),
        (response(status="failed", error={"code": "image_file_not_found"}), Kind.BAD_REQUEST, Billing.UNBILLED, False),
        (response(status="failed", error={"code": "insufficient_quota"}), Kind.NO_CREDIT, Billing.UNBILLED, False),
        (response(status="failed", error={"code": "server_is_overloaded"}), Kind.OVERLOADED, Billing.THROTTLED, True),
        (response(status="failed", error={"code": "internal_error"}), Kind.SERVER_ERROR, Billing.SERVER, True),
        (response(status="failed", error={"code": "timeout"}), Kind.GATEWAY, Billing.DOUBTFUL, True),
        (response(status="failed", error={"code": 500, "message": "died"}), Kind.SERVER_ERROR, Billing.SERVER, True),
        (response(status="failed", error={"message": "died"}), Kind.SERVER_ERROR, Billing.SERVER, True),
        (response(status="failed", error={"code": "400", "message": "no"}), Kind.BAD_REQUEST, Billing.UNBILLED, False),
        (
            response(status="incomplete", incomplete_details={"reason": "network_error"}),
            Kind.SERVER_ERROR,
            Billing.SERVER,
            True,
        ),
        (response(status="cancelled"), Kind.SERVER_ERROR, Billing.SERVER, True),
        (response(status="in_progress"), Kind.UNPARSABLE, Billing.BILLED, False),
        ({"error": {"code": 503, "message": "busy"}}, Kind.OVERLOADED, Billing.THROTTLED, True),
        (response(output=None), Kind.UNPARSABLE, Billing.BILLED, False),
        (response({"odd": 1}), Kind.UNPARSABLE, Billing.BILLED, False),
        ([], Kind.UNPARSABLE, Billing.BILLED, False),
        (b"", Kind.UNPARSABLE, Billing.BILLED, False),
    ],
)
def test_what_is_no_answer_inside_a_200(answer: Any, kind: Kind, billing: Billing, retry: bool) -> None:
    verdict = read(answer)
    assert isinstance(verdict, Fault)
    assert (verdict.kind, verdict.billing, verdict.retry) == (kind, billing, retry)
    assert kind is not Kind.UNPARSABLE or verdict.raw is not None


STREAM = {"content-type": "text/event-stream"}


def test_a_stream_is_what_its_last_event_holds() -> None:
    delta = {"type": "response.output_text.delta", "delta": "Hi."}
    stream = events({"type": "response.created", "response": {}}, delta)
    whole = read(stream + events({"type": "response.completed", "response": response(MESSAGE)}), **STREAM)
    assert isinstance(whole, Completion) and whole.text == "Hi."
    cut = read(stream, **STREAM)
    assert isinstance(cut, Fault) and (cut.billing, cut.retry) == (Billing.DOUBTFUL, True)
    for end in (
        {"type": "error", "code": "server_error", "message": "oh"},
        {"type": "response.failed", "response": response(status="failed", error={"code": "server_error"})},
    ):
        broken = read(stream + events(end), **STREAM)
        assert isinstance(broken, Fault) and broken.billing is Billing.SERVER
