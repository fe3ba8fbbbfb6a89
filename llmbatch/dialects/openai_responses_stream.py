"""Folds a stream of OpenAI's Responses API into the response it would have been without streaming. Pure.

The last event should hold the whole response. Where a copy leaves its output empty, the events before it count.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from llmbatch.codec.sse import CutStream
from llmbatch.dialects.stream_events import DONE, ERROR, StreamEvent, stream_events

__all__ = ["fold"]

_ENDS = {
    "response.completed": "completed",
    "response.done": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
"""The events that end a stream, and the status each stands for."""

_TEXTS = {
    "response.output_text": ("message", "output_text", "text"),
    "response.text": ("message", "output_text", "text"),
    "response.refusal": ("message", "refusal", "refusal"),
    "response.reasoning_text": ("reasoning", "reasoning_text", "text"),
    "response.reasoning": ("reasoning", "reasoning_text", "text"),
    "response.reasoning_summary_text": ("reasoning", "summary_text", "text"),
    "response.reasoning_summary": ("reasoning", "summary_text", "text"),
    "response.function_call_arguments": ("function_call", "", "arguments"),
    "response.custom_tool_call_input": ("custom_tool_call", "", "input"),
}
"""Events with pieces of text: the type of item, the type of part (empty for a field of the item), the field."""


def fold(stream: bytes) -> Any:
    """Return the response of a finished stream; an error among its events is returned.

    Raises CutStream, or ValueError, TypeError, LookupError or AttributeError for events of another shape.
    """
    begun: dict[str, Any] = {}
    output = _Output()
    received = stream_events(stream)
    for name, event in received:
        if name == ERROR:
            return {"status": "failed", "error": event.get("error") or event}
        kind = event.get("type") or name
        response = event.get("response")
        response = response if isinstance(response, dict) else {}
        response = {field: value for field, value in response.items() if value is not None}
        if kind not in _ENDS and event.get("object") == "response" and event.get("output"):
            return event  # the whole response as the only event
        if kind in _ENDS:
            body = {**begun, "status": _ENDS[kind], **response}
            if not body.get("usage"):
                body["usage"] = event.get("usage") or _usage_after(received)
            return _filled(body, output)
        if name == DONE and output:  # some copies end with [DONE] alone
            return _filled({**begun, "status": "completed"}, output)
        begun |= response
        output.add(kind, event)
    raise CutStream("the stream ended in the middle")


def _usage_after(received: Iterator[StreamEvent]) -> Any:
    """Return usage that comes after the end, where nothing else can change the answer."""
    with suppress(ValueError):
        return next((event["usage"] for _, event in received if event.get("usage")), None)
    return None


def _filled(body: dict[str, Any], output: "_Output") -> dict[str, Any]:
    """Add to the output of a response what it lacks and earlier events had.

    Items are compared by id, or else in their order among those of their type.
    """
    own = body.get("output")
    if own is None:
        own = []
    if not isinstance(own, list) or not all(isinstance(item, dict) for item in own):
        return body
    streamed = [item for item in output.joined() if not _is_void(item)]
    kept = [item for item in own if not _is_void(item)]
    if not streamed:
        return body
    filled = []
    for item in streamed:
        same = next((one for one in kept if one.get("id") == item.get("id") is not None), None)
        same = same or next((one for one in kept if one.get("type") == item.get("type")), None)
        if same is not None:
            kept.remove(same)
        filled.append(same if same is not None and _says(same) else item)
    return {**body, "output": [*filled, *kept]}


def _is_void(item: dict[str, Any]) -> bool:
    """Tell whether an item is a message or reasoning without content."""
    if item.get("type") not in ("message", "reasoning"):
        return False
    content, summary = item.get("content"), item.get("summary")
    parts = [*content, *(summary or ())] if isinstance(content, list) else [content, summary]
    return not any(part.get("text") or part.get("refusal") if isinstance(part, dict) else part for part in parts)


def _says(item: dict[str, Any]) -> bool:
    """Tell whether an item has content; a call without arguments may lack them."""
    return not _is_void(item) and (item.get("type") != "function_call" or bool(item.get("arguments")))


class _Output:
    """The items of a response, in the order in which they began."""

    def __init__(self) -> None:
        self._items: list[_Item] = []
        self._by_id: dict[str, _Item] = {}
        self._by_index: dict[Any, _Item] = {}

    def __bool__(self) -> bool:
        return bool(self._items)

    def add(self, kind: str, event: dict[str, Any]) -> None:
        """Add an event to its item; events of most kinds add nothing."""
        what, _, how = kind.rpartition(".")
        item = event.get("item")
        if what == "response.output_item" and isinstance(item, dict):
            if how == "added":
                self._begin(item.get("id"), event.get("output_index"), item)
            elif how == "done":
                self._of(item.get("id"), event.get("output_index")).finish(item)
        elif what in _TEXTS and how in ("delta", "done"):
            self._of(event.get("item_id"), event.get("output_index")).add(what, how, event)
        elif what == "response.content_part" and how == "done":
            self._of(event.get("item_id"), event.get("output_index")).add_part(event)
        elif kind in ("response.output_text.annotation.added", "response.output_text_annotation.added"):
            self._of(event.get("item_id"), event.get("output_index")).annotate(event)

    def joined(self) -> list[dict[str, Any]]:
        """Return the whole items."""
        return [item.joined() for item in self._items]

    def _begin(self, id: Any, index: Any, began: dict[str, Any]) -> "_Item":
        item = _Item(began)
        self._items.append(item)
        if isinstance(id, str) and id:
            self._by_id[id] = item
        if index is not None:
            self._by_index[str(index)] = item
        return item

    def _of(self, id: Any, index: Any) -> "_Item":
        """Return the item with this id, or else this index (some copies change ids); else the last, or a new one."""
        found = self._by_id.get(id) if isinstance(id, str) else None
        if found is None and index is not None:
            found = self._by_index.get(str(index))
        if found is None and index is None and id is None and self._items:
            found = self._items[-1]
        return found or self._begin(id, index, {})


class _Item:
    """One item and what has arrived of it."""

    def __init__(self, began: dict[str, Any]) -> None:
        self._fields = dict(began)
        self._done: dict[str, Any] | None = None
        self._own: dict[str, list[str]] = {}
        self._parts: dict[tuple[str, str], dict[str, Any]] = {}
        self._texts: dict[tuple[str, str], list[str]] = {}

    def add(self, what: str, how: str, event: dict[str, Any]) -> None:
        """Add a piece of a text, or the complete text."""
        kind, part, field = _TEXTS[what]
        self._fields.setdefault("type", kind)
        for name in ("name", "call_id"):
            if event.get(name):
                self._fields.setdefault(name, event[name])
        piece = event.get("delta" if how == "delta" else field)
        if not isinstance(piece, str) or not piece:
            return
        key = self._part(part, field, event) if part else None
        texts = self._own.setdefault(field, []) if key is None else self._texts.setdefault(key, [])
        if how == "done":
            texts.clear()
        texts.append(piece)

    def add_part(self, event: dict[str, Any]) -> None:
        """Add a complete part."""
        part = event.get("part")
        if isinstance(part, dict):
            field = "refusal" if part.get("type") == "refusal" else "text"
            key = self._part(str(part.get("type")), field, event)
            self._parts[key] = part
            if part.get(field):
                self._texts[key] = [part[field]]

    def annotate(self, event: dict[str, Any]) -> None:
        """Add an annotation to its part."""
        part = self._parts[self._part("output_text", "text", event)]
        part["annotations"] = [*(part.get("annotations") or ()), event["annotation"]]

    def finish(self, item: dict[str, Any]) -> None:
        """Set the complete item."""
        self._done = item

    def joined(self) -> dict[str, Any]:
        """Return the complete item if there was one, else the item made of its pieces."""
        if self._done is not None and _says(self._done) and (self._done.get("arguments") or not self._own):
            return self._done
        item = self._fields | (self._done or {}) | {field: "".join(texts) for field, texts in self._own.items()}
        parts = [{**part, key[1]: "".join(self._texts.get(key, ()))} for key, part in self._parts.items()]
        summary = [part for part in parts if part.get("type") == "summary_text"]
        content = [part for part in parts if part.get("type") != "summary_text"]
        item.setdefault("type", "message")
        return item | ({"summary": summary} if summary else {}) | ({"content": content} if content else {})

    def _part(self, kind: str, field: str, event: dict[str, Any]) -> tuple[str, str]:
        """Return the key of the part that an event belongs to; the first event creates it."""
        self._fields.setdefault("type", "reasoning" if kind in ("summary_text", "reasoning_text") else "message")
        index = event.get("summary_index") if kind == "summary_text" else event.get("content_index")
        key = (f"{kind} {index or 0}", field)
        self._parts.setdefault(key, {"type": kind})
        return key
