"""Server-sent events: parses the bytes of a finished stream. Pure."""

from collections.abc import Iterator
from io import BytesIO
from itertools import chain

__all__ = ["MOST_LINES", "CutStream", "Event", "events", "looks_like_events"]

MOST_LINES = 2_000_000
"""More lines than any model writes: a token takes three at most."""

PIECE = 1 << 16
"""Bytes that are split at a time: all lines of a long stream at once would take too much memory."""
_BLANK = (b"",)
_PAGE = (b"<!doctype", b"<html")
_SPEAKING = frozenset({"error", "done", "end"})
"""Names of events that say something without data."""
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")


class CutStream(ValueError):
    """The stream ended before its end."""


Event = tuple[str, bytes]
"""One event: its name (`message` when the stream gave none) and its data lines joined by newlines."""


def looks_like_events(body: bytes) -> bool:
    """Tell whether a body begins like an event stream, whatever its media type. JSON never does."""
    return body[:64].lstrip(b" \t\r\n\0").startswith(_FIELDS)


def events(body: bytes) -> Iterator[Event]:
    """Yield the events of a finished stream, in order.

    Lines end in CR, LF or CRLF; names of fields may be indented and in capitals; comments and events without data are
    dropped, except those whose name says it all; a last event without the closing blank line counts, since many servers
    forget it. (WHATWG HTML, "Server-sent events", 9.2.6.) JSON without a field name is an event of its own: some
    servers write errors so. A web page is an event named `error`: a proxy lost the server.
    Raises ValueError for a stream of more than MOST_LINES.
    """
    name = ""
    data: list[bytes] = []
    bare: list[bytes] = []
    text = body.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\0").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if text.count(b"\n") > MOST_LINES:
        raise ValueError(f"a stream of more than {MOST_LINES:,} lines")
    begin = 0
    while begin < len(text):
        end = text.find(b"\n\n", begin + PIECE)
        piece = text[begin:end] if end >= 0 else text[begin:]
        begin = end + 2 if end >= 0 else len(text)
        for block in piece.split(b"\n\n"):
            if block[:7] == b"data: {" and not data and not bare and b"\n" not in block:  # most are such
                yield name or "message", block[6:]
                name = ""
                continue
            for ended in chain(BytesIO(block), _BLANK):
                line = ended.removesuffix(b"\n")
                if not line and not bare:
                    if name in _SPEAKING or any(map(bytes.strip, data)):
                        yield name or "message", b"\n".join(data)
                    name, data = "", []
                    continue
                if bare or line[:1] in (b"{", b"["):
                    if data:
                        yield name or "message", b"\n".join(data)
                        name, data = "", []
                    bare.append(line)
                    if line[:1] in (b"}", b"]") or (len(bare) == 1 and line.rstrip()[-1:] in (b"}", b"]")):
                        yield name or "message", b"\n".join(bare)
                        name, bare = "", []
                    continue
                if line[:9].lower().startswith(_PAGE):
                    yield "error", line
                    continue
                field, _, value = line.partition(b":")
                field, value = field.strip().lower(), value.removeprefix(b" ")
                if field == b"data":
                    data.append(value.removeprefix(b"data: "))  # some proxies wrap a stream twice
                elif field == b"event":
                    name = value.decode("utf-8", "replace")
    if bare:
        yield name or "message", b"\n".join(bare).rstrip(b"\n")
