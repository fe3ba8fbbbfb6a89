"""Completions, embeddings and unknown paths: what their requests may hold, and how answers are read."""

import base64
import json
import struct
from typing import Any

import pytest

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.job import Identity, Job
from llmbatch.core.outcome import Completion, Usage
from llmbatch.core.ports import Dialect
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.openai_completions import Completions
from llmbatch.dialects.openai_embeddings import Embeddings
from llmbatch.dialects.passthrough import Passthrough
from llmbatch.dialects.request_options import Options

OPTIONS = Options(model="m")


def read(dialect: Dialect, prompt: Prompt, answer: Any, **headers: str) -> Completion | Fault:
    route, item = dialect.item(prompt)
    asked = Job(Identity(0, None, "r"), "k", route, item, {}, 1)
    raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    (verdict,) = AnswerReader().read(dialect.request([asked]).expected, Reply(200, headers, raw))
    return verdict


@pytest.mark.parametrize(
    ("dialect", "prompt", "word"),
    [
        (Completions(OPTIONS), Prompt(messages=[{}]), "messages"),
        (Completions(OPTIONS), Prompt(input="x"), "input"),
        (Completions(OPTIONS), Prompt(text="x", system="s"), "system"),
        (Completions(OPTIONS), Prompt(body={"model": "m"}), "no prompt"),
        (Embeddings(OPTIONS), Prompt(messages=[{}]), "messages"),
        (Embeddings(OPTIONS), Prompt(text="x", system="s"), "system"),
        (Embeddings(OPTIONS), Prompt(body={"model": "m"}), "no input"),
        (Embeddings(OPTIONS), Prompt(body={"input": []}), "no input"),
        (Embeddings(OPTIONS), Prompt(body={"input": ""}), "empty string"),
        (Embeddings(OPTIONS), Prompt(input=["a", ""]), "empty string"),
        (Embeddings(Options(model="m", max_tokens=3)), Prompt(text="x"), "--max-tokens"),
        (Embeddings(Options(model="m", stream=True)), Prompt(text="x"), "--stream"),
        (Embeddings(Options(model="m", defaults={"temperature": 1})), Prompt(text="x"), "temperature"),
        (Completions(Options()), Prompt(text="x"), "no model"),
    ],
)
def test_what_has_no_place_is_refused_by_name(dialect: Dialect, prompt: Prompt, word: str) -> None:
    with pytest.raises(RecordError, match=word):
        dialect.item(prompt)


def test_a_completion() -> None:
    choices = [{"index": 0, "text": " there.", "finish_reason": "stop"}]
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    verdict = read(Completions(OPTIONS), Prompt(text="hi"), {"model": "n", "choices": choices, "usage": usage})
    assert verdict == Completion(" there.", "stop", "n", Usage(1, 2, None, None, None))


def test_a_streamed_completion() -> None:
    pieces = [{"text": "a"}, {"text": "b", "finish_reason": "length"}]
    chunks = [{"model": "n", "choices": [{"index": 0, **piece}]} for piece in pieces]
    stream = b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"
    kind = {"content-type": "text/event-stream"}
    verdict = read(Completions(OPTIONS), Prompt(text="hi"), stream, **kind)
    assert isinstance(verdict, Completion) and (verdict.text, verdict.finish_reason) == ("ab", "length")
    cut = read(Completions(OPTIONS), Prompt(text="hi"), stream[:40], **kind)
    assert isinstance(cut, Fault)


@pytest.mark.parametrize("given", [{"image": "x"}, [1, 2], None])
def test_an_input_of_another_kind_is_one_input(given: Any) -> None:
    dialect = Embeddings(Options(model="m", overrides={"input": given}))
    verdict = read(dialect, Prompt(text="hi"), {"data": [{"embedding": [1]}]})
    assert isinstance(verdict, Completion) and verdict.extra == {"embedding": [1]}


@pytest.mark.parametrize("form", ["float", "base64"])
def test_an_embedding_is_numbers_whatever_it_travelled_as(form: str) -> None:
    numbers = [0.5, -2.0, 0.15625]
    sent = numbers if form == "float" else base64.b64encode(struct.pack("<3f", *numbers)).decode()
    verdict = read(Embeddings(OPTIONS), Prompt(text="hi"), {"model": "n", "data": [{"index": 0, "embedding": sent}]})
    assert isinstance(verdict, Completion) and verdict.extra == {"embedding": numbers}


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"data": None},
        {"data": [{"index": 0}]},
        {"data": [{"embedding": "!"}]},
        {"data": [{"embedding": "QUJD"}]},
        {"data": [{"embedding": None}]},
        {"data": [{"embedding": [1]}, {"embedding": [2]}]},
        {},
        b"data: {}\n\n",
    ],
)
def test_an_embedding_that_is_none_is_kept_as_a_paid_failure(answer: Any) -> None:
    verdict = read(Embeddings(OPTIONS), Prompt(text="hi"), answer)
    assert isinstance(verdict, Fault)
    assert (verdict.kind, verdict.billing, verdict.raw is not None) == (Kind.UNPARSABLE, Billing.BILLED, True)


