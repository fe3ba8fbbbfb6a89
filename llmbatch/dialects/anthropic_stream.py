"""Folds a stream of Anthropic into the message it would have been without streaming. Pure."""

from typing import Any

from llmbatch.codec import json
from llmbatch.codec.sse import CutStream
from llmbatch.dialects.stream_events import DONE, ERROR, merged_usage, stream_events

__all__ = ["fold"]

_PIECES = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
    "citations_delta": "citation",
}
"""The field of each kind of delta."""

_BLOCKS = {"text": "text", "thinking": "thinking", "signature": "thinking", "partial_json": "tool_use"}
"""The type of block that a delta belongs to, for copies that send no event at its beginning."""


def fold(stream: bytes) -> dict[str, Any]:
    """Join the events of a finished stream into one message.

    An error among them is returned, with the message so far beside it. A stream with a stop reason is complete without
    its last event; some copies end with OpenAI's `[DONE]`. Raises CutStream for one that did not end, or
    ValueError, TypeError, LookupError or AttributeError for events of another shape.
    """
    message: dict[str, Any] = {}
    usage: Any = None
    content = _Content()
    ended = False
    for name, event in stream_events(stream):
        kind = name if name in (DONE, ERROR) else event.get("type") or name
        usage = merged_usage(usage, event.get("usage"))
        match kind:
            case "error":
                return {**event, "message": {**message, "content": content.joined() or message.get("content")}}
            case "message":  # the whole message as the only event
                message, ended = dict(event), True
            case "message_start":
                message = dict(event["message"])
                usage = merged_usage(usage, message.get("usage"))
            case "content_block_start":
                content.begin(event.get("index"), event["content_block"])
            case "content_block_delta":
                content.add(event.get("index"), event["delta"])
            case "message_delta":
                delta = event.get("delta") or {}
                message |= {field: value for field, value in delta.items() if value is not None}
            case "message_stop" | "[DONE]":
                ended = True
                break
    if not ended and not message.get("stop_reason"):
        raise CutStream("the stream ended in the middle")
    blocks = content.joined() or message.get("content") or []
    if not message and not blocks:
        raise ValueError("the stream holds no message")
    return {**message, "content": blocks, "usage": usage}


class _Content:
    """The blocks of a message, in the order in which they began."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._by_index: dict[Any, _Block] = {}

    def begin(self, index: Any, began: dict[str, Any]) -> None:
        """Begin a block, also if its number is taken: some copies give all blocks the same one."""
        block = _Block(began)
        self._blocks.append(block)
        self._by_index[_key(index)] = block

    def add(self, index: Any, delta: dict[str, Any]) -> None:
        """Add a delta to the block of its number; without a number, to the last."""
        name = _PIECES.get(delta.get("type", "")) or next((field for field in _PIECES.values() if field in delta), None)
        if name is None or delta[name] is None:
            return  # a result line has no field for it
        block = self._by_index.get(_key(index)) or (self._blocks[-1] if index is None and self._blocks else None)
        if block is None:
            self.begin(index, {"type": _BLOCKS.get(name, "text")})
            block = self._blocks[-1]
        block.add(name, delta[name])

    def joined(self) -> list[dict[str, Any]]:
        """Return the complete blocks."""
        return [block.joined() for block in self._blocks]


def _key(index: Any) -> Any:
    return str(int(index)) if isinstance(index, int | float) else str(index)


class _Block:
    """One block of the content: as it began, and the pieces that follow."""

    def __init__(self, began: dict[str, Any]) -> None:
        self._began = dict(began)
        self._pieces: dict[str, list[Any]] = {}

    def add(self, name: str, piece: Any) -> None:
        """Add a piece to a field."""
        self._pieces.setdefault(name, []).append(piece)

    def joined(self) -> dict[str, Any]:
        """Return the complete block. Tool input that was cut off stays text."""
        block = dict(self._began)
        for name, pieces in self._pieces.items():
            if name == "partial_json":
                block["input"] = _input(pieces) or block.get("input") or {}
            elif name == "citation":
                block["citations"] = [*(block.get("citations") or ()), *pieces]
            else:
                block[name] = (block.get(name) or "") + "".join(pieces)
        return block


def _input(pieces: list[Any]) -> Any:
    """Join the input of a tool, which comes as pieces of JSON or as an object."""
    if pieces and isinstance(pieces[-1], dict):
        return pieces[-1]
    written = "".join(pieces)
    try:
        return json.loads_shallow(written.encode()) if written else {}
    except ValueError:
        return written
