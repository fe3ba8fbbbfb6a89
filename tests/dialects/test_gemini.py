"""Gemini's generateContent: requests as the API wants them, answers without a token or a word lost."""

import json
from contextlib import suppress
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
from llmbatch.dialects.gemini import Gemini, usage
from llmbatch.dialects.request_options import Options
from tests.support.scripted import job

from .values import JSON, PROMPTS

USER = {"role": "user", "parts": [{"text": "hi"}]}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}


def item(prompt: Prompt, **options: Any) -> dict[str, Any]:
    return Gemini(Options(**{"model": "m", **options})).item(prompt)[1]


def ask(**params: Any) -> dict[str, Any]:
    return item(Prompt(text="hi", params=params))


# requests


def test_a_prompt_is_asked_at_the_path_of_its_model() -> None:
    route, body = Gemini(Options(model="m-1")).item(Prompt(text="hi"))
    assert route == Route("/models/m-1:generateContent", "m-1", "gemini")
    assert body == {"contents": [USER]}
    assert Gemini(Options(model="models/m-1")).item(Prompt(text="hi"))[0] == route


def test_streaming_is_a_matter_of_the_request_and_not_of_the_route() -> None:
    dialect = Gemini(Options(model="m", stream=True))
    one = job(0)
    one.route, one.item = dialect.item(Prompt(text="hi"))
    assert one.route.path == "/models/m:generateContent"
    assert dialect.request([one]).path == "/models/m:streamGenerateContent?alt=sse"
    own = Gemini(Options(model="m", stream=True), path="/v1/{model}:generateContent?x=1")
    one.route, one.item = own.item(Prompt(text="hi"))
    assert own.request([one]).path == "/v1/m:streamGenerateContent?x=1&alt=sse"


def test_a_record_may_ask_for_a_stream_itself() -> None:
    route, body = Gemini(Options(model="m", defaults={"stream": True})).item(Prompt(text="hi"))
    assert route.path == "/models/m:streamGenerateContent?alt=sse"
    assert body == {"contents": [USER]}


def test_parameters_stand_where_gemini_wants_them_under_any_name() -> None:
    body = item(
        Prompt(
            text="hi",
            params={
                "top_p": 0.5,
                "stop": "END",
                "n": 2,
                "responseMimeType": "text/plain",
                "generationConfig": {"topK": 3, "news_of_2027": 1},
                "safety_settings": [],
                "cachedContent": "c",
            },
        ),
        max_tokens=7,
        defaults={"temperature": 0, "top_k": 9},
        overrides={"seed": 1},
    )
    assert body["generationConfig"] == {
        "topP": 0.5,
        "stopSequences": ["END"],
        "candidateCount": 2,
        "responseMimeType": "text/plain",
        "topK": 3,
        "news_of_2027": 1,
        "maxOutputTokens": 7,
        "temperature": 0,
        "seed": 1,
    }
    assert (body["safetySettings"], body["cachedContent"]) == ([], "c")
    assert body.keys() == {"contents", "generationConfig", "safetySettings", "cachedContent"}


def test_null_removes_a_parameter_and_flags_do_not_bring_it_back() -> None:
    body = item(Prompt(text="hi", params={"max_tokens": None, "generationConfig": {"temperature": None}}),
                max_tokens=7, defaults={"temperature": 0})  # fmt: skip
    assert body == {"contents": [USER]}


