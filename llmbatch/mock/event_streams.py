"""Cuts a finished answer into the server-sent events of a stream. Pure."""

from collections.abc import Callable, Iterator
from typing import Any

from llmbatch.codec import json
from llmbatch.mock.dialect import Turn
from llmbatch.mock.error_formats import OPENAI, Refusal
from llmbatch.mock.fake_text import cut

__all__ = ["STREAM_FAULTS", "chat_events", "completion_events", "response_events"]

STREAM_FAULTS = frozenset({"stream-cut", "stream-error", "no-done"})

_DONE = b"data: [DONE]\n\n"


def chat_events(answered: dict[str, Any], turn: Turn) -> list[bytes]:
    """Cut an answer into events, `[DONE]` last; a fault may leave out some."""
    return _chunks(answered, turn, "chat.completion.chunk", _pieces)


def completion_events(answered: dict[str, Any], turn: Turn) -> list[bytes]:
    """Cut a legacy completion into events: each chunk has the shape of an answer."""
    return _chunks(answered, turn, "text_completion", _text_pieces)


def response_events(answered: dict[str, Any], turn: Turn) -> list[bytes]:
    """Cut a response into events with names and numbers; the last one holds the complete response."""
    begun = answered | {"status": "in_progress", "output": [], "usage": None}
    sent: list[dict[str, Any]] = [
        {"type": f"response.{what}", "response": begun} for what in ("created", "in_progress")
    ]
    for place, item in enumerate(answered["output"]):
        sent.append({"type": "response.output_item.added", "output_index": place, "item": item | {"content": []}})
        for index, part in enumerate(item.get("content") or ()):
            kind, field = ("refusal", "refusal") if part["type"] == "refusal" else ("output_text", "text")
            where = {"item_id": item["id"], "output_index": place, "content_index": index}
            sent += [{"type": f"response.{kind}.delta", **where, "delta": piece} for piece in cut(part[field])]
        sent.append({"type": "response.output_item.done", "output_index": place, "item": item})
    name = turn.fault.name if turn.fault else None
    if name in ("stream-cut", "stream-error"):
        sent = sent[: len(sent) // 2]
    if name == "stream-error":
        sent.append({"type": "error", "code": "server_error", "message": "The server had an error.", "param": None})
    elif name != "stream-cut":
        sent.append({"type": f"response.{answered['status']}", "response": answered})
    return [
        b"event: " + one["type"].encode() + b"\n" + _event(one | {"sequence_number": number})
        for number, one in enumerate(sent)
    ]


def _chunks(
    answered: dict[str, Any], turn: Turn, kind: str, pieces: Callable[[dict[str, Any]], Iterator[dict[str, Any]]]
) -> list[bytes]:
    kept = ("id", "created", "model", "service_tier", "system_fingerprint")
    frame = {key: answered[key] for key in kept if key in answered}
    frame["object"] = kind
    options = turn.asked.body.get("stream_options")
    counted = isinstance(options, dict) and options.get("include_usage") is True
    if counted:
        frame["usage"] = None
    choices = [piece for choice in answered.get("choices") or () for piece in pieces(choice)]
    events = [_event(frame | {"choices": [choice]}) for choice in choices]
    match turn.fault.name if turn.fault else None:
        case "stream-cut":
            return events[: len(events) // 2]
        case "stream-error":
            broken = OPENAI.refuse(Refusal(500, "The server had an error while streaming.", code="internal_error"))
            return [*events[: len(events) // 2], b"data: " + broken.body + b"\n\n"]
        case name:
            if counted:
                events.append(_event(frame | {"choices": [], "usage": answered.get("usage")}))
            return events if name == "no-done" else [*events, _DONE]


def _text_pieces(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for part in cut(choice["text"]):
        yield {**choice, "text": part, "finish_reason": None}
    yield {**choice, "text": ""}


def _pieces(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    message = choice["message"]

    def piece(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        logprobs = choice.get("logprobs") if finish else None
        return {"index": choice["index"], "delta": delta, "logprobs": logprobs, "finish_reason": finish}

    yield piece({"role": "assistant", "content": "" if message["content"] is not None else None, "refusal": None})
    for key in ("reasoning_content", "content", "refusal"):
        text = message.get(key)
        for part in cut(text) if isinstance(text, str) else text or ():
            yield piece({key: [part] if isinstance(part, dict) else part})
    for index, call in enumerate(message.get("tool_calls", ())):
        arguments = call["function"]["arguments"]
        yield piece({"tool_calls": [{"index": index, **call, "function": {**call["function"], "arguments": ""}}]})
        for part in cut(arguments):
            yield piece({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    for key in ("images", "audio", "annotations", "function_call"):
        if message.get(key):
            yield piece({key: message[key]})
    yield piece({}, choice["finish_reason"])


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value) + b"\n\n"
