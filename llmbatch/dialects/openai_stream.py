"""Requests a stream of chat or legacy completions, and folds it into the answer it would have been. Pure.

All rules for copies that stream otherwise than OpenAI are here; those for tool calls are in `tool_call_pieces`.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from llmbatch.codec import json
from llmbatch.codec.sse import CutStream
from llmbatch.dialects.finish_reasons import is_end
from llmbatch.dialects.stream_events import DONE, ERROR, is_empty, merged_usage, stream_events
from llmbatch.dialects.tool_call_pieces import ToolCallPieces

__all__ = ["fold", "fold_completion", "joined_base64", "streamed"]

_TEXTS = frozenset(
    {
        "text",
        "output_text",
        "generated_text",
        "response",
        "refusal",
        "reasoning_content",
        "reasoning",
        "reasoning_text",
        "thinking",
    }
)
"""Fields of a message whose text arrives in pieces."""

_LISTS = frozenset({"reasoning_details", "thinking_blocks"})
"""Fields of a message whose entries arrive in pieces."""

_GROWING_LISTS = frozenset({"images", "annotations", "citations"})
"""Fields of a message whose entries arrive one by one, or all so far in each chunk."""

_CONSTANT = frozenset({"id", "created", "model", "system_fingerprint", "service_tier"})
"""Fields that all chunks repeat."""

_NOT_KEPT = frozenset({"choices", "object", "obfuscation"})
"""Fields of a chunk that the whole answer has in another form, or not at all."""


def streamed(item: dict[str, Any], *, usage: bool) -> dict[str, Any]:
    """Ask for a stream, and for usage at its end where the provider supports that."""
    if not usage:
        return item | {"stream": True}
    options = item.get("stream_options")
    own = options if isinstance(options, dict) else {}
    return item | {"stream": True, "stream_options": {**own, "include_usage": True}}


def fold(stream: bytes) -> dict[str, Any]:
    """Join the chunks of a finished stream into one chat completion; an error among them is returned.

    Raises CutStream, or ValueError, TypeError or AttributeError for chunks of another shape.
    """
    return _folded(stream, legacy=False)


def fold_completion(stream: bytes) -> dict[str, Any]:
    """Join the chunks of a finished stream into one legacy completion, as `fold` does."""
    return _folded(stream, legacy=True)


def _folded(stream: bytes, *, legacy: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"object": "text_completion" if legacy else "chat.completion"}
    settled = set(_NOT_KEPT)
    choices: dict[int, _Choice] = {}
    done = False
    for name, chunk in stream_events(stream):
        if name == DONE:
            done = True
        elif name == ERROR:
            return chunk
        else:
            for field, value in chunk.items():
                if field not in settled and not is_empty(value):
                    if field in _CONSTANT:
                        settled.add(field)
                    error = _add(body, field, value)
                    if error:
                        return {"error": error}
            for place, piece in enumerate(chunk.get("choices") or ()):
                if piece is not None:
                    _choice_of(piece, place, choices).add(piece)
    if not done and not (choices and all(choice.has_ended() for choice in choices.values())):
        raise CutStream("the stream ended in the middle")
    for choice in choices.values():
        body["usage"] = merged_usage(body.get("usage"), choice.usage)
    body["choices"] = [choices[index].joined(index, legacy=legacy) for index in sorted(choices)]
    return body


def _add(body: dict[str, Any], name: str, value: Any) -> Any:
    """Add a field of a chunk; return the error that Groq writes into a field of its own."""
    if name == "usage":
        body[name] = merged_usage(body.get(name), value)
    elif name == "x_groq":
        if isinstance(value, dict):
            body["usage"] = merged_usage(body.get("usage"), value.get("usage"))
            return value.get("error")
    else:
        body[name] = value
    return None


def _choice_of(piece: dict[str, Any], place: int, choices: dict[int, "_Choice"]) -> "_Choice":
    """Return the choice that a piece belongs to; its first piece creates it."""
    index = piece.get("index")
    if type(index) is not int:
        index = int(index) if type(index) is float else place
    choice = choices.get(index)
    if choice is None:
        choice = choices[index] = _Choice()
    return choice


class _Choice:
    """One choice and what has arrived of it."""

    def __init__(self) -> None:
        self.usage: Any = None
        """What this choice says was used, which belongs to the answer as a whole."""
        self._fields: dict[str, Any] = {}
        self._logprobs: dict[str, list[Any]] = {}
        self._content: list[Any] = []
        self._texts: dict[str, list[str]] = {}
        self._lists: dict[str, list[Any]] = {}
        self._other: dict[str, Any] = {}
        self._audio: list[dict[str, Any]] = []
        self._calls: ToolCallPieces | None = None
        self._function_call: ToolCallPieces | None = None
        self._messages: list[dict[str, Any]] = []

    def has_ended(self) -> bool:
        """Tell whether the provider said why it ended, or that it failed."""
        return bool(self._fields.get("finish_reason") or self._fields.get("error"))

    def add(self, piece: dict[str, Any]) -> None:
        """Add a chunk's piece of this choice. Raises TypeError or AttributeError for another shape."""
        for name, value in piece.items():
            if value is None or name == "index":
                continue
            if name == "delta":
                if len(value) == 1 and type(value.get("content")) is str:  # most deltas are such
                    self._content.append(value["content"])
                elif value:
                    self._add_delta(value)
            elif name == "text":
                if isinstance(value, str):
                    self._content.append(value)
            elif name == "usage":
                self.usage = merged_usage(self.usage, value)
            elif name in ("message", "content"):
                if value:
                    self._messages.append({"content": value} if isinstance(value, str) else dict(value))
            elif name == "messages":  # Azure's, with data of one's own; what its tool found is no answer
                for message in value:
                    delta = message.get("delta") or message
                    if delta.get("role") != "tool":
                        self._add_delta({field: piece for field, piece in delta.items() if field != "index"})
            elif name == "logprobs":
                for kind, entries in value.items() if isinstance(value, dict) else ():
                    if isinstance(entries, list):
                        self._logprobs.setdefault(kind, []).extend(entries)
            elif not is_empty(value) and (name != "finish_reason" or is_end(value)):
                self._fields[name] = value

    def _add_delta(self, delta: dict[str, Any]) -> None:
        for name, value in delta.items():
            if name == "content":
                if isinstance(value, list):
                    self._content += value
                elif value is not None:
                    self._content.append(value)
            elif name == "role" or is_empty(value):
                continue
            elif name == "usage":
                self.usage = merged_usage(self.usage, value)
            elif name == "message" and isinstance(value, dict):
                self._add_delta(value)
            elif name == "tool_calls":
                self._calls = self._calls or ToolCallPieces()
                for call in value if isinstance(value, list) else [value]:
                    self._calls.add(call)
            elif name == "audio" and isinstance(value, dict):
                self._audio.append(value)
            elif name == "function_call":
                self._function_call = self._function_call or ToolCallPieces()
                self._function_call.add({"function": value, "index": 0})
            elif name in _TEXTS and isinstance(value, str):
                self._texts.setdefault(name, []).append(value)
            elif (name in _LISTS and isinstance(value, list)) or name in _TEXTS:
                value = value if isinstance(value, list) else [value]
                self._lists.setdefault(name, []).extend(value)
            elif name in _GROWING_LISTS and isinstance(value, list):
                entries = self._lists.setdefault(name, [])
                entries += [entry for entry in value if entry not in entries[-len(value) :]]
            else:
                self._other[name] = value

    def joined(self, index: int, *, legacy: bool) -> dict[str, Any]:
        """Return the choice as it would have been without streaming."""
        fields = self._fields
        message: dict[str, Any] = {"role": "assistant", "content": _joined_content(self._content), **self._other}
        for name, pieces in self._texts.items():
            message[name] = "".join(pieces)
        message |= self._lists
        calls = self._calls.joined() if self._calls is not None else []
        function_calls = self._function_call.joined() if self._function_call is not None else []
        if self._audio:
            message["audio"] = _joined_audio(self._audio)
        if calls:
            message["tool_calls"] = calls
        if function_calls:
            message["function_call"] = function_calls[0]["function"]
        for name, value in _joined_messages(self._messages).items() if self._messages else ():
            if is_empty(message.get(name)):
                message[name] = value
        # Some copies end with [DONE] and no finish reason.
        reason = "error" if fields.get("error") else "tool_calls" if calls or function_calls else "stop"
        choice: dict[str, Any] = {"index": index, **fields, "finish_reason": fields.get("finish_reason") or reason}
        if self._logprobs:
            choice["logprobs"] = self._logprobs
        return choice | ({"text": message["content"] or ""} if legacy else {"message": message})


