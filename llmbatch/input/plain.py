"""Converts Python values to JSON values. What JSON has no type for becomes text."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from llmbatch.codec import json
from llmbatch.input.entry import Entry, outline

__all__ = ["Described", "plain_entry"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""Where an object is in memory, as Python writes those that have no text of their own."""


class Described:
    """Stands for a value that cannot be read: text that identifies it, and why no prompt can use it."""

    __slots__ = ("flaw", "text")

    def __init__(self, text: str, flaw: str) -> None:
        self.text, self.flaw = text, flaw


def plain_entry(where: str, fields: Mapping[str, Any]) -> Entry:
    """Return a record of Python values, as a copy of them. NaN is null."""
    flaws: dict[str, str] = {}
    plain: Any = fields
    try:
        try:
            return Entry(where, json.loads_shallow(json.dumps(fields)))
        except ValueError:
            plain = {str(name): _plain(value, str(name), flaws) for name, value in fields.items()}
        return Entry(where, json.loads_shallow(json.dumps(plain)), flaws=flaws or None)
    except (ValueError, RecursionError) as error:
        return Entry(where, None, f"{where}: {error}", outline(plain))


def _plain(value: Any, field: str, flaws: dict[str, str]) -> Any:
    """Return a value as JSON; put a flaw of it into `flaws`, under its field."""
    match value:
        case None | bool() | int() | float():
            return value
        case Described():
            flaws[field] = value.flaw
            return value.text
        case str():
            return _text(value.encode(errors="surrogatepass"), field, flaws)
        case bytes() | bytearray() | memoryview():
            return _text(bytes(value), field, flaws)
        case Mapping():
            return {str(name): _plain(inner, field, flaws) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner, field, flaws) for inner in value]
        case set() | frozenset():  # in an order that is the same in every process
            return sorted((_plain(inner, field, flaws) for inner in value), key=json.dumps)
        case Decimal():
            return str(value)
    if type(value).__name__ in ("NAType", "NaTType"):  # how pandas marks a missing value
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):  # numpy
        return _plain(value.tolist(), field, flaws)
    text = str(value)
    if _ADDRESS.search(text):
        # It would differ in each process, and with it the digest of the record: a resumed run would send it again.
        flaws[field] = f"holds a {type(value).__name__}, which JSON has no type for"
        return _ADDRESS.sub("", text)
    return text


def _text(data: bytes, field: str, flaws: dict[str, str]) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        flaws[field] = "holds bytes that are not text"
        return data.decode(errors="backslashreplace")
