"""Server-sent events: bytes of a finished stream to the data of its events. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Event", "events"]


class Event(NamedTuple):
    """One event: its name (`message` when the stream gave none) and its data lines joined by newlines."""

    name: str
    data: bytes


def events(body: bytes) -> Iterator[Event]:
    """Yield the events of a whole stream, in order.

    Lines end in CR, LF or CRLF; comments are dropped; a last event without the closing blank line counts, since
    many servers forget it. (WHATWG HTML, "Server-sent events", 9.2.6.)
    """
    name = ""
    data: list[bytes] = []
    for line in body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        if not line:
            if data:
                yield Event(name or "message", b"\n".join(data))
            name, data = "", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    if data:
        yield Event(name or "message", b"\n".join(data))
