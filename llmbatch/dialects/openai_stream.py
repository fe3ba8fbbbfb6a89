"""A stream of OpenAI's: how it is asked for, and folded into the answer it would have been without streaming."""

from collections.abc import Callable
from typing import Any

from llmbatch.codec import json
from llmbatch.codec.sse import events

__all__ = ["CutStream", "fold", "fold_completion", "streamed"]

_DONE = b"[DONE]"
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
_IN_PIECES = frozenset([*_TEXTS, "message", "tool_calls", "function", "name", "arguments", "text"])
"""Where texts in pieces are, and what leads there."""


class _Pieces(list[str]):
    """A text that comes in pieces."""


class CutStream(ValueError):
    """The stream ended before its end: no `[DONE]`, and no finish reason."""


def streamed(item: dict[str, Any], *, usage: bool) -> dict[str, Any]:
    """Ask for an answer as a stream, and, where the provider takes the question, for its usage at the end."""
    if not usage:
        return item | {"stream": True}
    options = item.get("stream_options")
    own = options if isinstance(options, dict) else {}
    return item | {"stream": True, "stream_options": {**own, "include_usage": True}}


def fold(stream: bytes) -> dict[str, Any]:
    """Join the chunks of a finished stream into one chat completion; an error among them is the answer.

    Raises CutStream, or ValueError for chunks that are not JSON objects.
    """
    return _folded(stream, "chat.completion", _add)


def fold_completion(stream: bytes) -> dict[str, Any]:
    """Do the same for a legacy completion."""
    return _folded(stream, "text_completion", _add_text)


def _folded(
    stream: bytes, kind: str, add: Callable[[dict[int, dict[str, Any]], dict[str, Any]], None]
) -> dict[str, Any]:
    body: dict[str, Any] = {"object": kind}
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
            add(choices, piece)
    body["choices"] = [_joined(choices[index]) for index in sorted(choices)]
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
    for name in _TEXTS:
        if isinstance(delta.get(name), str):
            pieces = message.get(name)
            if pieces is None:
                pieces = message[name] = _Pieces()
            pieces.append(delta[name])
    for call in delta.get("tool_calls") or ():
        _add_call(message.setdefault("tool_calls", []), call)
    logprobs = piece.get("logprobs")
    for name, entries in logprobs.items() if isinstance(logprobs, dict) else ():
        if isinstance(entries, list):
            choice.setdefault("logprobs", {}).setdefault(name, []).extend(entries)
    if piece.get("finish_reason"):
        choice["finish_reason"] = piece["finish_reason"]


def _add_text(choices: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    index = piece.get("index", 0)
    choice = choices.setdefault(index, {"index": index, "text": _Pieces(), "finish_reason": None})
    choice["text"].append(piece.get("text") or "")
    if piece.get("finish_reason"):
        choice["finish_reason"] = piece["finish_reason"]


def _add_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    """Add a piece of a tool call; its arguments come in fragments of text."""
    index = piece.get("index", len(calls))
    while len(calls) <= index < 1000:
        calls.append({"id": None, "type": "function", "function": {"name": _Pieces(), "arguments": _Pieces()}})
    call, function = calls[index], piece.get("function") or {}
    call["id"] = piece.get("id") or call["id"]
    for name, pieces in call["function"].items():
        pieces.append(function.get(name) or "")


def _joined(value: Any) -> Any:
    """Join the pieces of texts, once: adding each to what is there takes time that grows with its square."""
    if isinstance(value, _Pieces):
        return "".join(value)
    if isinstance(value, dict):
        return {name: _joined(inner) if name in _IN_PIECES else inner for name, inner in value.items()}
    return [_joined(inner) for inner in value] if isinstance(value, list) else value
