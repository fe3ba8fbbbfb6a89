"""A streamed chat completion folded into the answer it would have been without streaming."""

from typing import Any

from llmbatch.codec import json
from llmbatch.codec.sse import events

__all__ = ["CutStream", "fold"]

_DONE = b"[DONE]"


class CutStream(ValueError):
    """The stream ended before its end: no `[DONE]`, and no finish reason."""


def fold(stream: bytes) -> dict[str, Any]:
    """Join the chunks of a finished stream into one chat completion; an error among them is the answer.

    Raises CutStream, or ValueError for chunks that are not JSON objects.
    """
    body: dict[str, Any] = {"object": "chat.completion"}
    choices: dict[int, dict[str, Any]] = {}
    done = False
    for event in events(stream):
        if event.data.startswith(_DONE):
            done = True
            break
        chunk = json.loads_shallow(event.data)
        if not isinstance(chunk, dict):
            raise ValueError("a chunk is not an object")
        if chunk.get("error") or event.name == "error":
            return {"error": chunk.get("error") or chunk}
        for name in ("id", "created", "model", "system_fingerprint", "service_tier", "usage"):
            if chunk.get(name) is not None:
                body[name] = chunk[name]
        for piece in chunk.get("choices") or ():
            _add(choices, piece)
    body["choices"] = [choices[index] for index in sorted(choices)]
    finished = bool(choices) and all(choice["finish_reason"] for choice in choices.values())
    if not done and not finished:
        raise CutStream("the stream ended in the middle")
    for choice in body["choices"]:
        choice["finish_reason"] = choice["finish_reason"] or "stop"  # some copies end with [DONE] alone
    return body


def _add(choices: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    index = piece.get("index", 0)
    choice = choices.setdefault(
        index, {"index": index, "message": {"role": "assistant", "content": None}, "finish_reason": None}
    )
    message = choice["message"]
    delta = piece.get("delta") or {}
    for name in ("content", "refusal", "reasoning_content", "reasoning"):
        if isinstance(delta.get(name), str):
            message[name] = (message.get(name) or "") + delta[name]
    for call in delta.get("tool_calls") or ():
        _add_call(message.setdefault("tool_calls", []), call)
    logprobs = piece.get("logprobs")
    for name, entries in logprobs.items() if isinstance(logprobs, dict) else ():
        if isinstance(entries, list):
            choice.setdefault("logprobs", {}).setdefault(name, []).extend(entries)
    if piece.get("finish_reason"):
        choice["finish_reason"] = piece["finish_reason"]


def _add_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    """Add a piece of a tool call; its arguments come in fragments of text."""
    index = piece.get("index", len(calls))
    while len(calls) <= index < 1000:
        calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
    call, function = calls[index], piece.get("function") or {}
    call["id"] = piece.get("id") or call["id"]
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""
