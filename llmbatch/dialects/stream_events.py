"""Decodes the events of a stream for all dialects: JSON objects without pings, errors in one shape. Pure."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from llmbatch.codec import json
from llmbatch.codec.sse import CutStream, events
from llmbatch.dialects.embedded_errors import has_error

__all__ = ["DONE", "ERROR", "StreamEvent", "is_empty", "merged_usage", "stream_events"]

DONE = "[DONE]"
ERROR = "error"

_PINGS = frozenset({"ping", "keepalive", "keep-alive", "keep_alive", "heartbeat"})
_USAGES = ("usage", "usageMetadata", "x_groq")
_PLAIN = frozenset({"id", "choices", "created", "model", "object", "service_tier", "system_fingerprint", "usage"})
"""Fields that hold no error."""
_ENDS = frozenset({"done", "[done]", "[done", '"[done]"', "end", "[end]"})
"""What stands in the last event of a stream, or is its name."""


StreamEvent = tuple[str, dict[str, Any]]
"""An event: the name it has in the stream, or DONE, or ERROR; and its object."""


def stream_events(stream: bytes) -> Iterator[StreamEvent]:
    """Yield the events that have content.

    An error of any shape becomes the field `error` of an event named ERROR, which is the last: a `[DONE]` that follows
    an error does not make the answer complete. `[DONE]` is the last event, too; usage that a server sends after it is
    put before it. A message alone is an error, unless the answer begins after it.
    Raises ValueError for an event that is not a JSON object, CutStream for one that the end of the stream cut in two.
    """
    parse = json.event_parser(stream)
    notice: dict[str, Any] | None = None
    begun = False
    received = events(stream)
    for name, data in received:
        if data == b"[DONE]":
            break
        try:
            value = parse(data)
        except ValueError:
            if name in _PINGS:
                continue
            word = data[:16].strip().decode("latin-1").lower()
            if word in _ENDS or word.startswith("[done]") or (not word and name in _ENDS):
                break
            if word in _PINGS or word.startswith(":"):  # a comment that a proxy wrote as data
                continue
            data, done = _without_done(data)
            try:
                values = _glued(name, data)
            except ValueError:
                if stream.endswith(data):
                    raise CutStream("the stream ended in the middle of an event") from None
                raise
        else:
            if type(value) is dict and name != ERROR and "error" not in value and value.get("object") != ERROR:
                if value.get("choices") or value.get("delta"):  # most events are such
                    begun, notice = True, None
                    yield name, value
                    continue
                if value and value.keys() <= _PLAIN:
                    yield name, value
                    continue
            if name in _PINGS:
                continue
            done = value == "[DONE]" or (name in _ENDS and value in ({}, "", None))
            values = [] if done else [value] if type(value) is dict else _objects(name, value)
        for value in map(_unwrapped, values):
            if name == ERROR or has_error(value):
                yield ERROR, {"error": value.get("error") or value}
                return
            if "choices" not in value and _is_message_alone(value):
                notice = value
                if begun:
                    break
            elif value.get("type") not in _PINGS:
                if value.get("choices"):
                    begun, notice = True, None
                yield name, value
        if done or (notice and begun):
            break
    else:
        if notice is None:
            return
    if notice is None:
        yield from _usage_after(received)
        yield DONE, {}
    else:
        yield ERROR, {"error": notice}


def _usage_after(received: Iterator[tuple[str, bytes]]) -> Iterator[StreamEvent]:
    """Yield the usage in events after the end. Nothing else there can change the answer, broken pieces neither."""
    for name, data in received:
        try:
            value = json.loads_shallow(data)
        except ValueError:
            continue
        if type(value) is dict and not value.get("choices"):
            counted = {field: used for field in _USAGES if (used := value.get(field))}
            if counted:
                yield name, counted


def _without_done(data: bytes) -> tuple[bytes, bool]:
    """Return an event without a `[DONE]` at its end, and whether there was one."""
    lines, found, last = data.rpartition(b"\n")
    if found and last.strip() == b"[DONE]":
        return lines, True
    before, found, rest = data.rpartition(b"data: [DONE]")
    return (before, True) if found and not rest.strip() else (data, False)


def _glued(name: str, data: bytes) -> list[dict[str, Any]]:
    """Parse the objects of several events that a server wrote as one, without a blank line or any line between them.

    Or one whose texts have halves of characters, or control characters. Else an error in plain words.
    Raises ValueError.
    """
    values: list[Any] = []
    with suppress(ValueError):
        values = [json.loads_halves(data)]
    if not values:
        with suppress(ValueError):
            values = [value for value in json.glued_values(data, "data:") if value is not None]
    if not values:
        with suppress(ValueError):
            values = [json.loads_lenient(data, "utf-8")]
    if values and all(isinstance(value, dict) for value in values):
        return values
    return [_plain_words(name, data)]


def _plain_words(name: str, data: bytes) -> dict[str, Any]:
    """Read an event that is not JSON as an error in plain words. Raises ValueError for JSON that was broken off."""
    if name != ERROR and data.lstrip()[:1] in (b"{", b"["):
        raise ValueError("an event is not JSON")
    return {"error": data.decode("utf-8", "replace") or "an error without words"}


def _objects(name: str, value: Any) -> list[dict[str, Any]]:
    """Return the objects of an event that is not an object: some servers put theirs into a list."""
    if value is None or value == "" or isinstance(value, int | float) or (type(value) is str and value in _PINGS):
        return []  # a keep-alive
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return value
    if name == ERROR:
        return [{"error": value or "an error without words"}]
    raise ValueError("an event is not a JSON object")


def _unwrapped(value: dict[str, Any]) -> dict[str, Any]:
    """Return the event that a gateway wrapped into a field of its own."""
    if "choices" in value:
        return value
    return next((inner for inner in value.values() if isinstance(inner, dict) and inner.get("choices")), value)


def _is_message_alone(value: dict[str, Any]) -> bool:
    """Tell whether an event has a text as its message: without choices that is an error, not an event of a dialect."""
    words = value.get("message") or value.get("msg")
    return isinstance(words, str)


def is_empty(value: Any) -> bool:
    """Tell whether the value of a field is empty; zero and false are not."""
    return not value and (value is None or value == "" or value == [] or value == {})


def merged_usage(before: Any, now: Any) -> Any:
    """Merge two usage objects of one stream. Counts only grow: null and zero never replace a number."""
    if not isinstance(now, dict):
        return before
    if not isinstance(before, dict):
        return now
    return before | {name: value for name, value in now.items() if value or name not in before}
