"""Anthropic's messages: requests as the API wants them, answers without a token or a word lost."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.codec.json import dumps
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.job import Route
from llmbatch.core.outcome import Completion, Usage
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.answers import alone
from llmbatch.dialects.anthropic import Anthropic, usage
from llmbatch.dialects.anthropic_request import marked_system
from llmbatch.dialects.request_options import Options
from tests.support.scripted import job

from .values import JSON, PROMPTS

USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}
CALL = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}


def item(prompt: Prompt, **options: Any) -> dict[str, Any]:
    return Anthropic(Options(**{"model": "m", **options})).item(prompt)[1]


def ask(**params: Any) -> dict[str, Any]:
    return item(Prompt(text="hi", params=params))


# requests


def test_a_prompt_is_asked_with_a_cap_since_the_api_wants_one() -> None:
    route, body = Anthropic(Options(model="m")).item(Prompt(text="hi"))
    assert route == Route("/messages", "m", "messages")
    assert body == {"model": "m", "messages": [USER], "max_tokens": 4096}


def test_the_cap_is_the_flags_or_the_records_under_any_name() -> None:
    assert item(Prompt(text="hi"), max_tokens=7)["max_tokens"] == 7
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        body = item(Prompt(text="hi", params={name: 5}), max_tokens=7)
        assert (body["max_tokens"], body.keys() & {"max_completion_tokens"}) == (5, set())


def test_a_thinking_budget_fits_below_the_cap_nobody_gave() -> None:
    assert ask(thinking={"type": "enabled", "budget_tokens": 10_000})["max_tokens"] == 14_096


@pytest.mark.parametrize("role", ["system", "developer"])
def test_system_messages_move_to_the_field_of_their_own(role: str) -> None:
    own = [{"role": role, "content": "a"}, USER, {"role": role, "content": "b"}]
    body = item(Prompt(messages=own, system="other"))
    assert (body["system"], body["messages"]) == ("a\n\nb", [USER])


def test_a_system_prompt_goes_there_too() -> None:
    assert item(Prompt(text="hi", system="be brief"))["system"] == "be brief"


def test_system_blocks_stay_blocks_for_what_they_say_of_the_cache() -> None:
    block = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    own = [{"role": "system", "content": [block]}, {"role": "system", "content": "b"}, USER]
    assert item(Prompt(messages=own))["system"] == [block, {"type": "text", "text": "b"}]


def test_what_is_written_anthropics_way_is_sent_as_it_is() -> None:
    blocks = [{"type": "text", "text": "a", "cache_control": {}}, {"type": "image", "source": {}}]
    tools = [{"name": "f", "input_schema": SCHEMA}, {"type": "web_search_20250305", "name": "web_search"}]
    fields: dict[str, Any] = {"tools": tools, "tool_choice": {"type": "any"}, "stop_sequences": ["."], "top_k": 3}
    body = item(Prompt(messages=[{"role": "user", "content": blocks}], params=fields))
    assert body == {
        "model": "m",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": blocks}],
        **fields,
    }


def test_openais_words_are_translated() -> None:
    function = {"name": "f", "description": "d", "parameters": SCHEMA}
    body = ask(
        stop="END",
        tools=[{"type": "function", "function": function}],
        tool_choice="required",
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        output_config={"effort": "low"},
    )
    assert body["stop_sequences"] == ["END"]
    assert body["tools"] == [{"name": "f", "description": "d", "input_schema": SCHEMA}]
    assert body["tool_choice"] == {"type": "any"}
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}
    assert not body.keys() & {"stop", "response_format"}


@pytest.mark.parametrize(
    ("openais", "anthropics"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_a_choice_of_tools_is_translated(openais: Any, anthropics: Any) -> None:
    assert ask(tool_choice=openais)["tool_choice"] == anthropics


def test_a_conversation_with_tools_and_pictures_is_translated() -> None:
    own = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
            ],
        },
        {"role": "assistant", "content": "I call.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "t1", "content": "42"},
    ]
    user, assistant, tool = item(Prompt(messages=own))["messages"]
    assert [block.get("source") for block in user["content"]] == [
        None,
        {"type": "base64", "media_type": "image/png", "data": "AAAA"},
        {"type": "url", "url": "https://x.test/a.png"},
        {"type": "base64", "media_type": "application/pdf", "data": "BBBB"},
    ]
    assert [block["type"] for block in user["content"]] == ["text", "image", "image", "document"]
    use = {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}}
    assert assistant == {"role": "assistant", "content": [{"type": "text", "text": "I call."}, use]}
    assert tool == {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "42"}]}


@pytest.mark.parametrize("name", ["seed", "logit_bias", "n", "presence_penalty", "user", "store"])
def test_a_parameter_anthropic_has_nothing_like_is_named(name: str) -> None:
    with pytest.raises(RecordError, match=f"'{name}' has no place") as caught:
        ask(**{name: 1})
    assert caught.value.hint
    assert name not in item(Prompt(text="hi", params={name: 1}), overrides={name: None})


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(input=["a"]),
        Prompt(messages=[{"role": "system", "content": "alone"}]),
        Prompt(text="hi", params={"response_format": {"type": "json_object"}}),
        Prompt(text="hi", params={"response_format": 5}),
        Prompt(messages=[{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]),
        Prompt(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}]),
        Prompt(messages=[{"role": "assistant", "content": "", "tool_calls": [{**CALL, "id": None}]}]),
        Prompt(messages=[{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f"}}]}]),
        Prompt(messages=[{"role": "assistant", "tool_calls": 5}]),
        Prompt(body={"messages": []}),
    ],
)
def test_what_cannot_be_asked_is_a_failed_record(prompt: Prompt) -> None:
    with pytest.raises(RecordError):
        item(prompt)


def test_a_ready_body_is_sent_as_given_with_what_the_api_requires() -> None:
    given = {"model": "own", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}], "system": "s"}
    assert item(Prompt(body=given, system="other")) == {**given, "max_tokens": 4096}


def test_streaming_is_a_matter_of_the_request_and_not_of_the_item() -> None:
    dialect = Anthropic(Options(model="m", stream=True))
    one = job(0)
    one.route, one.item = dialect.item(Prompt(text="hi"))
    assert json.loads(dialect.request([one]).body) == {**one.item, "stream": True}
    assert "stream" not in one.item


@given(PROMPTS)
def test_a_record_becomes_a_body_or_is_refused_and_nothing_else(prompt: Prompt) -> None:
    before = repr(prompt)
    try:
        body = item(prompt)
    except RecordError:
        pass
    else:
        assert body["model"] == "m" or prompt.params.get("model") or prompt.body
        dumps(body)
    assert repr(prompt) == before


# answers


def read(body: Any, status: int = 200, *, cut: bool = False, keep: bool = False, **headers: str) -> Completion | Fault:
    one = job(0)
    one.keep_body = keep
    dialect = Anthropic(Options())
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = Reply(status, {k.replace("_", "-"): v for k, v in headers.items()}, content, cut=cut)
    (verdict,) = AnswerReader().read(dialect.request([one]).expected, reply)
    return verdict


def good(*blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    content = list(blocks) or [{"type": "text", "text": "Hi."}]
    return {"id": "msg_1", "type": "message", "model": "m-1", "content": content, "stop_reason": "end_turn", **more}


def completion(body: Any, **options: Any) -> Completion:
    verdict = read(body, **options)
    assert isinstance(verdict, Completion), verdict
    return verdict


def test_the_example_of_the_handbook_is_read() -> None:
    counts = {
        "input_tokens": 12,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 4,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 2},
        "server_tool_use": None,
    }
    done = completion(good(usage=counts, stop_details=None), request_id="req_1")
    assert (done.text, done.finish_reason, done.model, done.request_id) == ("Hi.", "stop", "m-1", "req_1")
    assert done.usage == Usage(19, 5, 4, 3, 2)
    assert done.extra == {"provider_finish_reason": "end_turn"}


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ({"input_tokens": 9, "output_tokens": 2}, Usage(9, 2)),
        ({"input_tokens": 0, "cache_read_input_tokens": 7, "output_tokens": 2}, Usage(7, 2, 7)),
        ({"cache_read_input_tokens": 7, "output_tokens": 2}, Usage(None, 2, 7)),
        ({"input_tokens": "9", "output_tokens": -1, "output_tokens_details": []}, Usage(9)),
        ({"input_tokens": "nine", "output_tokens": -1, "output_tokens_details": []}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_the_input_of_usage_includes_what_came_from_the_cache_and_went_there(raw: Any, normal: Usage | None) -> None:
    assert usage(raw) == normal


@pytest.mark.parametrize(("named", "kept"), [("priority", "priority"), ("standard", None), ("batch", None), (7, None)])
def test_the_tier_that_the_usage_names_is_kept_where_it_is_not_the_usual_one(named: Any, kept: str | None) -> None:
    body = {"content": [], "stop_reason": "end_turn", "usage": {"input_tokens": 1, "service_tier": named}}
    (verdict,) = AnswerReader().read(alone("messages", False), Reply(200, {}, json.dumps(body).encode()))
    assert isinstance(verdict, Completion) and verdict.extra.get("service_tier") == kept


@pytest.mark.parametrize(
    ("own", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        ("news_of_2027", "news_of_2027"),
    ],
)
def test_every_reason_to_stop_has_our_word_and_keeps_its_own(own: str, ours: str) -> None:
    done = completion(good(stop_reason=own))
    assert (done.finish_reason, done.extra.get("provider_finish_reason", own)) == (ours, own)


def test_blocks_are_sorted_into_the_fields_of_a_line() -> None:
    done = completion(
        good(
            {"type": "thinking", "thinking": "Hm, ", "signature": "x"},
            {"type": "redacted_thinking", "data": "y"},
            {"type": "thinking", "thinking": "yes."},
            {"type": "text", "text": "It is "},
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
            {"type": "text", "text": "so."},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
            stop_reason="tool_use",
        )
    )
    assert done.text == "It is so."
    assert done.extra["reasoning"] == "Hm, yes."
    assert done.extra["tool_calls"] == [CALL]


@pytest.mark.parametrize(
    "body",
    [
        good({"type": "text", "text": None}, {"type": "text", "text": "Hi."}),
        good(content={"type": "text", "text": "Hi."}),
        {"type": "completion", "completion": "Hi.", "stop_reason": "stop_sequence", "model": "m-1"},
    ],
)
def test_a_text_in_another_shape_is_not_lost(body: Any) -> None:
    assert completion(body).text == "Hi."


def test_a_call_may_lack_what_it_does_not_need() -> None:
    done = completion(
        good({"type": "tool_use", "name": "f"}, {"type": "tool_use", "id": None, "name": "g", "input": None})
    )
    assert [call["function"] for call in done.extra["tool_calls"]] == [
        {"name": "f", "arguments": "{}"},
        {"name": "g", "arguments": "{}"},
    ]


def test_counts_under_the_names_of_chat_are_counts() -> None:
    used = completion(good(usage={"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12})).usage
    assert used is not None and (used.input_tokens, used.output_tokens) == (9, 3)


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"type": "refusal", "category": "bio", "explanation": "No."}, "No."),
        ({"type": "refusal", "category": "bio", "explanation": None}, "bio"),
        (None, "refused"),
    ],
)
def test_a_refusal_is_an_answer_that_says_why(details: Any, said: str) -> None:
    done = completion(good(stop_reason="refusal", stop_details=details, content=[]))
    assert (done.text, done.finish_reason, done.extra["refusal"]) == (None, "content_filter", said)


UNREADABLE: dict[str, Any] = {
    "empty": b"",
    "html": b"<html><title>Log in</title></html>",
    "a list": [],
    "text": "hello",
    "no content": {"type": "message"},
    "content of null": good(content=None, stop_reason=None),
    "content that is a number": good(content=5),
    "a block of null": good(content=[None]),
    "a block without a type": good({"words": "hi"}),
    "a tool use without a name": good({"type": "tool_use", "id": "1", "input": {}}),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_answer_is_billed_and_kept_byte_for_byte(body: Any) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = read(raw, request_id="req_1")
    assert isinstance(found, Fault)
    assert (found.kind, found.billing, found.raw, found.request_id) == (
        Kind.UNPARSABLE,
        Billing.BILLED,
        raw,
        "req_1",
    )


@given(JSON, JSON, st.booleans())
def test_no_answer_is_too_odd_to_read_and_to_write_again(content: Any, other: Any, keep: bool) -> None:
    body = {"content": content, "usage": other, "stop_reason": other, "stop_details": other, "model": other}
    verdict = read(body, keep=keep)
    if isinstance(verdict, Completion):
        dumps([verdict.text, verdict.finish_reason, verdict.model, verdict.usage, verdict.extra, verdict.body])
    else:
        broken_off = verdict.kind is Kind.SERVER_ERROR
        assert broken_off or (verdict.kind is Kind.UNPARSABLE and verdict.billing is Billing.BILLED and verdict.raw)


# streams


def event(type: str, **fields: Any) -> bytes:
    return f"event: {type}\ndata: {json.dumps({'type': type, **fields})}\n\n".encode()


START = event(
    "message_start", message=good(content=[], stop_reason=None, usage={"input_tokens": 9, "output_tokens": 1})
)
STREAM = [
    START,
    event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""}),
    event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "H"}),
    event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "m"}),
    event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "x"}),
    event("content_block_stop", index=0),
    event("ping"),
    event("content_block_start", index=1, content_block={"type": "text", "text": ""}),
    event("content_block_delta", index=1, delta={"type": "text_delta", "text": "It is"}),
    event("content_block_delta", index=1, delta={"type": "text_delta", "text": " so."}),
    event("content_block_delta", index=1, delta={"type": "citations_delta", "citation": {}}),
    event("content_block_stop", index=1),
    event("content_block_start", index=2, content_block={"type": "tool_use", "id": "t1", "name": "f", "input": {}}),
    event("content_block_delta", index=2, delta={"type": "input_json_delta", "partial_json": '{"x"'}),
    event("content_block_delta", index=2, delta={"type": "input_json_delta", "partial_json": ":1}"}),
    event("content_block_stop", index=2),
    event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 7, "input_tokens": None}),
    event("message_stop"),
]


def streamed(*parts: bytes, cut: bool = False, keep: bool = False) -> Completion | Fault:
    return read(b"".join(parts), cut=cut, keep=keep, content_type="text/event-stream; charset=utf-8")


def test_a_stream_is_folded_into_the_answer_it_would_have_been() -> None:
    done = streamed(*STREAM, keep=True)
    assert isinstance(done, Completion), done
    assert (done.text, done.finish_reason, done.usage) == ("It is so.", "tool_calls", Usage(9, 7))
    assert done.extra["reasoning"] == "Hm"
    assert done.extra["tool_calls"] == [CALL]
    assert done.body["content"][0] == {"type": "thinking", "thinking": "Hm", "signature": "x"}


@pytest.mark.parametrize("end", range(len(STREAM) - 2))
def test_a_stream_that_ends_before_it_says_why_is_cut_and_sent_again(end: int) -> None:
    found = streamed(*STREAM[:end], cut=True)
    assert isinstance(found, Fault)
    assert (found.kind, found.billing, found.retry) == (Kind.PROTOCOL, Billing.DOUBTFUL, True)


def test_a_stream_that_lacks_only_its_last_event_is_a_whole_answer_that_was_paid_for() -> None:
    assert isinstance(streamed(*STREAM[:-1], cut=True), Completion)


@pytest.mark.parametrize(
    ("begun", "billing"), [(STREAM[:1], Billing.THROTTLED), (STREAM[:3], Billing.DOUBTFUL)], ids=["not begun", "begun"]
)
def test_an_error_in_the_stream_is_free_only_before_the_answer_begins(begun: list[bytes], billing: Billing) -> None:
    broken = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    found = streamed(*begun, broken)
    assert isinstance(found, Fault)
    assert (found.kind, found.status, found.billing, found.retry) == (Kind.OVERLOADED, 529, billing, True)


def test_the_input_of_a_tool_that_was_cut_off_is_kept_as_it_is() -> None:
    stop = event("message_delta", delta={"stop_reason": "max_tokens"}, usage={"output_tokens": 7})
    done = streamed(*STREAM[:14], stop, STREAM[-1])
    assert isinstance(done, Completion)
    assert done.extra["tool_calls"][0]["function"]["arguments"] == '{"x"'


@given(st.lists(st.sampled_from(STREAM) | st.builds(lambda value: b"data: %s\n\n" % dumps(value), JSON), max_size=12))
def test_no_stream_is_too_odd_to_read(parts: list[bytes]) -> None:
    verdict = streamed(*parts)
    if isinstance(verdict, Completion):
        dumps([verdict.text, verdict.finish_reason, verdict.model, verdict.usage, verdict.extra])
    else:
        assert verdict.kind in (Kind.PROTOCOL, Kind.UNPARSABLE, Kind.SERVER_ERROR, Kind.NO_CREDIT, Kind.BAD_REQUEST)


def test_a_system_prompt_is_marked_for_the_cache_and_its_key_is_the_same() -> None:
    plain, marking = (Anthropic(Options(model="m", cache_system=lasts)) for lasts in (None, "1h"))
    prompt = Prompt(text="hi", system="Be brief.")
    route, body = marking.item(prompt)
    assert (route, body) == plain.item(prompt)
    asked = replace(job(0), item=body)
    mark = {"type": "ephemeral", "ttl": "1h"}
    sent = json.loads(marking.request([asked]).body)
    assert sent["system"] == [{"type": "text", "text": "Be brief.", "cache_control": mark}]
    assert json.loads(plain.request([asked]).body)["system"] == "Be brief."


@pytest.mark.parametrize("system", ["", [], [{"type": "text", "text": "a", "cache_control": {}}], ["a"], 7])
def test_a_system_prompt_that_cannot_be_marked_or_is_marked_stays(system: Any) -> None:
    assert marked_system(system, "5m") == system
