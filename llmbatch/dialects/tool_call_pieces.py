"""Joins tool calls that arrive in pieces. Pure.

At OpenAI a piece belongs to the call of its `index`. Copies leave the index out, write it as text or as 0 for every
call, repeat id and name in each piece, make up a new id for each, or write arguments as an object.
"""

import re
from collections.abc import Mapping
from typing import Any

from llmbatch.codec import json

__all__ = ["ToolCallPieces", "arguments_text", "with_function"]

_FORMS = {"function": "arguments", "custom": "input"}
"""The types of a call, and the field of each for the arguments."""

_MARKS = re.compile(r'\\.|["{}\\]', re.DOTALL)
"""Characters that structure JSON, and escapes; a single backslash ends its piece."""

_LONGEST_NAME = 1000
"""Characters of a name that comes in pieces."""


def arguments_text(arguments: Any) -> str:
    """Return the arguments of a call as a string of JSON, which is OpenAI's format."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else json.dumps(arguments).decode()


def with_function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a call with its function in an object of its own; some servers write name and arguments beside the id."""
    if isinstance(call.get("function"), dict) or not isinstance(call.get("name"), str) or "arguments" not in call:
        return call
    function = {"name": call["name"], "arguments": call["arguments"]}
    return {name: call[name] for name in call if name not in function} | {"type": "function", "function": function}


class ToolCallPieces:
    """The calls of one message, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int | str, _Call] = {}
        self._by_id: dict[str, _Call] = {}

    def add(self, piece: Mapping[str, Any]) -> None:
        """Add a piece to its call, or begin another call with it. Raises AttributeError for anything but an object."""
        form = next((form for form in _FORMS if isinstance(piece.get(form), dict)), "function")
        if form not in piece:
            piece = with_function(piece)
        inner = piece.get(form) or {}
        id, index = piece.get("id"), _index(piece.get("index"))
        id = id if isinstance(id, str) and id else None
        name = inner.get("name")
        name = name if isinstance(name, str) and name else None
        arguments = arguments_text(inner.get(_FORMS[form]))
        call = self._call_of(id, index, name)
        if call is None or (name and call.is_followed_by(name, arguments)):
            call = _Call(form)
            self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        if id is not None:
            self._by_id[id] = call
        call.add(piece, name, arguments)

    def joined(self) -> list[dict[str, Any]]:
        """Return the complete calls, as an answer without streaming has them."""
        return [call.joined() for call in self._calls]

    def _call_of(self, id: str | None, index: int | str | None, name: str | None) -> "_Call | None":
        """Return the call that a piece continues; None when it begins one."""
        if index is not None:
            call = self._by_index.get(index)
            if call is None:
                return None if name or id is None else self._by_id.get(id)
        else:
            call = self._calls[-1] if self._calls else None
        if call is None or id is None or id == call.id:
            return call
        if id in self._by_id:
            return self._by_id[id]
        # Another id begins another call, except where a server makes one up for each piece.
        return None if name and call.id is not None and not (call.name == name and call.is_open()) else call


class _Call:
    """One call and what has arrived of it."""

    def __init__(self, form: str) -> None:
        self.id: str | None = None
        self.name = ""
        self._form = form
        self._fields: dict[str, Any] = {}
        self._begin_arguments()

    def add(self, piece: Mapping[str, Any], name: str | None, arguments: str) -> None:
        """Add a piece. Its name may repeat the name so far, or continue it."""
        for field, value in piece.items():
            if field not in (*_FORMS, "id", "index") and value:
                self._fields[field] = value
        id = piece.get("id")
        if self.id is None and isinstance(id, str) and id:
            self.id = id
        if name and name != self.name:
            if name.startswith(self.name):
                self.name = name
            elif not self._arguments and len(self.name) < _LONGEST_NAME:
                self.name += name
        if not arguments:
            return
        if self._arguments == ["{}"] or self._is_contained_in(arguments):  # a placeholder, or a repetition
            self._begin_arguments()
        self._arguments.append(arguments)
        self._length += len(arguments)
        self._count_braces(arguments)

    def _begin_arguments(self) -> None:
        self._arguments: list[str] = []
        self._length = 0
        self._open_braces = 0
        self._in_text = self._escaped = False

    def _count_braces(self, piece: str) -> None:
        """Count the braces outside of strings, incrementally: parsing everything again for each piece is quadratic."""
        begin = 1 if self._escaped and piece else 0
        self._escaped = self._escaped and not piece
        for mark in _MARKS.finditer(piece, begin):
            match mark[0]:
                case '"':
                    self._in_text = not self._in_text
                case "{" | "}" if not self._in_text:
                    self._open_braces += 1 if mark[0] == "{" else -1
                case "\\":
                    self._escaped = True

    def is_open(self) -> bool:
        """Tell whether the arguments are an object that has begun and not ended."""
        return bool(self._arguments) and not self._is_complete()

    def is_followed_by(self, name: str, arguments: str) -> bool:
        """Tell whether a piece with these values begins the next call: nothing can continue a complete object."""
        another = name != self.name or arguments.lstrip().startswith("{")
        return another and self._is_complete() and not (name == self.name and self._repeats(arguments))

    def _is_complete(self) -> bool:
        """Tell whether the arguments are a complete object."""
        return bool(self._arguments) and self._open_braces == 0 and self._arguments[0].lstrip().startswith("{")

    def _repeats(self, arguments: str) -> bool:
        """Tell whether a piece repeats all arguments so far."""
        return self._is_complete() and len(arguments) == self._length and arguments == "".join(self._arguments)

    def _is_contained_in(self, arguments: str) -> bool:
        """Tell whether a piece begins with all arguments so far: some copies send all of them each time."""
        longer = 0 < self._length <= len(arguments) and arguments.startswith("{")
        return longer and arguments.startswith("".join(self._arguments))

    def joined(self) -> dict[str, Any]:
        """Return the complete call."""
        id = {"id": self.id} if self.id is not None else {}
        inner = {"name": self.name, _FORMS[self._form]: "".join(self._arguments)}
        return {**id, "type": self._form, **self._fields, self._form: inner}


def _index(value: Any) -> int | str | None:
    """Read an index; text that is a number is one."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else value or None
    return value if type(value) is int else int(value) if type(value) is float and value.is_integer() else None