ASKED = [{"role": "user", "content": "hi"}]

ANY = Passthrough(Options(), path="/rerank")


@pytest.mark.parametrize(
    ("prompt", "body"),
    [
        (Prompt(body={"query": "q", "documents": []}), {"query": "q", "documents": []}),
        (Prompt(text="hi", system="s"), {"messages": [{"role": "system", "content": "s"}, *ASKED]}),
        (Prompt(input=[1]), {"input": [1]}),
        (Prompt(text="hi", model="m", params={"k": 1}), {"messages": ASKED, "model": "m", "k": 1}),
    ],
)
def test_an_unknown_api_is_sent_a_body_as_it_is_and_needs_no_model(prompt: Prompt, body: dict[str, Any]) -> None:
    route, item = ANY.item(prompt)
    assert (route.path, route.model, item) == ("/rerank", body.get("model", ""), body)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1}}, "x"),
        ({"choices": [{"text": "x"}]}, "x"),
        ({"output": [{"type": "reasoning", "content": [{"text": "h"}]}, {"content": [{"text": "x"}]}]}, "x"),
        ({"content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}, "xy"),
        ({"candidates": [{"content": {"parts": [{"thought": True, "text": "h"}, {"text": "x"}]}}]}, "x"),
        ({"message": {"role": "assistant", "content": "x"}}, "x"),
        ({"response": "x", "done": True}, "x"),
        ([{"generated_text": "x"}], "x"),
        ({"results": [{"tokenCount": 2, "outputText": "x"}]}, "x"),
        ({"generation": "x", "stop_reason": "stop"}, "x"),
        ({"outputs": [{"text": "x"}]}, "x"),
        (
            {
                "output": {
                    "message": {"content": [{"reasoningContent": {"reasoningText": {"text": "h"}}}, {"text": "x"}]}
                }
            },
            "x",
        ),
        ({"result": {"response": "x"}, "success": True}, "x"),
        ({"result": {"alternatives": [{"message": {"text": "x"}, "status": "ALTERNATIVE_STATUS_FINAL"}]}}, "x"),
        ({"text_output": "x"}, "x"),
        ({"text": ["x"]}, "x"),
        ({"results": [{"flagged": True, "categories": {}}]}, None),
        ({"data": [{"b64_json": "aGk="}]}, None),
        ("x", "x"),
        ({"results": [{"index": 0, "score": 0.5}]}, None),
        ([1, 2], None),
        (7, None),
        ({"choices": []}, None),
    ],
)
def test_the_answer_of_an_unknown_api_is_kept_whole_and_its_text_found(answer: Any, text: str | None) -> None:
    verdict = read(ANY, Prompt(body={}), answer)
    assert isinstance(verdict, Completion) and (verdict.text, verdict.body) == (text, answer)


@pytest.mark.parametrize(
    ("answer", "finish", "used"),
    [
        (
            {"response": "x", "done": True, "done_reason": "length", "eval_count": 2, "prompt_eval_count": 9},
            "length",
            (9, 2),
        ),
        ({"content": "x", "stop_type": "limit", "tokens_predicted": 2, "tokens_evaluated": 9}, "length", (9, 2)),
        (
            [{"generated_text": "x", "details": {"finish_reason": "eos_token", "generated_tokens": 2}}],
            "stop",
            (None, 2),
        ),
        (
            {
                "message": {"content": [{"type": "text", "text": "x"}]},
                "finish_reason": "MAX_TOKENS",
                "usage": {"billed_units": {"input_tokens": 1}, "tokens": {"input_tokens": 9, "output_tokens": 2}},
            },
            "length",
            (9, 2),
        ),
        (
            {"text": "x", "finish_reason": "COMPLETE", "meta": {"tokens": {"input_tokens": 9, "output_tokens": 2}}},
            "stop",
            (9, 2),
        ),
        (
            {
                "output": {"message": {"content": [{"text": "x"}]}},
                "stopReason": "guardrail_intervened",
                "usage": {"inputTokens": 9, "outputTokens": 2},
            },
            "content_filter",
            (9, 2),
        ),
        (
            {"inputTextTokenCount": 9, "results": [{"outputText": "x", "tokenCount": 2, "completionReason": "FINISH"}]},
            "stop",
            (9, 2),
        ),
        (
            {
                "results": [
                    {
                        "generated_text": "x",
                        "stop_reason": "max_tokens",
                        "input_token_count": 9,
                        "generated_token_count": 2,
                    }
                ]
            },
            "length",
            (9, 2),
        ),
        (
            {
                "text": "x",
                "meta_info": {"finish_reason": {"type": "length"}, "prompt_tokens": 9, "completion_tokens": 2},
            },
            "length",
            (9, 2),
        ),
        (
            {
                "result": {
                    "alternatives": [{"message": {"text": "x"}, "status": "ALTERNATIVE_STATUS_CONTENT_FILTER"}],
                    "usage": {"inputTextTokens": "9", "completionTokens": "2", "totalTokens": "11"},
                }
            },
            "content_filter",
            (9, 2),
        ),
        ({"choices": [{"text": "x", "finish_reason": "stop", "stop_reason": 7}]}, "stop", None),
    ],
)
def test_why_an_unknown_api_ended_and_what_it_counted_is_found(answer: Any, finish: str, used: Any) -> None:
    verdict = read(ANY, Prompt(body={}), answer)
    assert isinstance(verdict, Completion) and (verdict.text, verdict.finish_reason) == ("x", finish)
    assert (verdict.usage and verdict.usage[:2]) == used


