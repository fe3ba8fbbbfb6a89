"""One entry of the input: a parsed value that is not interpreted yet, or why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = [
    "DEEPEST",
    "DIGEST_BYTES",
    "Entry",
    "Reader",
    "RecordSource",
    "marked",
    "outline",
]

DIGEST_BYTES = 65_536
"""So many first bytes of an oversized value identify it, together with its length."""

DEEPEST = 500
"""Nesting that every JSON writer of the program can still write, at any depth of its own stack."""


@dataclass(slots=True)
class Entry:
    """A parsed value, or in `error` why there is none.

    `where` is for people: "line 12", "b.jsonl line 12", "row 12 (line 14)". `digest` are the bytes that
    identify an unusable record, and do not depend on the name of its file; empty for a usable one.
    """

    where: str
    value: Any
    error: str | None = None
    digest: bytes = b""
    all_text: bool = False
    """Every value is a string, as in CSV: then an empty one may say that there is none."""
    flaws: Mapping[str, str] | None = None
    """Why the values of some fields cannot be read, by field: no prompt can use one of them."""


class Reader(Protocol):
    """The entries of one input."""

    def read(self, limit: int) -> list[Entry]:
        """Return what is there, at least one entry and at most `limit`; an empty list at the end."""
        ...


class RecordSource(Protocol):
    """The entries of a run, one input after the other. `read` is for one thread at a time, `interrupt` for any."""

    @property
    def fraction(self) -> float | None:
        """How much has been read, from 0 to 1; None when that cannot be known."""
        ...

    def read(self, limit: int) -> list[Entry]:
        """Return what is there, at least one entry and at most `limit`; an empty list at the end. Raises InputError."""
        ...

    def interrupt(self) -> None:
        """Make a blocked `read` return an empty list, and every later one."""
        ...

    def close(self) -> None:
        """Close what is open; `read` must have returned."""
        ...


def marked(head: bytes, length: int) -> bytes:
    """Return the bytes that identify something of which only the head was kept."""
    return b"%b:%d" % (head[:DIGEST_BYTES], length)


def outline(value: Any) -> bytes:
    """Return bytes that identify a value which is nested too deep to be written."""
    parts: list[str] = []
    left = [value]
    while left:
        match left.pop():
            case dict() as fields:
                parts += ["{", *fields, "}"]
                left += fields.values()
            case list() as elements:
                parts.append(f"[{len(elements)}")
                left += elements
            case plain:
                parts.append(repr(plain))
    data = "\n".join(parts).encode()
    return data if len(data) < DIGEST_BYTES else marked(data, len(data))
