"""Folds a stream of Gemini into the answer it would have been without streaming. Pure."""

import re
from collections.abc import Iterable
from typing import Any

from llmbatch.codec.sse import CutStream
from llmbatch.dialects.embedded_errors import has_error
from llmbatch.dialects.finish_reasons import is_end
from llmbatch.dialects.stream_events import DONE, is_empty, merged_usage, stream_events

__all__ = ["fold", "joined", "unwrapped"]


def unwrapped(body: Any) -> Any:
    """Return an answer that stands in a field of its own (Code Assist) without that."""
    inner = body.get("response") if isinstance(body, dict) else None
    body = inner if isinstance(inner, dict) and ("candidates" in inner or "promptFeedback" in inner) else body
    return _camel_cased(body) if isinstance(body, dict) and not _SNAKES.isdisjoint(body) else body


_SNAKES = frozenset({"usage_metadata", "model_version", "prompt_feedback", "response_id"})
_OWN_NAMES = frozenset({"args", "response"})
"""Fields whose inner names are not Gemini's: those of a call."""


def _camel_cased(value: Any) -> Any:
    """Return an answer under Gemini's names, which its clients write with underscores: gateways pass those on."""
    if isinstance(value, list):
        return [_camel_cased(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        _UNDERSCORE.sub(lambda letter: letter[1].upper(), name): inner if name in _OWN_NAMES else _camel_cased(inner)
        for name, inner in value.items()
    }


_UNDERSCORE = re.compile(r"_([a-z])")


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


_IN_PIECES = frozenset({"logprobsResult", "groundingMetadata", "citationMetadata"})
"""Fields of a candidate whose lists arrive in pieces, or all so far in each chunk."""


def _joined_lists(before: Any, now: Any) -> Any:
    """Join the lists of two objects by name; of other fields the later one counts."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return before if is_empty(now) else now
    joined = before | {name: value for name, value in now.items() if not is_empty(value)}
    for name, value in now.items():
        earlier = before.get(name)
        if isinstance(value, list) and isinstance(earlier, list):
            joined[name] = value if value[: len(earlier)] == earlier else earlier + value
    return joined


def joined(chunks: Iterable[Any]) -> dict[str, Any]:
    """Join chunks, each of which has the shape of an answer; an error among them is kept beside the rest."""
    body: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    for chunk in map(unwrapped, chunks):
        usage = merged_usage(body.get("usageMetadata"), chunk.get("usageMetadata"))
        body |= {name: value for name, value in chunk.items() if name != "candidates" and value is not None}
        body |= {} if usage is None else {"usageMetadata": usage}
        for position, piece in enumerate(chunk.get("candidates") or ()):
            index = piece.get("index")
            index = int(index) if type(index) in (int, float) else position
            candidate = candidates.setdefault(index, {"content": {"role": "model", "parts": []}})
            for name, value in piece.items():
                if name in _IN_PIECES:
                    candidate[name] = _joined_lists(candidate.get(name), value)
                elif name != "content" and not is_empty(value) and (name != "finishReason" or is_end(value)):
                    candidate[name] = value
            candidate["content"]["parts"] += (piece.get("content") or {}).get("parts") or ()
    blocked = (body.get("promptFeedback") or {}).get("blockReason")
    if candidates:
        body["candidates"] = [candidates[index] for index in sorted(candidates)]
        for candidate in body["candidates"] if blocked else ():
            candidate.setdefault("finishReason", blocked)  # in the middle of the answer
    return body
