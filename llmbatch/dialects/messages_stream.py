"""A streamed Anthropic message folded into the answer it would have been without streaming."""

from typing import Any

from llmbatch.codec import json
from llmbatch.codec.sse import events
from llmbatch.dialects.stream import CutStream

__all__ = ["fold"]

_PIECES = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
"""What each kind of delta adds text to."""


def fold(stream: bytes) -> dict[str, Any]:
    """Join the events of a finished stream into one message.

    An error among them is the answer, with what there was of the message beside it. A stream that told why the answer
    ended has told everything. Raises CutStream for one that did not, or ValueError, TypeError, KeyError or
    AttributeError for events of another shape.
    """
    message: dict[str, Any] = {}
    blocks: dict[int, _Block] = {}
    done = False
    for event in events(stream):
        said = json.loads_shallow(event.data)
        match said["type"]:
            case "message_start":
                message = dict(said["message"])
            case "content_block_start":
                blocks[said["index"]] = _Block(said["content_block"])
            case "content_block_delta":
                blocks[said["index"]].add(said["delta"])
            case "message_delta":
                message.update(said["delta"])
                message["usage"] = {**(message.get("usage") or {}), **_known(said.get("usage"))}
            case "message_stop":
                done = True
                break
            case "error":
                return {**said, "message": {**message, "content": _joined(blocks)}}
    if not done and not message.get("stop_reason"):
        raise CutStream("the stream ended in the middle")
    if not message:
        raise ValueError("the stream holds no message")
    return {**message, "content": _joined(blocks)}


class _Block:
    """One block of the content: as it began, and the pieces that follow."""

    def __init__(self, began: dict[str, Any]) -> None:
        self._began = dict(began)
        self._pieces: dict[str, list[str]] = {}

    def add(self, delta: dict[str, Any]) -> None:
        """Add a piece; one of an unknown kind says nothing that a result line has a place for."""
        name = _PIECES.get(delta["type"])
        if name is not None:
            self._pieces.setdefault(name, []).append(delta[name])

    def joined(self) -> dict[str, Any]:
        """Return the whole block. The input of a tool that was cut off stays the text it is."""
        block = self._began
        for name, pieces in self._pieces.items():
            if name != "partial_json":
                block[name] = (block.get(name) or "") + "".join(pieces)
        written = "".join(self._pieces.get("partial_json", ()))
        if written:
            try:
                block["input"] = json.loads_shallow(written.encode())
            except ValueError:
                block["input"] = written
        return block


def _joined(blocks: dict[int, _Block]) -> list[dict[str, Any]]:
    return [blocks[index].joined() for index in sorted(blocks)]


def _known(usage: Any) -> dict[str, Any]:
    """Return the counts of a usage that were said: they are cumulative, and null is no news."""
    return {name: value for name, value in (usage or {}).items() if value is not None}
