"""Folds a stream of Gemini into the answer it would have been without streaming. Pure."""

from collections.abc import Iterable
from typing import Any

from llmbatch.codec.sse import CutStream
from llmbatch.dialects.embedded_errors import has_error
from llmbatch.dialects.stream_events import DONE, is_empty, merged_usage, stream_events

__all__ = ["fold", "joined"]


def fold(stream: bytes) -> dict[str, Any]:
    """Join the chunks of a finished stream into one answer.

    Raises CutStream when a candidate has no finish reason, or ValueError, TypeError, AttributeError for chunks
    of another shape.
    """
    events = list(stream_events(stream))
    done = bool(events) and events[-1][0] == DONE
    body = joined(value for name, value in events if name != DONE)
    candidates = body.get("candidates")
    ended = all(candidate.get("finishReason") for candidate in candidates) if candidates else body.get("promptFeedback")
    if not ended and not done and not has_error(body):
        raise CutStream("the stream ended in the middle")
    return body


def joined(chunks: Iterable[Any]) -> dict[str, Any]:
    """Join chunks, each of which has the shape of an answer; an error among them is kept beside the rest."""
    body: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        usage = merged_usage(body.get("usageMetadata"), chunk.get("usageMetadata"))
        body |= {name: value for name, value in chunk.items() if name != "candidates" and value is not None}
        body |= {} if usage is None else {"usageMetadata": usage}
        for position, piece in enumerate(chunk.get("candidates") or ()):
            index = piece.get("index")
            index = int(index) if type(index) in (int, float) else position
            candidate = candidates.setdefault(index, {"content": {"role": "model", "parts": []}})
            candidate |= {name: value for name, value in piece.items() if name != "content" and not is_empty(value)}
            candidate["content"]["parts"] += (piece.get("content") or {}).get("parts") or ()
    if candidates:
        body["candidates"] = [candidates[index] for index in sorted(candidates)]
    return body
