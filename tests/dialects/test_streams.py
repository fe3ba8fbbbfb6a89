"""`--stream` gives the same line as the answer without it, however it is cut, also from copies with other habits."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Fault
from llmbatch.core.outcome import Completion
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.answers import alone


def read(dialect: str, body: bytes, kind: str) -> Completion | Fault:
    (verdict,) = AnswerReader().read(alone(dialect, False), Reply(200, {"content-type": kind}, body))
    return verdict


def said(dialect: str, body: bytes, kind: str = "text/event-stream") -> dict[str, Any]:
    """Return what a line would have of an answer."""
    verdict = read(dialect, body, kind)
    assert isinstance(verdict, Completion), verdict
    return {
        "text": verdict.text,
        "finish_reason": verdict.finish_reason,
        "model": verdict.model,
        "usage": verdict.usage,
        **verdict.extra,
    }


@dataclass
class Answer:
    """What a model answered, before any dialect writes it down."""

    text: str
    reasoning: str
    calls: list[tuple[str, dict[str, str]]]
    """Name and arguments."""


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
ANSWERS = st.builds(
    Answer,
    WORDS,
    st.just("") | WORDS,
    st.lists(st.tuples(st.sampled_from(["look", "note"]), st.dictionaries(WORDS, WORDS, max_size=2)), max_size=3),
)


@st.composite
def cut(draw: st.DrawFn, text: str) -> list[str]:
    """Cut a text into pieces, some of them empty."""
    places = draw(st.lists(st.integers(0, len(text)), max_size=4).map(sorted))
    return [text[begin:end] for begin, end in zip([0, *places], [*places, len(text)], strict=True)]


NOISE = st.sampled_from(
    [b"", b": ping\n\n", b"data:\n\n", b"data: \n\n", b"event: ping\ndata: {}\n\n", b"\n", b"id: 7\n\n"]
)
PINGS = st.sampled_from([b'data: {"type":"ping"}\n\n', b"data: ping\n\n", b"event: keepalive\ndata: now\n\n"])


@st.composite
def stream(draw: st.DrawFn, values: list[Any], *, named: bool = False, end: bytes = b"") -> bytes:
    """Write values as events, with the noise that servers and proxies put between them."""
    out = b""
    ending = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    for value in values:
        out += draw(NOISE | PINGS)
        name = f"event: {value['type']}\n".encode() if named else b""
        out += name + draw(st.sampled_from([b"data: ", b"data:"])) + json.dumps(value).encode() + b"\n\n"
    return (out + end).replace(b"\n", ending)


def arguments(given: dict[str, str]) -> str:
    return json.dumps(given, ensure_ascii=False)


# Chat completions

USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
DONE = b"data: [DONE]\n\n"


def chat(answer: Answer) -> dict[str, Any]:
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": arguments(given)}}
        for n, (name, given) in enumerate(answer.calls)
    ]
    message = {"role": "assistant", "content": answer.text, "reasoning_content": answer.reasoning}
    finish = "tool_calls" if calls else "stop"
    choice = {"index": 0, "message": message | ({"tool_calls": calls} if calls else {}), "finish_reason": finish}
    return {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": USAGE}


@st.composite
def chat_stream(draw: st.DrawFn, answer: Answer) -> bytes:
    """Stream an answer in the way of OpenAI, or in that of one copy or another."""
    whole = chat(answer)
    index = draw(st.sampled_from([0, None, 0.0, "absent"]))

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
        place = {} if index == "absent" else {"index": index}
        return {"id": "c", "model": "m", "choices": [{**place, "delta": delta, "finish_reason": finish, **more}]}

    in_parts = draw(st.booleans())
    chunks = [chunk({"role": "assistant", "content": draw(st.sampled_from([None, ""]))})]
    for piece in draw(cut(answer.reasoning)):
        if in_parts:
            inner = draw(st.sampled_from([piece, [{"type": "text", "text": piece}]]))
            chunks.append(chunk({"content": [{"type": "thinking", "thinking": inner}]}))
        else:
            chunks.append(chunk({"reasoning_content": piece, "content": None}))
    for piece in draw(cut(answer.text)):
        as_part = in_parts and draw(st.booleans())
        chunks.append(chunk({"content": [{"type": "text", "text": piece}] if as_part else piece}))
    chunks += [chunk({"tool_calls": [call]}) for call in draw(call_pieces(whole["choices"][0]["message"]))]
    place = draw(st.sampled_from(["chunk", "choice", "x_groq", "last", "each", "twice"]))
    in_choice = {"usage": USAGE} if place == "choice" else {}
    chunks.append(chunk({}, whole["choices"][0]["finish_reason"], **in_choice))
    match place:
        case "chunk" | "twice":
            chunks.append({"choices": [], "usage": USAGE})
            chunks += [{"choices": [], "usage": dict.fromkeys(USAGE, 0)}] * (place == "twice")
        case "x_groq":
            chunks[-1]["x_groq"] = {"id": "g", "usage": USAGE}
        case "last":
            chunks[-1]["usage"] = USAGE
        case "each":
            for number, one in enumerate(chunks):
                one["usage"] = USAGE if number == len(chunks) - 1 else {"prompt_tokens": 9, "completion_tokens": 1}
    return draw(stream(chunks, end=draw(st.sampled_from([DONE, b""]))))


@st.composite
def call_pieces(draw: st.DrawFn, message: dict[str, Any]) -> list[dict[str, Any]]:
    """Cut tool calls into pieces, told apart by whatever a server has for it."""
    habit = draw(
        st.sampled_from(
            ["openai", "no index", "null", "text", "zero", "repeats", "unstable ids", "objects", "all so far"]
        )
    )
    pieces = []
    for number, call in enumerate(message.get("tool_calls", ())):
        name, written = call["function"]["name"], call["function"]["arguments"]
        place: dict[str, Any] = {"index": number}
        if habit == "no index":
            place = {}
        elif habit in ("null", "text", "zero"):
            place = {"index": {"null": None, "text": str(number), "zero": 0}[habit]}
        if habit == "objects":
            pieces.append({**place, "id": call["id"], "function": {"name": name, "arguments": json.loads(written)}})
            continue
        parts = draw(cut(written))
        pieces.append(
            {**place, "id": call["id"], "type": "function", "function": {"name": name, "arguments": parts[0]}}
        )
        so_far = parts[0]
        for rest in parts[1:]:
            so_far += rest
            more: dict[str, Any] = {**place, "function": {"arguments": so_far if habit == "all so far" else rest}}
            if habit in ("repeats", "zero"):
                more |= {"id": call["id"]}
                more["function"]["name"] = name if habit == "repeats" else None
            elif habit == "unstable ids":
                more |= {"id": f"other_{number}_{len(pieces)}"}
            pieces.append(more)
    return pieces


def normal(line: dict[str, Any]) -> dict[str, Any]:
    """Compare the arguments of calls as what they are: JSON that is written in more than one way."""
    for call in line.get("tool_calls", ()):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"] or "{}")
    return line


@given(st.data(), ANSWERS)
def test_a_chat_is_the_same_streamed_and_whole(data: st.DataObject, answer: Answer) -> None:
    streamed = said("chat", data.draw(chat_stream(answer)))
    assert normal(streamed) == normal(said("chat", json.dumps(chat(answer)).encode(), "application/json"))


@given(st.data(), WORDS)
def test_whole_messages_in_chunks_are_read_as_pieces_or_as_all_there_is_so_far(data: st.DataObject, text: str) -> None:
    pieces = [piece for piece in data.draw(cut("[" + text + "]")) if piece]
    so_far = ["".join(pieces[: n + 1]) for n in range(len(pieces))]
    beside, growing = data.draw(st.booleans()), data.draw(st.booleans())
    # A piece that begins with all before it cannot be told from all there is so far.
    assume(beside or growing or not any(map(str.startswith, pieces[1:], so_far)))
    chunks: list[Any] = []
    for piece, whole in zip(pieces, so_far, strict=True):
        shown = whole if beside or growing else piece
        delta = {"delta": {"content": piece}} if beside else {}
        chunks.append({"model": "m", "choices": [{"index": 0, "message": {"content": shown}, **delta}]})
    chunks[-1]["choices"][0]["finish_reason"] = "stop"
    assert said("chat", data.draw(stream(chunks)))["text"] == "[" + text + "]"


# Legacy completions


@given(st.data(), WORDS)
def test_a_completion_is_the_same_streamed_and_whole(data: st.DataObject, text: str) -> None:
    def chunk(piece: str, finish: str | None) -> dict[str, Any]:
        logprobs = {"tokens": [piece], "token_logprobs": [-0.5]}
        return {"model": "m", "choices": [{"index": 0, "text": piece, "logprobs": logprobs, "finish_reason": finish}]}

    pieces = data.draw(cut(text))
    chunks: list[Any] = [chunk(piece, None) for piece in pieces[:-1]] + [chunk(pieces[-1], "length")]
    chunks.append({"choices": [], "usage": USAGE})
    whole = chunk(text, "length") | {"usage": USAGE}
    logprobs = {"tokens": pieces, "token_logprobs": [-0.5] * len(pieces)}
    whole["choices"][0]["logprobs"] = logprobs
    assert said("completions", data.draw(stream(chunks))) == said("completions", json.dumps(whole).encode())


# Anthropic's messages


@st.composite
def message_stream(draw: st.DrawFn, answer: Answer) -> bytes:
    events: list[dict[str, Any]] = []
    begun = {"type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
    zeros = draw(st.booleans())  # some copies count at the end only
    usage = {"input_tokens": 0, "output_tokens": 0} if zeros else {"input_tokens": 9, "output_tokens": 1}
    events.append({"type": "message_start", "message": begun | {"usage": usage}})
    numbers = draw(st.sampled_from(["in order", "zero", "absent"]))

    def block(began: dict[str, Any], deltas: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        number = sum(event["type"] == "content_block_start" for event in events)
        place = {"in order": {"index": number}, "zero": {"index": 0}, "absent": {}}[numbers]
        yield {"type": "content_block_start", **place, "content_block": began}
        yield from ({"type": "content_block_delta", **place, "delta": delta} for delta in deltas)
        yield {"type": "content_block_stop", **place}

    if answer.reasoning:
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in draw(cut(answer.reasoning))]
        events += list(
            block({"type": "thinking", "thinking": ""}, [*thoughts, {"type": "signature_delta", "signature": "s"}])
        )
    texts = [{"type": "text_delta", "text": piece} for piece in draw(cut(answer.text))]
    events += list(block({"type": "text", "text": ""}, texts))
    for number, (name, fields) in enumerate(answer.calls):
        pieces: list[Any] = draw(cut(arguments(fields))) if draw(st.booleans()) else [fields]
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        events += list(block({"type": "tool_use", "id": f"t{number}", "name": name, "input": {}}, deltas))
    stop = "tool_use" if answer.calls else "end_turn"
    counted = {"output_tokens": 5} | ({"input_tokens": 9} if zeros else {"input_tokens": draw(st.sampled_from([0, 9]))})
    events.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": counted})
    end = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    return draw(stream(events, named=draw(st.booleans()), end=draw(st.sampled_from([end, DONE, end + DONE, b""]))))


@given(st.data(), ANSWERS)
def test_a_message_is_the_same_streamed_and_whole(data: st.DataObject, answer: Answer) -> None:
    content: list[dict[str, Any]] = [{"type": "thinking", "thinking": answer.reasoning}] if answer.reasoning else []
    content.append({"type": "text", "text": answer.text})
    content += [
        {"type": "tool_use", "id": f"t{n}", "name": name, "input": given}
        for n, (name, given) in enumerate(answer.calls)
    ]
    whole = {
        "type": "message",
        "model": "m",
        "content": content,
        "stop_reason": "tool_use" if answer.calls else "end_turn",
    }
    whole["usage"] = {"input_tokens": 9, "output_tokens": 5}
    streamed = said("messages", data.draw(message_stream(answer)))
    assert normal(streamed) == normal(said("messages", json.dumps(whole).encode()))


# Gemini


@given(st.data(), ANSWERS)
def test_a_gemini_answer_is_the_same_streamed_and_whole(data: st.DataObject, answer: Answer) -> None:
    parts: list[dict[str, Any]] = [{"text": answer.reasoning, "thought": True}] if answer.reasoning else []
    parts.append({"text": answer.text})
    calls = [{"functionCall": {"name": name, "args": given}} for name, given in answer.calls]
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 5}

    def chunk(pieces: list[dict[str, Any]], finish: str | None, **more: Any) -> dict[str, Any]:
        place = data.draw(st.sampled_from([{}, {"index": 0}, {"index": None}]))
        candidate = {**place, "content": {"role": "model", "parts": pieces}, "finishReason": finish}
        return {"modelVersion": "m", "candidates": [candidate], **more}

    whole = chunk([*parts, *calls], "STOP", usageMetadata=usage)
    pieces = [{**part, "text": piece} for part in parts for piece in data.draw(cut(part["text"]))] + calls
    chunks = [chunk([piece], None, usageMetadata={"promptTokenCount": 9}) for piece in pieces]
    chunks.append(chunk([], "STOP", usageMetadata=usage))
    streamed = said("gemini", data.draw(stream(chunks, end=data.draw(st.sampled_from([b"", DONE])))))
    assert streamed == said("gemini", json.dumps(whole).encode())
    assert streamed == said("gemini", json.dumps(chunks).encode()), "without alt=sse it is one list"


# Responses


@st.composite
def response_stream(draw: st.DrawFn, response: dict[str, Any]) -> bytes:
    """Stream a response: OpenAI's events, or those that some copies leave out."""
    added, parts_done, items_done = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    ids = draw(st.sampled_from(["stable", "changing", "absent"]))
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {"status": "in_progress", "output": []}}]

    def where(place: int, item: dict[str, Any], number: int) -> dict[str, Any]:
        id = {"stable": {"item_id": item["id"]}, "changing": {"item_id": f"x{len(events)}_{number}"}, "absent": {}}[ids]
        return {"output_index": place, **id}

    for place, item in enumerate(response["output"]):
        kind = item["type"]
        if added or kind == "function_call":
            empty = {"message": {"content": []}, "reasoning": {"summary": []}, "function_call": {"arguments": ""}}[kind]
            events.append({"type": "response.output_item.added", "output_index": place, "item": item | empty})
        what, text, index = {
            "message": lambda item: ("output_text", item["content"][0]["text"], "content_index"),
            "reasoning": lambda item: ("reasoning_summary_text", item["summary"][0]["text"], "summary_index"),
            "function_call": lambda item: ("function_call_arguments", item["arguments"], "content_index"),
        }[kind](item)
        field = "arguments" if kind == "function_call" else "text"
        for number, piece in enumerate(draw(cut(text))):
            events.append({"type": f"response.{what}.delta", **where(place, item, number), index: 0, "delta": piece})
        if parts_done:
            events.append({"type": f"response.{what}.done", **where(place, item, 99), index: 0, field: text})
        if items_done:
            events.append({"type": "response.output_item.done", "output_index": place, "item": item})
    output = draw(st.sampled_from([[], None, response["output"]]))
    events.append({"type": "response.completed", "response": response | {"output": output}})
    return draw(stream(events, named=draw(st.booleans())))


