"""A streamed Gemini answer folded into the answer it would have been without streaming."""

from collections.abc import Iterable
from typing import Any

from llmbatch.codec import json
from llmbatch.codec.sse import events
from llmbatch.dialects.stream import CutStream

__all__ = ["fold", "joined"]


def fold(stream: bytes) -> dict[str, Any]:
    """Join the chunks of a finished stream into one answer.

    Raises CutStream when a candidate was not told to have ended, or ValueError, TypeError, AttributeError for chunks
    of another shape.
    """
    body = joined(json.loads_shallow(event.data) for event in events(stream))
    candidates = body.get("candidates")
    ended = all(candidate.get("finishReason") for candidate in candidates) if candidates else body.get("promptFeedback")
    if not ended and "error" not in body:
        raise CutStream("the stream ended in the middle")
    return body


def joined(chunks: Iterable[Any]) -> dict[str, Any]:
    """Join chunks, each of them shaped like a whole answer; an error among them stands beside what came before it."""
    body: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        body |= {name: value for name, value in chunk.items() if name != "candidates" and value is not None}
        for piece in chunk.get("candidates") or ():
            index = piece.get("index", 0)
            whole = candidates.setdefault(index, {"content": {"role": "model", "parts": []}})
            whole |= {name: value for name, value in piece.items() if name != "content"}
            whole["content"]["parts"] += (piece.get("content") or {}).get("parts") or ()
    if candidates:
        body["candidates"] = [candidates[index] for index in sorted(candidates)]
    return body
