"""Decodes the events of a stream for all dialects: JSON objects without pings, errors in one shape. Pure."""

from collections.abc import Iterator
from typing import Any

from llmbatch.codec import json
from llmbatch.codec.sse import events
from llmbatch.dialects.embedded_errors import has_error

__all__ = ["DONE", "ERROR", "StreamEvent", "is_empty", "merged_usage", "stream_events"]

DONE = "[DONE]"
ERROR = "error"

_PINGS = frozenset({"ping", "keepalive", "keep-alive", "keep_alive", "heartbeat"})


StreamEvent = tuple[str, dict[str, Any]]
"""An event: the name it has in the stream, or DONE, or ERROR; and its object."""


def stream_events(stream: bytes) -> Iterator[StreamEvent]:
    """Yield the events that have content.

    An error of any shape becomes the field `error` of an event named ERROR, which is the last: a `[DONE]` that follows
    an error does not make the answer complete. `[DONE]` is the last event, too. Raises ValueError for an event that is
    not a JSON object.
    """
    for name, data in events(stream):
        if name in _PINGS:
            continue
        try:
            value = json.loads_shallow(data)
        except ValueError:
            word = data[:16].strip().decode("latin-1").lower()
            if word == "done" or word.startswith("[done]"):
                yield DONE, {}
                return
            if word in _PINGS:
                continue
            data, done = _without_done(data)
            values = _glued(name, data)
        else:
            done = False
            values = [value] if type(value) is dict else _objects(name, value)
        for value in values:
            if name == ERROR or has_error(value) or ("choices" not in value and _is_message_alone(value)):
                yield ERROR, {"error": value.get("error") or value}
                return
            if value.get("type") not in _PINGS:
                yield name, value
        if done:
            yield DONE, {}
            return


def _without_done(data: bytes) -> tuple[bytes, bool]:
    """Return an event without a `[DONE]` on its last line, and whether there was one."""
    lines, found, last = data.rpartition(b"\n")
    return (lines, True) if found and last.strip() == b"[DONE]" else (data, False)


def _glued(name: str, data: bytes) -> list[dict[str, Any]]:
    """Parse the objects of several events that a server wrote as one, without a blank line or any line between them.

    What is not JSON is an error in plain words. Raises ValueError.
    """
    try:
        values = [value for value in json.glued_values(data, "data:") if value is not None]
    except ValueError:
        values = []
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
    if value is None or value == "":
        return []  # a keep-alive
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return value
    if name == ERROR:
        return [{"error": value or "an error without words"}]
    raise ValueError("an event is not a JSON object")


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