@given(st.data(), ANSWERS)
def test_a_response_is_the_same_streamed_and_whole(data: st.DataObject, answer: Answer) -> None:
    output: list[dict[str, Any]] = []
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": answer.reasoning}]
        output.append({"type": "reasoning", "id": "r", "summary": summary})
    content = [{"type": "output_text", "text": answer.text}]
    output.append({"type": "message", "id": "m", "role": "assistant", "content": content})
    output += [
        {"type": "function_call", "id": f"f{n}", "call_id": f"c{n}", "name": name, "arguments": arguments(given)}
        for n, (name, given) in enumerate(answer.calls)
    ]
    usage = {"input_tokens": 9, "output_tokens": 5}
    response = {"id": "r", "status": "completed", "model": "m", "output": output, "usage": usage}
    streamed = said("responses", data.draw(response_stream(response)))
    assert streamed == said("responses", json.dumps(response).encode())


# Errors in a stream

BEGUN: dict[str, bytes] = {
    "chat": b'data: {"choices":[{"index":0,"delta":{"content":"Par"}}]}\n\n',
    "completions": b'data: {"choices":[{"index":0,"text":"Par"}]}\n\n',
    "messages": b'data: {"type":"message_start","message":{"content":[]}}\n\n'
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Par"}}\n\n',
    "gemini": b'data: {"candidates":[{"index":0,"content":{"parts":[{"text":"Par"}]}}]}\n\n',
    "responses": b'data: {"type":"response.output_text.delta","output_index":0,"delta":"Par"}\n\n',
}