def test_system_messages_and_prompts_move_to_the_field_of_their_own() -> None:
    own = [{"role": "system", "content": "a"}, {"role": "user", "content": "hi"}, {"role": "developer", "content": "b"}]
    body = item(Prompt(messages=own, system="other"))
    assert body == {"systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]}, "contents": [USER]}
    assert item(Prompt(text="hi", system="s"))["systemInstruction"] == {"parts": [{"text": "s"}]}


def test_what_is_written_geminis_way_is_sent_as_it_is() -> None:
    tools = [{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]
    messages = [USER, {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}, {"role": "user", "parts": []}]
    fields = {"tools": tools, "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}
    assert item(Prompt(messages=messages, params=fields)) == {"contents": messages, **fields}


def test_openais_words_are_translated() -> None:
    function = {"name": "f", "description": "d", "parameters": SCHEMA}
    body = ask(
        tools=[{"type": "function", "function": function}, {"googleSearch": {}}],
        tool_choice="required",
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    )
    declared = {"name": "f", "description": "d", "parametersJsonSchema": SCHEMA}
    assert body["tools"] == [{"googleSearch": {}}, {"functionDeclarations": [declared]}]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    assert body["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    chosen = ask(tool_choice={"type": "function", "function": {"name": "f"}})["toolConfig"]
    assert chosen == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}
    assert ask(response_format={"type": "json_object"})["generationConfig"] == {"responseMimeType": "application/json"}
    assert ask(response_format={"type": "text"}) == {"contents": [USER]}


def test_a_conversation_with_tools_and_pictures_is_translated() -> None:
    own = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "CCCC", "format": "wav"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "c2"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "tool", "tool_call_id": "c2", "content": "43"},
        {"role": "user", "content": "so?"},
    ]
    user, model, tool, last = item(Prompt(messages=own))["contents"]
    assert user["parts"] == [
        {"text": "look"},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"fileData": {"fileUri": "https://x.test/a.png"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "CCCC"}},
    ]
    assert model["role"] == "model"
    assert model["parts"][0] == {"functionCall": {"id": "c1", "name": "f", "args": {"x": 1}}}
    answers = [
        {"id": "c1", "name": "f", "response": {"result": "42"}},
        {"id": "c2", "name": "f", "response": {"result": "43"}},
    ]
    assert tool == {"role": "user", "parts": [{"functionResponse": answer} for answer in answers]}
    assert last == {"role": "user", "parts": [{"text": "so?"}]}


@pytest.mark.parametrize("name", ["logit_bias", "parallel_tool_calls", "user", "min_p"])
def test_a_parameter_gemini_has_nothing_like_is_named(name: str) -> None:
    with pytest.raises(RecordError, match=f"'{name}' has no place") as caught:
        ask(**{name: 1})
    assert caught.value.hint
    assert name not in item(Prompt(text="hi", params={name: 1}), overrides={name: None})


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(input=["a"]),
        Prompt(messages=[{"role": "system", "content": "alone"}]),
        Prompt(messages=[{"role": "user", "content": 5}]),
        Prompt(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": None}}]}]),
        Prompt(messages=[{"role": "user", "content": [{"type": "document"}]}]),
        Prompt(messages=[{"role": "tool", "tool_call_id": "c9", "content": "x"}]),
        Prompt(messages=[{"role": "assistant", "tool_calls": ["f"]}]),
        Prompt(text="hi", params={"tool_choice": "some"}),
        Prompt(text="hi", params={"response_format": {"type": "json_schema"}}),
        Prompt(text="hi", params={"generationConfig": 5}),
        Prompt(body={"messages": [{"role": "user", "content": "hi"}]}),
    ],
)
def test_what_cannot_be_asked_is_a_failed_record(prompt: Prompt) -> None:
    with pytest.raises(RecordError):
        item(prompt)


def test_a_ready_body_is_sent_as_given() -> None:
    given = {"contents": [USER], "generationConfig": {"temperature": 1, "other": {}}, "labels": {"a": "b"}}
    assert item(Prompt(body=given)) == given
    assert item(Prompt(body=given, system="s"))["systemInstruction"] == {"parts": [{"text": "s"}]}


@given(PROMPTS)
def test_a_record_becomes_a_body_or_is_refused_and_nothing_else(prompt: Prompt) -> None:
    before = repr(prompt)
    with suppress(RecordError):
        dumps(item(prompt))
    assert repr(prompt) == before


# answers


