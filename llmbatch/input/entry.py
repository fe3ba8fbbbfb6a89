"""One record as it stands in the input, before anybody asks what it means."""

from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["DEEPEST", "DIGEST_BYTES", "Entry", "Reader", "RecordSource", "marked", "too_deep"]

DIGEST_BYTES = 65_536
"""How much of something oversized names it, together with its length."""

DEEPEST = 500
"""Nesting that every JSON writer of the program can still write, at any depth of its own stack."""


@dataclass(slots=True)
class Entry:
    """A parsed value, or in `error` why there is none.

    `where` is for people: "line 12", "b.jsonl line 12", "row 12 (line 14)". `digest` are the bytes that
    identify an unusable record; empty for a usable one.
    """

    where: str
    value: Any
    error: str | None = None
    digest: bytes = b""


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


def too_deep(value: Any) -> bool:
    """Tell whether a value is nested deeper than `DEEPEST`."""
    level = [value]
    for _ in range(DEEPEST):
        nodes = [node for node in level if isinstance(node, (dict, list))]
        if not nodes:
            return False
        level = [child for node in nodes for child in (node.values() if isinstance(node, dict) else node)]
    return any(isinstance(node, (dict, list)) for node in level)