ERRORS: dict[str, bytes] = {
    "an object": b'data: {"error":{"message":"engine died","code":500}}\n\n',
    "words": b'data: {"error":"engine died"}\n\n',
    "flat": b'data: {"object":"error","message":"engine died","code":500}\n\n',
    "code and message": b'data: {"code":"InternalError","message":"engine died","request_id":"r"}\n\n',
    "a message alone": b'data: {"message":"engine died"}\n\n',
    "a type and a message": b'data: {"type":"InternalServerError","message":"engine died"}\n\n',
    "plain words": b"data: engine died\n\n",
    "a failure": b'data: {"success":false,"msg":"engine died"}\n\n',
    "FastAPI's": b'data: {"detail":"engine died"}\n\n',
    "named": b'event: error\ndata: {"message":"engine died"}\n\n',
    "named, in words": b"event: error\ndata: engine died\n\n",
    "named, as JSON text": b'event: error\ndata: "engine died"\n\n',
    "Anthropic's": b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"engine died"}}\n\n',
    "a bare line": b'{"error":{"message":"engine died","code":500}}\n\n',
    "bare lines": b'{\n  "error": {\n    "message": "engine died"\n  }\n}\n\n',
    "a bare line behind another": b'data: {"type":"ping"}\n{"error":{"message":"engine died"}}\n',
    "a page": b"<!DOCTYPE html><title>engine died</title>\n\n",
    "a page's body": b"<html><title>engine died</title></html>\n",
    "in a list": b'data: [{"error":{"message":"engine died","code":500}}]\n\n',
}


