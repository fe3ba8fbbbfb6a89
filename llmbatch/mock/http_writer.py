"""Writes replies as HTTP/1.1: legal ones through h11, broken ones by hand. Pure."""

from collections.abc import Callable, Iterator
from enum import Enum
from http import HTTPStatus
from typing import Any

import h11

from llmbatch.mock.fault_markers import Fault
from llmbatch.mock.reply import Headers, Reply

__all__ = ["BROKEN", "Ending", "Step", "broken", "legal", "seen_status"]


class Ending(Enum):
    """How a connection ends after an answer."""

    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"


Step = bytes | float | Ending
"""Send these bytes; wait so many seconds; end the connection."""

_BODYLESS = (204, 304)


def legal(connection: h11.Connection, reply: Reply, headers: Headers, *, method: bytes) -> Iterator[Step]:
    """Yield a reply as h11 writes it: at once, or, if it comes in pieces, in one step for each."""
    if reply.pieces is not None:
        chunked = (b"transfer-encoding", b"chunked")
        framing = chunked if reply.size is None else (b"content-length", b"%d" % reply.size)
        yield _emit(connection, _response(reply, headers, *framing))
        for piece in reply.pieces:
            yield _emit(connection, h11.Data(data=piece))
        yield _emit(connection, h11.EndOfMessage()) + reply.tail
        return
    sent = _emit(connection, _response(reply, headers, b"content-length", b"%d" % len(reply.body)))
    if reply.body and method != b"HEAD" and reply.status not in _BODYLESS:
        sent += _emit(connection, h11.Data(data=reply.body))
    yield sent + _emit(connection, h11.EndOfMessage()) + reply.tail


def broken(reply: Reply, headers: Headers, fault: Fault) -> Iterator[Step]:
    """Yield a reply with a fault in its HTTP. The connection is not used again."""
    yield from BROKEN[fault.name](
        reply, [(b"content-type", reply.content_type), *reply.headers, *headers], fault.options
    )


def seen_status(reply: Reply, fault: Fault | None) -> int | None:
    """Return the status that the client receives, None if it receives none."""
    if fault is None:
        return reply.status
    silent = fault.name in ("hang", "close", "junk-status")
    return None if silent or (fault.name == "reset" and fault.options["where"] == "before") else reply.status


def _response(reply: Reply, headers: Headers, framing: bytes, length: bytes) -> h11.Response:
    lines = [(b"content-type", reply.content_type), (framing, length), *reply.headers, *headers]
    return h11.Response(status_code=reply.status, headers=lines, reason=_reason(reply.status))


def _emit(connection: h11.Connection, event: h11.Event) -> bytes:
    return connection.send(event) or b""


def _reason(status: int) -> bytes:
    return _REASONS.get(status, b"Unknown")


_REASONS = {int(status): status.phrase.encode() for status in HTTPStatus}


def _head(reply: Reply, headers: Headers, *framing: tuple[bytes, bytes]) -> bytes:
    """Write a head by hand: h11 rejects some of them."""
    lines = [b"HTTP/1.1 %d %s" % (reply.status, _reason(reply.status))]
    lines += [name + b": " + value for name, value in (*headers, *framing, (b"connection", b"close"))]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _length(size: int) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % size


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


_CHUNKED = (b"transfer-encoding", b"chunked")

Steps = Iterator[Step]


def _hang(_: Reply, __: Headers, ___: dict[str, Any]) -> Steps:
    yield Ending.HANG


def _close(_: Reply, __: Headers, ___: dict[str, Any]) -> Steps:
    yield Ending.CLOSE


def _reset(reply: Reply, headers: Headers, options: dict[str, Any]) -> Steps:
    if options["where"] != "before":
        body = reply.content
        yield _head(reply, headers, _length(len(body))) + (
            body[: len(body) // 2] if options["where"] == "body" else b""
        )
    yield Ending.RESET


def _cut(reply: Reply, headers: Headers, options: dict[str, Any]) -> Steps:
    body = reply.content
    yield _head(reply, headers, _length(max(len(body), options["at"] + 1))) + body[: options["at"]]
    yield Ending.CLOSE


def _cut_chunked(reply: Reply, headers: Headers, _: dict[str, Any]) -> Steps:
    yield _head(reply, headers, _CHUNKED)
    for piece in reply.pieces or (reply.body,):
        yield _chunk(piece)
    yield Ending.CLOSE


def _drip(reply: Reply, headers: Headers, options: dict[str, Any]) -> Steps:
    where, pause = options["where"], options["interval"]
    body = b"\n" * 100 + reply.content if where == "blank" else reply.content
    head = _head(reply, headers, _length(len(body)))
    if where != "headers":
        yield head
        head = b""
    for byte in head + body:
        yield bytes((byte,))
        yield pause
    yield Ending.CLOSE


def _wrong_length(reply: Reply, headers: Headers, _: dict[str, Any]) -> Steps:
    body = reply.content
    yield _head(reply, headers, _length(len(body)), _length(len(body) + 7)) + body
    yield Ending.CLOSE


def _negative_length(reply: Reply, headers: Headers, _: dict[str, Any]) -> Steps:
    yield _head(reply, headers, _length(-1)) + reply.content
    yield Ending.CLOSE


def _junk_status(_: Reply, __: Headers, ___: dict[str, Any]) -> Steps:
    yield b"ICY 200 this is not HTTP\r\n\r\nstatic noise"
    yield Ending.CLOSE


def _early_hints(reply: Reply, headers: Headers, _: dict[str, Any]) -> Steps:
    body = reply.content
    yield b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n"
    yield _head(reply, headers, _length(len(body))) + body
    yield Ending.CLOSE


def _trailers(reply: Reply, headers: Headers, _: dict[str, Any]) -> Steps:
    pieces = b"".join(map(_chunk, reply.pieces or (reply.body,)))
    yield (_head(reply, headers, _CHUNKED, (b"trailer", b"x-checksum")) + pieces + b"0\r\nx-checksum: 1234\r\n\r\n")
    yield Ending.CLOSE


BROKEN: dict[str, Callable[[Reply, Headers, dict[str, Any]], Steps]] = {
    "hang": _hang,
    "close": _close,
    "reset": _reset,
    "cut": _cut,
    "cut-chunked": _cut_chunked,
    "drip": _drip,
    "wrong-length": _wrong_length,
    "negative-length": _negative_length,
    "junk-status": _junk_status,
    "1xx": _early_hints,
    "trailers": _trailers,
}
"""Faults that change how a reply is sent, each of which ends the connection."""
