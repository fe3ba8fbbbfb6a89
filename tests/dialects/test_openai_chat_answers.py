"""Reading chat answers: nothing that was paid for is lost, nothing that failed counts as success."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.codec.json import dumps
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.outcome import Completion, Usage
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.openai_chat import Chat
from llmbatch.dialects.openai_chat_answers import usage
from llmbatch.dialects.request_options import Options
from tests.support.scripted import job

CHAT = Chat(Options())


def read(body: Any, status: int = 200, *, cut: bool = False, keep: bool = False, **headers: str) -> Completion | Fault:
    one = job(0)
    one.keep_body = keep
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = Reply(status, {k.replace("_", "-"): v for k, v in headers.items()}, content, cut=cut)
    (verdict,) = AnswerReader().read(CHAT.request([one]).expected, reply)
    return verdict


def good(message: Any = None, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Paris."} if message is None else message
    return {"model": "m-1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **more}


def completion(body: Any, **options: Any) -> Completion:
    verdict = read(body, **options)
    assert isinstance(verdict, Completion), verdict
    return verdict


def fault(body: Any, status: int = 200, **options: Any) -> Fault:
    verdict = read(body, status, **options)
    assert isinstance(verdict, Fault), verdict
    return verdict


def test_a_plain_answer_is_read() -> None:
    done = completion(good(usage={"prompt_tokens": 9, "completion_tokens": 2}), x_request_id="req_1")
    assert (done.text, done.finish_reason, done.model, done.request_id) == ("Paris.", "stop", "m-1", "req_1")


def test_an_answer_with_nothing_special_has_nothing_extra() -> None:
    assert completion(good()).extra == {}


def test_null_content_is_an_answer_without_text() -> None:
    assert completion(good({"content": None, "refusal": None})).text is None


def test_absent_content_is_an_answer_without_text() -> None:
    assert completion(good({"role": "assistant"})).text is None


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "Pa"}, {"type": "image_url"}, {"text": "ris"}]
    assert completion(good({"content": parts})).text == "Paris"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": None}, {"type": "text", "text": "Paris."}], "Paris."),
        ([{"type": "text", "text": {"value": "Paris.", "annotations": []}}], "Paris."),
        ({"type": "text", "text": "Paris."}, "Paris."),
        ({"city": "Paris", "sure": None}, '{"city":"Paris","sure":null}'),
        ({}, "{}"),
        (5, "5"),
        (False, "false"),
    ],
)
def test_content_in_another_shape_costs_no_text(content: Any, text: str) -> None:
    assert completion({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}).text == text


def test_a_refusal_is_kept() -> None:
    done = completion(good({"content": None, "refusal": "I cannot"}))
    assert (done.text, done.extra["refusal"]) == (None, "I cannot")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_kept_under_one_name(name: str) -> None:
    assert completion(good({"content": "", name: "hm"})).extra == {"reasoning": "hm"}


@pytest.mark.parametrize(
    "message",
    [
        {"reasoning_details": [{"type": "reasoning.text", "text": "h"}, {"type": "reasoning.summary", "summary": "m"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}, {"type": "reasoning.text", "text": "hm"}]},
        {"thinking": "hm"},
        {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]},
        {"reasoning": None, "reasoning_content": "", "thinking": "hm"},
        {"reasoning": {"content": "hm"}},
        {"reasoning": [{"type": "text", "text": "hm"}]},
        {"content": [{"type": "thinking", "thinking": "hm"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]}]},
        {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}]},
        {"content": [{"type": "reasoning_content", "reasoning_content": {"text": "hm"}}]},
    ],
)
def test_reasoning_is_found_in_whatever_shape(message: dict[str, Any]) -> None:
    done = completion(good({"content": None, **message}))
    assert (done.text, done.extra) == (None, {"reasoning": "hm"})


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
SOURCE = {"type": "url_citation", "url_citation": {"url": "https://example.com"}}


@pytest.mark.parametrize(
    ("message", "more", "extra"),
    [
        ({"images": [PICTURE]}, {}, {"images": [PICTURE]}),
        ({"images": ["data:image/png;base64,aGk="]}, {}, {"images": [PICTURE]}),
        ({"content": [{"text": "x"}, PICTURE], "images": [PICTURE]}, {}, {"images": [PICTURE, PICTURE]}),
        ({"annotations": [SOURCE]}, {}, {"citations": [SOURCE]}),
        ({"context": {"citations": [SOURCE]}}, {}, {"citations": [SOURCE]}),
        ({"content": [{"type": "text", "text": "x", "annotations": [SOURCE]}]}, {}, {"citations": [SOURCE]}),
        ({}, {"citations": ["https://example.com"]}, {"citations": ["https://example.com"]}),
        ({}, {"search_results": [{"url": "u"}]}, {"citations": [{"url": "u"}]}),
        ({"annotations": []}, {"citations": [], "search_results": None}, {}),
    ],
)
def test_images_and_sources_have_fields_of_their_own(message: Any, more: Any, extra: Any) -> None:
    assert completion(good({"content": "x", **message}, **more)).extra == extra


@pytest.mark.parametrize(
    ("logprobs", "kept"),
    [({"content": [{"token": "x"}]}, True), ({"content": None, "refusal": None}, False), (None, False), ({}, False)],
)
def test_log_probabilities_are_kept_where_there_are_any(logprobs: Any, kept: bool) -> None:
    body = good({"content": "x"})
    body["choices"][0]["logprobs"] = logprobs
    assert completion(body).extra == ({"logprobs": logprobs} if kept else {})


@pytest.mark.parametrize(
    "message",
    [
        {"function_call": {"name": "f", "arguments": '{"x":1}'}},
        {"function_call": {"name": "f", "arguments": {"x": 1}}},
        {"tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]},
        {"tool_calls": None, "function_call": {"name": "f", "arguments": {"x": 1}}},
        {"tool_calls": [{"id": "call_0", "name": "f", "arguments": '{"x":1}'}]},
        {"tool_calls": {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}},
    ],
)
def test_a_call_is_a_tool_call_whose_arguments_are_text(message: dict[str, Any]) -> None:
    calls = [{"id": "call_0", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}]
    assert completion(good({"content": None, **message})).extra == {"tool_calls": calls}


@pytest.mark.parametrize("choice", [{"message": None}, {}, {"message": None, "text": None}])
def test_a_choice_that_only_says_why_it_ended_is_an_answer_without_text(choice: dict[str, Any]) -> None:
    body = {"choices": [{"index": 0, **choice, "finish_reason": "content_filter"}]}
    done = completion(body)
    assert (done.text, done.finish_reason) == (None, "content_filter")


@pytest.mark.parametrize("choice", [{"text": "hi"}, {"delta": {"content": "hi"}}, {"message": {"content": ["h", "i"]}}])
def test_a_text_in_another_place_is_not_lost(choice: dict[str, Any]) -> None:
    assert completion({"choices": [choice | {"finish_reason": "stop"}]}).text == "hi"


BROKEN: list[Any] = [
    None,
    {"index": 1, "message": 5, "finish_reason": "stop"},
    {"index": 1, "finish_reason": None},
    {"index": 1, "message": {"content": "Ly"}, "finish_reason": "abort"},
    {"index": 1, "message": {"content": ""}, "error": {"code": 502, "message": "hung up"}},
]


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("first", [True, False])
def test_a_broken_choice_never_costs_the_others(broken: Any, first: bool) -> None:
    fine = {"index": 0, "message": {"content": "Paris.", "reasoning": "hm"}, "finish_reason": "stop"}
    done = completion({"choices": [broken, fine] if first else [fine, broken]})
    assert (done.text, done.finish_reason, done.extra["reasoning"]) == ("Paris.", "stop", "hm")
    entries = done.extra["choices"]
    assert [one["text"] for one in entries if one["finish_reason"] == "stop" and one["text"]] == ["Paris."]
    assert next(one for one in entries if one["text"] == "Paris.")["reasoning"] == "hm"


def test_of_several_choices_that_are_all_broken_the_first_is_judged() -> None:
    assert fault({"choices": [BROKEN[4], BROKEN[3]]}).kind is Kind.GATEWAY
    assert fault({"choices": [BROKEN[3], BROKEN[4]]}).kind is Kind.SERVER_ERROR


@pytest.mark.parametrize("place", [{"x_groq": {"usage": {"prompt_tokens": 9}}}, {"usage": None}])
def test_usage_is_found_elsewhere_too(place: dict[str, Any]) -> None:
    body = good(**place)
    body["choices"][0]["usage"] = {"prompt_tokens": 9}
    assert completion(body).usage == Usage(9)


def test_tool_calls_are_kept_as_they_are() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert completion(good({"content": None, "tool_calls": calls})).extra == {"tool_calls": calls}


def test_several_choices_are_all_kept_and_the_first_is_the_text() -> None:
    body = good()
    body["choices"] += [{"index": 1, "message": {"content": "Lyon."}, "finish_reason": "length"}]
    done = completion(body)
    assert done.text == "Paris."
    assert done.extra["choices"] == [
        {"index": 0, "text": "Paris.", "finish_reason": "stop"},
        {"index": 1, "text": "Lyon.", "finish_reason": "length"},
    ]


def test_of_several_choices_the_lowest_index_is_the_text() -> None:
    choices = [{"index": n, "message": {"content": str(n)}, "finish_reason": "stop"} for n in (2, 0, 1)]
    read = completion({"choices": choices})
    assert read.text == "0"
    assert [entry["index"] for entry in read.extra["choices"]] == [2, 0, 1]


COUNTED = {"usage": {"prompt_tokens": 5, "completion_tokens": 3}}


@pytest.mark.parametrize(
    "body",
    [
        {"code": 0, "msg": "ok", "data": good(**COUNTED)},
        {"success": True, "result": good(), **COUNTED},
        [good(**COUNTED)],
        json.dumps(good(**COUNTED)),
        {"statusCode": 200, "body": json.dumps(good(**COUNTED))},
    ],
)
def test_an_answer_that_a_gateway_wrapped_is_read(body: Any) -> None:
    read = completion(body)
    assert (read.text, read.usage) == ("Paris.", Usage(5, 3))


def test_an_error_that_a_gateway_wrapped_is_no_answer() -> None:
    assert fault({"code": 500, "msg": "engine died", "data": {}}).kind is Kind.SERVER_ERROR
    assert fault({"data": {"choices": []}}).kind is Kind.UNPARSABLE


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "iso-8859-1"])
def test_an_answer_in_a_declared_encoding_is_read(encoding: str) -> None:
    body = json.dumps(good({"content": "Zoë"}), ensure_ascii=False).encode(encoding)
    assert completion(body, content_type=f"application/json; charset={encoding}").text == "Zoë"


def test_control_characters_cost_no_answer() -> None:
    body = json.dumps(good({"content": "a@b"})).encode().replace(b"@", b"\x01\n\t")
    assert completion(body).text == "a\x01\n\tb"


@pytest.mark.parametrize("reason", ["length", "content_filter", "repetition_truncation", None])
def test_unknown_finish_reasons_pass_through(reason: str | None) -> None:
    body = good()
    body["choices"][0]["finish_reason"] = reason
    assert completion(body).finish_reason == reason


def test_the_body_is_kept_only_when_asked_for() -> None:
    assert completion(good()).body is None
    assert completion(good(), keep=True).body == good()


# 200 that is not success


@pytest.mark.parametrize(
    ("error", "kind", "billing"),
    [
        ({"code": 429, "message": "Provider returned error"}, Kind.RATE_LIMITED, Billing.THROTTLED),
        ({"code": "429", "message": "text"}, Kind.RATE_LIMITED, Billing.THROTTLED),
        ({"code": 503, "message": "m"}, Kind.OVERLOADED, Billing.THROTTLED),
        ({"code": 400, "message": "m"}, Kind.BAD_REQUEST, Billing.UNBILLED),
        ({"code": 502, "message": "m"}, Kind.GATEWAY, Billing.DOUBTFUL),
        ({"code": "insufficient_quota"}, Kind.NO_CREDIT, Billing.UNBILLED),
        ({"message": "it broke"}, Kind.SERVER_ERROR, Billing.SERVER),
        ("it broke", Kind.SERVER_ERROR, Billing.SERVER),
        (True, Kind.SERVER_ERROR, Billing.SERVER),
    ],
)
def test_an_error_inside_a_200_is_judged_by_its_own_code(error: Any, kind: Kind, billing: Billing) -> None:
    found = fault({"error": error, "choices": None})
    assert (found.kind, found.billing) == (kind, billing)


def test_the_flat_error_of_an_old_vllm_inside_a_200_is_no_paid_answer() -> None:
    body = {"object": "error", "message": "This model's maximum context length is 8", "code": 400}
    assert fault(body).kind is Kind.CONTEXT_LENGTH


def test_an_error_inside_a_choice_is_judged_by_its_code() -> None:
    body = {
        "choices": [{"error": {"code": 429, "message": "m"}, "finish_reason": "error", "message": {"content": "Pa"}}]
    }
    assert fault(body).kind is Kind.RATE_LIMITED


@pytest.mark.parametrize(
    "reason", ["error", "abort", "ABORT", "network_error", "insufficient_system_resource", "cancelled"]
)
def test_an_answer_given_up_in_the_middle_is_a_failure(reason: str) -> None:
    body = good()
    body["choices"][0]["finish_reason"] = reason
    found = fault(body, x_request_id="req_1")
    assert (found.kind, found.billing, found.retry, found.request_id) == (
        Kind.SERVER_ERROR,
        Billing.SERVER,
        True,
        "req_1",
    )


@pytest.mark.parametrize(
    "error",
    [
        None,
        {},
        {"message": "", "type": "", "param": None, "code": 0},
        {"code": "0", "message": "Success"},
        {"code": None},
    ],
)
def test_an_error_that_says_nothing_is_none(error: Any) -> None:
    assert completion(good(error=error)).text == "Paris."


@pytest.mark.parametrize("error", ["no", {"code": 0, "message": "no"}, {"code": 502}, [{"message": "no"}]])
def test_an_error_beside_choices_is_one(error: Any) -> None:
    assert fault(good(error=error)).kind in (Kind.SERVER_ERROR, Kind.GATEWAY)


@pytest.mark.parametrize("name", ["finishReason", "native_finish_reason"])
def test_why_an_answer_ended_may_stand_under_another_name(name: str) -> None:
    choice = {"message": {"content": "Paris."}, name: "MAX_TOKENS"}
    assert completion({"choices": [choice]}).finish_reason == "length"


UNREADABLE: dict[str, bytes] = {
    "empty": b"",
    "blank": b"\n\n",
    "html": b"<html><title>Log in</title></html>",
    "an event stream": b'data: {"choices":[]}\n\ndata: [DONE]\n\n',
    "NaN": b'{"choices":[{"message":{"content":"hi"},"logprobs":NaN}]}',
    "a lone surrogate": b'{"choices":[{"message":{"content":"\\ud800"}}]}',
    "invalid UTF-8": b'{"choices":[{"message":{"content":"\xff"}}]}',
    "a byte order mark": b'\xef\xbb\xbf{"choices":[]}',
    "beyond the parser's depth": b'{"choices":' + b"[" * 2000 + b"]" * 2000 + b"}",
    "as deep as the parser goes, with a wide number": b'{"n":12345678901234567890123,"choices":'
    + b"[" * 1000
    + b"]" * 1000
    + b"}",
    "deeper than can be written": b'{"choices":[{"message":{"content":"a","tool_calls":'
    + b"[" * 400
    + b"]" * 400
    + b"}}]}",
    "a number of 5000 digits": b'{"choices":[{"message":{"content":"a"}}],"n":' + b"1" * 5000 + b"}",
    "a float beyond infinity": b'{"choices":[{"message":{"content":"a"}}],"n":1e999}',
    "a string": b'"hello"',
    "a list": b'[{"choices":[]}]',
    "a number": b"7",
    "null": b"null",
    "no choices": b'{"id":"x"}',
    "choices of null": b'{"choices":null}',
    "empty choices": b'{"choices":[]}',
    "choices that are no list": b'{"choices":{"0":{}}}',
    "a choice of null": b'{"choices":[null]}',
    "a choice that is text": b'{"choices":["hi"]}',
    "a choice with neither a message nor a reason": b'{"choices":[{"index":0}]}',
    "a message of null": b'{"choices":[{"message":null}]}',
    "a message that is a list": b'{"choices":[{"message":[]}]}',
    "parts that are numbers": b'{"choices":[{"message":{"content":[1]}}]}',
    "parts without text": b'{"choices":[{"message":{"content":[{"type":"text"}]}}]}',
    "two choices of null": b'{"choices":[null,null]}',
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_answer_is_billed_and_kept_byte_for_byte(body: bytes) -> None:
    found = fault(body, x_request_id="req_1")
    assert (found.kind, found.billing, found.retry, found.raw, found.request_id) == (
        Kind.UNPARSABLE,
        Billing.BILLED,
        False,
        body,
        "req_1",
    )


@pytest.mark.parametrize("status", [201, 202, 204, 299])
def test_other_successes_without_an_answer_are_unreadable_too(status: int) -> None:
    found = fault(b"", status)
    assert (found.kind, found.status) == (Kind.UNPARSABLE, status)


@pytest.mark.parametrize("body", [b"", b'{"choices":[{"message":', b"<html"])
def test_half_an_answer_is_doubtful_and_sent_again(body: bytes) -> None:
    found = fault(body, cut=True)
    assert (found.kind, found.billing, found.retry) == (Kind.PROTOCOL, Billing.DOUBTFUL, True)


def test_an_answer_that_ended_with_the_connection_but_is_whole_counts() -> None:
    assert completion(good(), cut=True).text == "Paris."


def test_the_body_of_an_error_is_kept_only_when_asked_for() -> None:
    body = {"error": {"message": "m"}}
    assert fault(body, 400).answer is None
    assert fault(body, 400, keep=True).answer == body
    assert fault(body, 200, keep=True).answer == body


# usage


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}, Usage(9, 2)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
            Usage(9, 2, 4, 1, 1),
        ),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}, Usage(9, None, 4)),
        (
            {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 0}, "prompt_cache_hit_tokens": 4},
            Usage(9, None, 0),
        ),
        ({"prompt_tokens": 9.0, "completion_tokens": None}, Usage(9)),
        ({"prompt_tokens": "9", "completion_tokens": True}, Usage(9)),
        ({"prompt_tokens": "9 tokens", "completion_tokens": "٣"}, None),
        ({"prompt_tokens": -1, "completion_tokens": 2**70}, None),
        ({"prompt_tokens_details": None, "completion_tokens_details": []}, None),
        ({"prompt_tokens_details": {"cached_tokens": {}}}, None),
        ({}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 0}}, None),
        ({"total_tokens": 30}, Usage(30)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 30}, Usage(30, 0)),
        ({"prompt_tokens": 9, "total_tokens": 30}, Usage(9, 21)),
        ({"completion_tokens": 9, "total_tokens": 30}, Usage(21, 9)),
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8)),
        ({"input_tokens": 8, "output_tokens": 2}, Usage(8, 2)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 4}, Usage(9, 2, 4)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "reasoning_tokens": 1}, Usage(9, 2, reasoning_tokens=1)),
        (
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(32, 103, reasoning_tokens=94),
        ),
        ({"prompt_tokens": 32, "completion_tokens": 0, "total_tokens": 135}, Usage(32, 103)),
        (
            {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 99, "prompt_cache_hit_tokens": 89},
            Usage(8, 2, 89),
        ),
        (
            {
                "prompt_tokens": 8,
                "completion_tokens": 5,
                "total_tokens": 99,
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(8, 5, reasoning_tokens=4),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 0}, Usage(9, 0)),
        (None, None),
        ([], None),
        ("9", None),
    ],
)
def test_usage_is_normalised_and_oddities_count_as_not_said(raw: Any, normal: Usage | None) -> None:
    assert usage(raw) == normal


@pytest.mark.parametrize(
    ("cost", "kept"), [(0.25, 0.25), (0, None), (None, None), ("1", None), (True, None), (-1, None), (1e9, None)]
)
def test_the_providers_own_cost_is_taken_when_it_is_one(cost: Any, kept: float | None) -> None:
    assert completion(good(usage={"cost": cost})).cost == kept


def test_what_costs_nothing_says_how_many_tokens_it_took() -> None:
    assert completion(good(usage={"cost": 0, "prompt_tokens": 9})).cost == 0.0
    assert completion(good(usage={"cost": 0, "prompt_tokens": 0, "completion_tokens": 0})).cost is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["message", "content", "text", "type", "finish_reason", "error", "index", "code", "tool_calls"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(JSON, JSON, st.booleans())
def test_no_answer_is_too_odd_to_read_and_to_write_again(choices: Any, used: Any, keep: bool) -> None:
    verdict = read({"choices": [choices], "usage": used, "model": used}, keep=keep)
    if isinstance(verdict, Completion):
        dumps([verdict.text, verdict.finish_reason, verdict.model, verdict.usage, verdict.extra, verdict.body])
    else:
        dumps([verdict.message, verdict.answer])


@given(st.binary(max_size=50), st.booleans())
def test_no_bytes_are_too_odd_to_read(body: bytes, cut: bool) -> None:
    errors = (Kind.SERVER_ERROR,) if b"error" in body else ()
    assert fault(body, cut=cut).kind in (Kind.UNPARSABLE, Kind.PROTOCOL, *errors)