@pytest.mark.parametrize("dialect", BEGUN)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("end", [b"", DONE, b'data: {"type":"message_stop"}\n\n' + DONE])
def test_an_error_in_whatever_shape_is_no_answer_and_its_words_are_kept(dialect: str, error: str, end: bytes) -> None:
    verdict = read(dialect, BEGUN[dialect] + ERRORS[error] + end, "text/event-stream")
    assert isinstance(verdict, Fault) and "engine died" in verdict.message


@pytest.mark.parametrize("dialect", ["chat", "completions"])
@pytest.mark.parametrize("finish", [None, "error"])
def test_an_error_in_a_choice_is_no_answer(dialect: str, finish: str | None) -> None:
    choice = {"index": 0, "delta": {}, "error": {"code": 502, "message": "engine died"}, "finish_reason": finish}
    error = b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
    verdict = read(dialect, BEGUN[dialect] + error + DONE, "text/event-stream")
    assert isinstance(verdict, Fault) and verdict.message == "engine died"


def test_an_error_in_groqs_own_field_is_no_answer() -> None:
    error = b'data: {"choices":[],"x_groq":{"id":"g","error":"engine died"}}\n\n'
    verdict = read("chat", BEGUN["chat"] + error + DONE, "text/event-stream")
    assert isinstance(verdict, Fault) and verdict.message == "engine died"