def _joined_content(pieces: list[Any]) -> Any:
    """Return the content: a text if all pieces are texts, else parts."""
    try:
        return "".join(pieces) if pieces else None
    except TypeError:
        pass
    parts = [piece if isinstance(piece, dict) else {"type": "text", "text": _text(piece)} for piece in pieces]
    return [part for part in parts if part != {"type": "text", "text": ""}]


def _text(piece: Any) -> str:
    """Return a piece of a text; some servers write one that looks like a number as a number."""
    return piece if isinstance(piece, str) else json.dumps(piece).decode()


def _joined_audio(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """Join spoken words: the transcript is text in pieces, the sound is encoded piece by piece."""
    audio = {name: value for piece in pieces for name, value in piece.items() if value is not None}
    if "transcript" in audio:
        audio["transcript"] = "".join(str(piece.get("transcript") or "") for piece in pieces)
    if "data" in audio:
        audio["data"] = joined_base64(piece.get("data") or "" for piece in pieces)
    return audio


def joined_base64(pieces: Iterable[str]) -> str:
    """Join bytes that were encoded piece by piece. Raises ValueError for what is not base64."""
    return b64encode(b"".join(map(b64decode, pieces))).decode()


def _joined_messages(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Join messages in chunks, where deltas belong: pieces, or the whole answer so far in each."""
    names = {name: None for message in messages for name in message}
    return {name: _joined_values([message[name] for message in messages if name in message]) for name in names}


def _joined_values(values: list[Any]) -> Any:
    values = [value for value in values if not is_empty(value)]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) != len(values) or all(later.startswith(earlier) for earlier, later in pairwise(texts)):
        return values[-1] if values else None
    return "".join(texts)