def read(body: Any, status: int = 200, *, cut: bool = False, keep: bool = False, **headers: str) -> Completion | Fault:
    one = job(0)
    one.keep_body = keep
    dialect = Gemini(Options())
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = Reply(status, {k.replace("_", "-"): v for k, v in headers.items()}, content, cut=cut)
    (verdict,) = AnswerReader().read(dialect.request([one]).expected, reply)
    return verdict


def candidate(*parts: dict[str, Any], finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    return {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish, **more}


def good(*candidates: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "candidates": list(candidates) or [candidate({"text": "Hi."})],
        "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 2, "totalTokenCount": 10},
        "modelVersion": "m-1",
        "responseId": "abc",
        **more,
    }


def completion(body: Any, **options: Any) -> Completion:
    verdict = read(body, **options)
    assert isinstance(verdict, Completion), verdict
    return verdict


def fault(body: Any, **options: Any) -> Fault:
    verdict = read(body, **options)
    assert isinstance(verdict, Fault), verdict
    return verdict


def test_a_plain_answer_is_read() -> None:
    done = completion(good())
    assert (done.text, done.finish_reason, done.model, done.request_id) == ("Hi.", "stop", "m-1", "abc")
    assert done.usage == Usage(8, 2)
    assert done.extra == {"provider_finish_reason": "STOP"}


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        (
            {
                "promptTokenCount": 8,
                "candidatesTokenCount": 2,
                "thoughtsTokenCount": 40,
                "cachedContentTokenCount": 3,
                "toolUsePromptTokenCount": 5,
                "totalTokenCount": 55,
            },
            Usage(13, 42, 3, None, 40),
        ),
        ({"promptTokenCount": 8, "thoughtsTokenCount": 40}, Usage(8, 40, None, None, 40)),
        ({"promptTokenCount": 8}, Usage(8)),
        ({"promptTokenCount": 8, "totalTokenCount": 30}, Usage(8, 22)),
        ({"totalTokenCount": 30}, Usage(30)),
        ({"promptTokenCount": 8, "totalTokenCount": 8}, Usage(8)),
        ({"promptTokenCount": "8", "candidatesTokenCount": True}, Usage(8)),
        ({"promptTokenCount": "eight", "candidatesTokenCount": True}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_thoughts_are_counted_into_the_output(raw: Any, normal: Usage | None) -> None:
    assert usage(raw) == normal


@pytest.mark.parametrize(
    ("own", "ours"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        *[
            (own, "content_filter")
            for own in (
                "SAFETY",
                "RECITATION",
                "BLOCKLIST",
                "PROHIBITED_CONTENT",
                "SPII",
                "IMAGE_SAFETY",
                "MODEL_ARMOR",
            )
        ],
        ("MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL"),
        ("NEWS_OF_2027", "NEWS_OF_2027"),
    ],
)
def test_every_reason_to_stop_has_our_word_and_keeps_its_own(own: str, ours: str) -> None:
    done = completion(good({"finishReason": own, "index": 0}))
    assert (done.text, done.finish_reason, done.extra.get("provider_finish_reason", own)) == (None, ours, own)


def test_names_with_underscores_are_read_too() -> None:
    part = {"function_call": {"name": "f", "args": {"my_city": "Paris"}}}
    answer = {
        "candidates": [{"content": {"parts": [{"text": "Hi."}, part]}, "finish_reason": "MAX_TOKENS"}],
        "usage_metadata": {"prompt_token_count": 8, "candidates_token_count": 2},
        "model_version": "m-1",
        "response_id": "abc",
    }
    for body in (answer, b"data: %s\n\n" % json.dumps(answer).encode()):
        done = completion(body)
        assert (done.text, done.finish_reason, done.model, done.usage) == ("Hi.", "length", "m-1", Usage(8, 2))
        assert done.extra["tool_calls"][0]["function"]["arguments"] == '{"my_city":"Paris"}'


def test_a_part_of_null_costs_no_text() -> None:
    assert completion(good(candidate({"text": None}, {"text": "Hi."}, {"text": None, "thought": True}))).text == "Hi."


def test_thoughts_and_calls_are_no_text() -> None:
    parts = [
        {"text": "Hm.", "thought": True},
        {"text": "It is "},
        {"text": "so.", "thoughtSignature": "x"},
        {"functionCall": {"id": "c1", "name": "f", "args": {"x": 1}}},
        {"functionCall": {"name": "g"}},
        {"executableCode": {"code": "1"}},
    ]
    done = completion(good(candidate(*parts)))
    assert (done.text, done.extra["reasoning"]) == ("It is so.", "Hm.")
    called = {"id": "call_1", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    assert done.extra["tool_calls"] == [CALL, called]
    assert (done.finish_reason, done.extra["provider_finish_reason"]) == ("tool_calls", "STOP")


def test_several_candidates_are_all_kept_and_the_first_is_the_text() -> None:
    done = completion(good(candidate({"text": "A"}), candidate({"text": "B"}, finish="MAX_TOKENS", index=1)))
    assert done.text == "A"
    assert done.extra["choices"] == [
        {"index": 0, "text": "A", "finish_reason": "stop"},
        {"index": 1, "text": "B", "finish_reason": "length"},
    ]


@pytest.mark.parametrize("counts", [{"promptTokenCount": 8}, None])
def test_a_blocked_prompt_is_a_failure_that_names_the_reason(counts: Any) -> None:
    found = fault(
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": counts, "responseId": "abc"}, keep=True
    )
    assert (found.kind, found.code, found.retry, found.request_id) == (Kind.CONTENT_FILTER, "safety", False, "abc")
    assert "SAFETY" in found.message
    assert found.billing is (Billing.BILLED if counts else Billing.UNBILLED)
    assert found.answer["promptFeedback"]


def test_an_error_inside_a_200_is_judged_by_its_code() -> None:
    body = {"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}
    assert (fault(body).kind, fault([body]).kind) == (Kind.OVERLOADED, Kind.OVERLOADED)


UNREADABLE: dict[str, Any] = {
    "empty": b"",
    "html": b"<html><title>Log in</title></html>",
    "text": "hello",
    "an empty list": [],
    "an empty object": {},
    "candidates of null": good(candidates=None),
    "empty candidates": good(candidates=[]),
    "candidates that are no list": good(candidates={"0": {}}),
    "a candidate of null": good(candidates=[None]),
    "a candidate that is text": good(candidates=["hi"]),
    "parts that are text": good(candidates=[{"content": {"parts": ["hi"]}}]),
    "a call without a name": good(candidate({"functionCall": {}})),
    "two candidates of null": good(candidates=[None, None]),
    "feedback that is text": {"promptFeedback": "no"},
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_answer_is_billed_and_kept_byte_for_byte(body: Any) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = fault(raw)
    assert (found.kind, found.billing, found.raw) == (Kind.UNPARSABLE, Billing.BILLED, raw)


@given(JSON, JSON, st.booleans())
def test_no_answer_is_too_odd_to_read_and_to_write_again(candidates: Any, other: Any, keep: bool) -> None:
    verdict = read({"candidates": candidates, "usageMetadata": other, "modelVersion": other}, keep=keep)
    if isinstance(verdict, Completion):
        dumps([verdict.text, verdict.finish_reason, verdict.model, verdict.usage, verdict.extra, verdict.body])
    else:
        broken_off = verdict.kind is Kind.SERVER_ERROR
        assert broken_off or (verdict.kind is Kind.UNPARSABLE and verdict.billing is Billing.BILLED and verdict.raw)


# streams


def chunk(*candidates: dict[str, Any], **more: Any) -> bytes:
    body = {"candidates": list(candidates), "modelVersion": "m-1", "responseId": "abc", **more}
    return b"data: " + json.dumps(body).encode() + b"\r\n\r\n"


STREAM = [
    chunk(candidate({"text": "Hm", "thought": True}, finish=None), usageMetadata={"promptTokenCount": 8}),
    chunk(candidate({"text": "It is "}, finish=None), usageMetadata={"promptTokenCount": 8}),
    chunk(candidate({"text": "so."}), usageMetadata={"promptTokenCount": 8, "candidatesTokenCount": 2}),
]


def streamed(*parts: bytes, cut: bool = False) -> Completion | Fault:
    return read(b"".join(parts), cut=cut, content_type="text/event-stream")


def test_a_stream_is_folded_into_the_answer_it_would_have_been() -> None:
    done = streamed(*STREAM)
    assert isinstance(done, Completion), done
    assert (done.text, done.extra["reasoning"], done.usage) == ("It is so.", "Hm", Usage(8, 2))
    assert (done.finish_reason, done.model, done.request_id) == ("stop", "m-1", "abc")


def test_a_stream_of_several_candidates_is_folded_by_their_index() -> None:
    parts = [
        chunk(candidate({"text": "a"}, finish=None), candidate({"text": "b"}, finish=None, index=1)),
        chunk(candidate({"text": "B"}, index=1)),
        chunk(candidate({"text": "A"})),
    ]
    done = streamed(*parts)
    assert isinstance(done, Completion), done
    assert [choice["text"] for choice in done.extra["choices"]] == ["aA", "bB"]
    assert isinstance(streamed(*parts[:-1]), Fault)


@pytest.mark.parametrize("end", range(len(STREAM)))
def test_a_stream_that_ends_before_it_says_why_is_cut_and_sent_again(end: int) -> None:
    found = streamed(*STREAM[:end])
    assert isinstance(found, Fault)
    assert (found.kind, found.billing, found.retry) == (Kind.PROTOCOL, Billing.DOUBTFUL, True)


def test_a_stream_of_one_json_list_is_read_too() -> None:
    chunks = [json.loads(part.removeprefix(b"data: ")) for part in STREAM]
    assert completion(chunks).text == "It is so."


def test_a_prompt_blocked_in_the_middle_of_its_answer_ends_it() -> None:
    begun = {"candidates": [candidate({"text": "Hi"}, finish=None)]}
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 8}}
    stream = b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in (begun, blocked))
    done = completion(stream, content_type="text/event-stream")
    assert (done.text, done.finish_reason) == ("Hi", "content_filter")
    assert done.extra["provider_finish_reason"] == "PROHIBITED_CONTENT"


def test_a_prompt_blocked_in_a_stream_is_a_failure() -> None:
    found = streamed(b'data: {"promptFeedback":{"blockReason":"OTHER"}}\n\n')
    assert isinstance(found, Fault) and found.kind is Kind.CONTENT_FILTER


@pytest.mark.parametrize(("begun", "billing"), [(0, Billing.THROTTLED), (1, Billing.DOUBTFUL)])
def test_an_error_in_the_stream_is_free_only_before_the_answer_begins(begun: int, billing: Billing) -> None:
    found = streamed(*STREAM[:begun], b'data: {"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}\n\n')
    assert isinstance(found, Fault)
    assert (found.kind, found.billing, found.retry) == (Kind.OVERLOADED, billing, True)


@given(st.lists(st.sampled_from(STREAM) | st.builds(lambda value: b"data: %s\n\n" % dumps(value), JSON), max_size=6))
def test_no_stream_is_too_odd_to_read(parts: list[bytes]) -> None:
    verdict = streamed(*parts)
    if isinstance(verdict, Completion):
        dumps([verdict.text, verdict.finish_reason, verdict.model, verdict.usage, verdict.extra])
    else:
        assert verdict.kind in (
            Kind.PROTOCOL,
            Kind.UNPARSABLE,
            Kind.SERVER_ERROR,
            Kind.CONTENT_FILTER,
            Kind.BAD_REQUEST,
        )