@pytest.mark.parametrize("dialect", BEGUN)
def test_nothing_is_an_answer_that_did_not_end(dialect: str) -> None:
    verdict = read(dialect, BEGUN[dialect], "text/event-stream")
    assert isinstance(verdict, Fault) and verdict.message == "the answer ended in the middle"


@pytest.mark.parametrize("dialect", BEGUN)
def test_done_is_an_end_where_a_copy_gives_no_reason(dialect: str) -> None:
    assert said(dialect, BEGUN[dialect] + DONE)["text"] == "Par"


# What a body is, whatever its type says

WHOLE: dict[str, Any] = {
    "chat": {"choices": [{"index": 0, "message": {"content": "whole"}, "finish_reason": "stop"}]},
    "completions": {"choices": [{"index": 0, "text": "whole", "finish_reason": "stop"}]},
    "messages": {"type": "message", "content": [{"type": "text", "text": "whole"}], "stop_reason": "end_turn"},
    "gemini": {"candidates": [{"content": {"parts": [{"text": "whole"}]}, "finishReason": "STOP"}]},
    "responses": {
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "whole"}]}],
    },
}
WRITTEN: dict[str, Callable[[Any], bytes]] = {
    "as it is": lambda body: json.dumps(body).encode(),
    "on several lines": lambda body: json.dumps(body, indent=2).encode() + b"\n",
    "with the end of a stream behind it": lambda body: json.dumps(body).encode() + b"\n\n" + DONE,
    "with a comment behind it": lambda body: json.dumps(body, indent=2).encode() + b"\r\n\r\n: done\r\n\r\n",
    "with NUL behind it": lambda body: json.dumps(body).encode() + b"\0\n\0",
    "behind a byte order mark": lambda body: b"\xef\xbb\xbf" + json.dumps(body).encode(),
}


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json", "text/plain; charset=utf-8", ""])
@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("dialect", WHOLE)
def test_json_is_an_answer_whatever_it_is_called(dialect: str, how: str, kind: str) -> None:
    assert said(dialect, WRITTEN[how](WHOLE[dialect]), kind)["text"] == "whole"


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json", ""])
@pytest.mark.parametrize(
    "first", [b"", b":\n\n", b": OPENROUTER\n\n", b"id: 1\n", b"retry: 10\n\n", b"\n\n", b"event: x\n"]
)
def test_a_stream_is_an_answer_whatever_it_is_called(first: bytes, kind: str) -> None:
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"whole"},"finish_reason":"stop"}]}\n\n'
    assert said("chat", first + chunk + DONE, kind)["text"] == "whole"