@pytest.mark.parametrize(
    "answer",
    [
        {"message": {"content": []}, "finish_reason": "ERROR"},
        {"text": "x", "meta_info": {"finish_reason": {"type": "abort", "message": "Aborted"}}},
    ],
)
def test_an_answer_that_an_unknown_api_broke_off_is_none(answer: Any) -> None:
    verdict = read(ANY, Prompt(body={}), answer)
    assert isinstance(verdict, Fault) and (verdict.kind, verdict.retry) == (Kind.SERVER_ERROR, True)


def test_the_first_line_of_ollama_without_the_others_is_a_cut_answer() -> None:
    verdict = read(ANY, Prompt(body={}), json.dumps(LINES[0]).encode() + b"\n")
    assert isinstance(verdict, Fault) and verdict.retry


LINES = [{"message": {"role": "assistant", "content": text}, "done": False} for text in ("Par", "is.")]
STREAMS: dict[str, tuple[list[Any], bytes]] = {
    "Ollama's chat, which streams unless told otherwise": (
        [*LINES, {"model": "m", "message": {"content": ""}, "done": True, "eval_count": 2, "prompt_eval_count": 9}],
        b"%s\n",
    ),
    "Ollama's generate": ([{"response": "Paris.", "done": False}, {"response": "", "done": True}], b"%s\n"),
    "TGI's": ([{"token": {"text": "Par"}, "generated_text": None}, {"generated_text": "Paris."}], b"data: %s\n\n"),
    "Cohere's": (
        [
            {"type": "message-start", "id": "x", "delta": {"message": {"role": "assistant", "content": []}}},
            {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Par"}}}},
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "is."}}}},
            {"type": "content-end", "index": 0},
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 9}}}},
        ],
        b"data: %s\n\n",
    ),
    "Cohere's first": (
        [
            {"is_finished": False, "event_type": "text-generation", "text": "Par"},
            {"is_finished": False, "event_type": "text-generation", "text": "is."},
            {"is_finished": True, "event_type": "stream-end", "response": {"text": "Paris."}},
        ],
        b"%s\n",
    ),
    "a chat's": ([{"choices": [{"delta": {"content": "Paris."}, "finish_reason": "stop"}]}], b"data: %s\n\n"),
    "a chat's, as lines": (
        [
            {"choices": [{"delta": {"content": "Par"}}]},
            {"choices": [{"delta": {"content": "is."}, "finish_reason": "stop"}]},
        ],
        b"%s\n",
    ),
    "Gemini's": (
        [{"candidates": [{"content": {"parts": [{"text": "Paris."}]}, "finishReason": "STOP"}]}],
        b"data: %s\n\n",
    ),
    "Anthropic's": (
        [
            {"type": "message_start", "message": {"content": []}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Paris."}},
            {"type": "message_stop"},
        ],
        b"data: %s\n\n",
    ),
    "a response's": (
        [
            {"type": "response.output_text.delta", "delta": "Paris."},
            {"type": "response.completed", "response": {"status": "completed", "output": []}},
        ],
        b"data: %s\n\n",
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_stream_of_an_unknown_api_is_joined_in_the_way_it_is_written(name: str) -> None:
    values, form = STREAMS[name]
    verdict = read(ANY, Prompt(body={}), b"".join(form % json.dumps(value).encode() for value in values))
    assert isinstance(verdict, Completion) and verdict.text == "Paris."
    if "eval_count" in values[-1]:
        assert verdict.usage is not None and verdict.usage[:2] == (9, 2)
    if len(values) > 1:
        cut = read(ANY, Prompt(body={}), b"".join(form % json.dumps(value).encode() for value in values[:-1] * 2))
        assert isinstance(cut, Fault) and cut.retry


def test_an_error_in_the_stream_of_an_unknown_api_is_an_error() -> None:
    lines = [*LINES, {"error": "the model runner died"}]
    verdict = read(ANY, Prompt(body={}), b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    assert isinstance(verdict, Fault) and verdict.message == "the model runner died"


def test_an_error_of_an_unknown_api_is_an_error() -> None:
    verdict = read(ANY, Prompt(body={}), {"error": {"code": 429, "message": "slow"}})
    assert isinstance(verdict, Fault) and verdict.kind is Kind.RATE_LIMITED
