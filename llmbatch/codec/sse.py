"""Server-sent events: bytes of a finished stream to the data of its events. Pure."""

from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

__all__ = ["MOST_LINES", "Event", "events"]

MOST_LINES = 2_000_000
"""Three to an event, and an event to a token: more than any model says, and less than a second to read."""


class Event(NamedTuple):
    """One event: its name (`message` when the stream gave none) and its data lines joined by newlines."""

    name: str
    data: bytes


def events(body: bytes) -> Iterator[Event]:
    """Yield the events of a whole stream, in order.

    Lines end in CR, LF or CRLF; comments are dropped; a last event without the closing blank line counts, since
    many servers forget it. (WHATWG HTML, "Server-sent events", 9.2.6.) Raises ValueError for a stream of more than
    MOST_LINES.
    """
    name = ""
    data: list[bytes] = []
    text = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for number, ended in enumerate(BytesIO(text)):  # one line at a time: a list of millions would be a bomb
        if number >= MOST_LINES:
            raise ValueError(f"a stream of more than {MOST_LINES:,} lines")
        line = ended.removesuffix(b"\n")
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