def test_embeddings_as_an_event_are_read() -> None:
    event = b'data: {"data":[{"embedding":[0.5]}]}\n\n'
    for kind in ("text/event-stream", "application/json"):
        verdict = read("embeddings", event + DONE, kind)
        assert isinstance(verdict, Completion) and verdict.extra["embedding"] == [0.5]


def test_a_whole_answer_as_the_only_event_is_read() -> None:
    for dialect in WHOLE:
        body = WHOLE[dialect] | ({"object": "response"} if dialect == "responses" else {})
        event = b"data: " + json.dumps(body).encode() + b"\n\n"
        assert said(dialect, event)["text"] == "whole"


# Other habits of copies, each with the line that must come

PIECE: dict[str, Any] = {"index": 0, "finish_reason": None}
HI = {"choices": [PIECE | {"delta": {"content": "Hi"}}]}
END = {"choices": [PIECE | {"delta": {}, "finish_reason": "stop"}]}


def as_events(*values: Any) -> bytes:
    return b"".join(
        value if isinstance(value, bytes) else b"data: %s\n\n" % json.dumps(value).encode() for value in values
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b" " + as_events(HI, END, DONE), "Hi"),
        (as_events({"choices": [PIECE | {"delta": {"text": "Hi"}}]}, END, DONE), "Hi"),
        (as_events({"choices": [None]}, HI, END), "Hi"),
        (as_events({"message": "queued", "status": "processing"}, HI, END, DONE), "Hi"),
        (as_events({"type": "status", "message": "loading"}, {"usage": USAGE}, HI, END, DONE), "Hi"),
        (as_events(HI, b'data: "[DONE]"\n\n'), "Hi"),
        (as_events({"choices": [PIECE | {"delta": {"content": "H"}}]}, b" ", END, b"\tDATA:", DONE[5:]), "H"),
        (as_events(HI, b" ", {"choices": [PIECE | {"delta": {"content": "!"}}]}, END), "Hi!"),
        (as_events(HI, {"choices": [PIECE | {"delta": {"content": 4}}]}, END, DONE), "Hi4"),
        (as_events(HI, b"event: done\ndata:\n\n"), "Hi"),
        (as_events(*({"choices": [PIECE | {"content": text}]} for text in "Hi"), END), "Hi"),
        (as_events(*({"choices": [PIECE | {"message": text}]} for text in "Hi"), END), "Hi"),
        (as_events({"choices": [PIECE | {"delta": {"content": "Hi"}, "content": "Hi"}]}, END), "Hi"),
        (as_events(*({"choices": [PIECE | {"delta": {"response": text}}]} for text in "Hi"), END), "Hi"),
        (as_events(*({"choices": [PIECE | {"delta": {"message": {"content": text}}}]} for text in "Hi"), END), "Hi"),
        (as_events(*({"choices": [PIECE | {"delta": {"content": {"value": text}}}]} for text in "Hi"), END), "Hi"),
        (as_events(b'data: "keep-alive"\n\ndata: true\n\ndata: 1\n\ndata: : PROCESSING\n\n', HI, END), "Hi"),
        (as_events(HI, b"event: end\n\n"), "Hi"),
        (as_events(HI, b"event: done\ndata: {}\n\n"), "Hi"),
        (as_events(HI, b"data: [END]\n\n"), "Hi"),
        (as_events(HI, END, DONE).replace(b"\n\n", b""), "Hi"),
        (as_events(*({"code": 0, "data": event} for event in (HI, END)), DONE), "Hi"),
        (as_events(HI, END, DONE).replace(b"Hi", b"H\x01i"), "H\x01i"),
        (
            as_events(
                b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n',
                b'data: {"choices":[{"index":0,"delta":{"content":"\\uDE00!"}}]}\n\n',
                END,
            ),
            "😀!",
        ),
    ],
)
def test_habits_of_copies_cost_no_text(body: bytes, text: str) -> None:
    assert said("chat", body)["text"] == text


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "thinking"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"content": "Hm, "}, {"content": "yes."}),
        ([{"type": "text", "text": "Hm, "}], [{"type": "text", "text": "yes."}]),
        ({"type": "text", "text": "Hm, "}, {"type": "text", "text": "yes."}),
    ],
)
def test_thoughts_in_pieces_of_any_shape_are_joined(name: str, one: Any, other: Any) -> None:
    thinks = [{"choices": [PIECE | {"delta": {name: piece}}]} for piece in (one, other)]
    line = said("chat", as_events(*thinks, HI, END, DONE))
    assert (line["text"], line["reasoning"]) == ("Hi", "Hm, yes.")


@pytest.mark.parametrize("field", ["message", "delta"])
def test_a_chat_is_an_answer_to_a_completion(field: str) -> None:
    choice = {"index": 0, field: {"content": "Hi"}, "finish_reason": "stop"}
    assert said("completions", json.dumps({"choices": [choice]}).encode())["text"] == "Hi"
    assert said("completions", as_events({"choices": [choice]}, DONE))["text"] == "Hi"


@pytest.mark.parametrize("output", ["Hi", {"type": "message", "content": "Hi"}])
def test_the_output_of_a_response_may_be_no_list(output: Any) -> None:
    assert said("responses", json.dumps({"status": "completed", "output": output}).encode())["text"] == "Hi"


def test_null_in_a_block_is_no_piece_of_it() -> None:
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    body = as_events(
        {"type": "message_start", "message": {"content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": None}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": None}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_start", "index": 1, "content_block": call},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": None}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    )
    line = said("messages", body)
    assert (line["text"], line["tool_calls"][0]["function"]) == ("Hi", {"name": "f", "arguments": "{}"})


@pytest.mark.parametrize(
    "body",
    [
        as_events({"message": "out of memory"}, DONE),
        as_events(HI, {"message": "out of memory"}, END, DONE),
        as_events({"message": "out of memory"}, {"choices": [], "usage": USAGE}, DONE),
    ],
)
def test_a_message_after_which_no_answer_begins_is_an_error(body: bytes) -> None:
    verdict = read("chat", body, "text/event-stream")
    assert isinstance(verdict, Fault)
    assert verdict.message == "out of memory"


def test_half_of_a_character_makes_no_answer_unlike_the_one_without_a_stream() -> None:
    body = as_events(b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n', END)
    verdict = read("chat", body, "text/event-stream")
    assert isinstance(verdict, Fault)
    assert verdict.raw == body


CALL: dict[str, Any] = {"type": "function_call", "id": "f", "call_id": "c", "name": "look", "arguments": ""}
SAYS: dict[str, Any] = {"type": "message", "id": "i", "content": [{"type": "output_text", "text": "Hi"}]}
THINKS: dict[str, Any] = {"type": "reasoning", "id": "q", "summary": [{"type": "summary_text", "text": "hm"}]}


def ended(*output: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"status": "completed", "model": "m", "output": [*output]}}


def item(value: Any, place: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": place, "item": value}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (as_events(item(SAYS), item(SAYS | {"id": "j"}, 1), ended(SAYS)), {"text": "HiHi"}),
        (as_events(item(SAYS), ended(SAYS | {"content": [{"type": "output_text", "text": ""}]})), {"text": "Hi"}),
        (as_events(item(CALL | {"arguments": "{}"}), ended(CALL)), {"arguments": "{}"}),
        (as_events(item(CALL), ended()), {"arguments": ""}),
        (as_events(item(THINKS), ended(CALL)), {"arguments": "", "reasoning": "hm"}),
        (as_events(item(THINKS), item(SAYS, 1), ended(SAYS | {"id": "z"})), {"text": "Hi", "reasoning": "hm"}),
        (
            as_events({"type": "response.reasoning.delta", "item_id": "q", "delta": "hm"}, ended(SAYS)),
            {"text": "Hi", "reasoning": "hm"},
        ),
    ],
)
def test_what_the_last_event_lacks_comes_from_those_before(body: bytes, fields: dict[str, Any]) -> None:
    found = said("responses", body)
    for call in found.get("tool_calls", ()):
        found["arguments"] = call["function"]["arguments"]
    assert {name: found[name] for name in fields} == fields


def candidate(**fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": []}, **fields}]}


def test_no_chunk_of_gemini_replaces_what_an_earlier_one_had() -> None:
    def chosen(token: str) -> dict[str, Any]:
        return {"chosenCandidates": [{"token": token, "logProbability": -1}]}

    def sources(*names: str) -> dict[str, Any]:
        return {"groundingChunks": [{"web": {"uri": name}} for name in names]}

    def spoken(data: str) -> dict[str, Any]:
        return {"parts": [{"inlineData": {"mimeType": "audio/pcm", "data": data}}]}

    found = said(
        "gemini",
        as_events(
            candidate(logprobsResult=chosen("a"), groundingMetadata=sources("u"), content=spoken("QQ==")),
            candidate(logprobsResult=chosen("b"), groundingMetadata=sources("v"), content=spoken("Qg==")),
            candidate(groundingMetadata=sources("v", "w"), finishReason="STOP"),
        ),
    )
    assert [entry["token"] for entry in found["logprobs"]["content"]] == ["a", "b"]
    assert [entry["web"]["uri"] for entry in found["citations"]] == ["u", "v", "v", "w"]
    assert found["audio"] == {"data": "QUI=", "mime_type": "audio/pcm"}


def test_an_answer_of_gemini_may_stand_in_a_field() -> None:
    inner = candidate(content={"parts": [{"text": "Hi"}]}, finishReason="STOP")
    assert said("gemini", as_events({"response": inner}))["text"] == "Hi"
    assert said("gemini", json.dumps({"response": inner}).encode(), "application/json")["text"] == "Hi"


def test_an_empty_delta_does_not_replace_the_arguments_that_a_block_began_with() -> None:
    began = {"type": "tool_use", "id": "t", "name": "look", "input": {"a": 1}}
    found = said(
        "messages",
        as_events(
            {"type": "message_start", "message": {"role": "assistant", "content": []}},
            {"type": "content_block_start", "index": 0, "content_block": began},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ""}},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        ),
    )
    assert found["tool_calls"][0]["function"]["arguments"] == '{"a":1}'
