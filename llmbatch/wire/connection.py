"""One HTTP/1.1 connection, as an asyncio protocol around llhttp."""

import asyncio
import select
import socket
import ssl
from typing import cast

import httptools
import httpx

from llmbatch.wire.exchange import Answer
from llmbatch.wire.limits import AnswerTooLarge, Limits
from llmbatch.wire.trace import Trace

__all__ = ["Connection"]

_SMALL = 64 * 1024
"""Head and body up to here leave in one write."""
_PIECE = 256 * 1024
"""How much of a larger body is written between two looks at what the server says."""
_DELIMITED = {b"content-length", b"transfer-encoding"}


class Connection(asyncio.Protocol):
    """One socket and its parser. Once not `open` it serves no further request, and its owner aborts it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.open = True
        self._loop = loop
        self._limits = limits
        self._parser = httptools.HttpResponseParser(self)
        # Some gateways send a length along with chunks; the chunks are right (RFC 9112, 6.3).
        self._parser.set_dangerous_leniencies(lenient_chunked_length=True)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._trace = Trace()
        self._written = False
        self._wire = 0
        self._barren = 0
        self._idle_since = loop.time()
        self._readable = select.poll()
        self._begin()

    def _begin(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._received = 0
        self._head_done = False

    @classmethod
    async def over(
        cls,
        sock: socket.socket,
        *,
        limits: Limits,
        context: ssl.SSLContext | None,
        server_hostname: str | None,
    ) -> "Connection":
        """Take over a connected socket, with TLS when there is a context. Raises OSError."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: cls(loop, limits), sock=sock, ssl=context, server_hostname=server_hostname
        )
        return connection

    def fit(self) -> bool:
        """Say whether another request may be written: not idle too long, not closed, nothing said unasked.

        The socket is asked, not only the loop: a busy loop may not have seen yet that the server hung up, and
        a request written then would be in doubt.
        """
        return self.open and self._loop.time() - self._idle_since < self._limits.idle and not self._readable.poll(0)

    async def exchange(self, head: bytes, body: bytes, trace: Trace) -> Answer:
        """Write one request and return its whole answer."""
        if not self.open or self._transport is None:
            raise httpx.ReadError("the server closed the connection before the request was sent")
        self._trace = trace
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer = answer
        self._wire = self._barren = 0
        trace.began = True
        try:
            if len(body) <= _SMALL:
                self._transport.write(head + body)
                self._written = True
            else:
                self._written = await self._write_large(head, body)
            if self._written and self._writable is None and not self._transport.is_closing():
                trace.sent = True
            return await answer
        finally:
            self._answer = None
            self._written = False
            self._idle_since = self._loop.time()
            if answer.done() and not answer.cancelled():
                answer.exception()  # a cancel may have overtaken it: then it counts as seen

    async def _write_large(self, head: bytes, body: bytes) -> bool:
        """Feed the socket no faster than it drains; say whether everything was written.

        An answer that comes before the end (413, 401) ends the writing, and the connection with it.
        """
        assert self._transport is not None and self._answer is not None
        view = memoryview(body)
        self._transport.write(head)
        for start in range(0, len(body), _PIECE):
            # One turn of the loop at least: a refusal is read before the reset that follows it.
            room = self._writable or _turn(self._loop)
            await asyncio.wait((room, self._answer), return_when=asyncio.FIRST_COMPLETED)
            if self._answer.done():
                self.open = False
                return False
            self._transport.write(view[start : start + _PIECE])
        return True

    def abort(self) -> None:
        """Close the socket at once, whatever it is doing."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the flow control up."""
        self._transport = cast(asyncio.Transport, transport)
        # The lowest marks there are: "paused" then means that some of it has not reached the kernel. TLS
        # transports pause at their mark, others above it; and TLS may still hold 64 KiB below what we see.
        secure = transport.get_extra_info("ssl_object") is not None
        self._transport.set_write_buffer_limits(high=1 if secure else 0, low=0)
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def pause_writing(self) -> None:
        """Note that bytes wait in user space."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Note that all bytes written so far reached the kernel."""
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None
        if self._written:
            self._trace.sent = True

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._answer is None or self._answer.done():
            self.abort()  # nobody asked: bytes after an answer belong to no request
            return
        self._trace.answered = True
        before = self._received
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(httpx.RemoteProtocolError("the server wants to switch protocols"))
        except httptools.HttpParserCallbackError as error:
            self._fail(error.__context__ or error)
        except httptools.HttpParserError as error:
            self._fail(httpx.RemoteProtocolError(f"not HTTP/1.1: {error}"))
        if not self._answer.done():
            self._cap(len(data), self._received != before)

    def _cap(self, size: int, fruitful: bool) -> None:
        """Bound what is not body: headers, trailers, interim answers, the framing of chunks."""
        self._wire += size
        self._barren = 0 if fruitful else self._barren + size
        if self._barren > self._limits.head:
            self._fail(httpx.RemoteProtocolError(f"headers beyond {self._limits.head} bytes"))
        elif self._wire > self._limits.body + self._limits.head:
            self._fail(AnswerTooLarge(self._limits, self._chunks))

    def eof_received(self) -> None:
        """Take the end of the connection as the end of a body that has no other."""
        self._ended()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail what is under way."""
        if error is None:
            self._ended()
        else:
            self._fail(httpx.ReadError(str(error) or type(error).__name__))

    def _ended(self) -> None:
        if self._head_done and not any(name in _DELIMITED for name, _ in self._headers):
            self._trace.open_ended = True
            self._complete()
            self.abort()
        elif self._trace.answered:
            self._fail(httpx.RemoteProtocolError("the server hung up in the middle of its answer"))
        else:
            self._fail(httpx.RemoteProtocolError("the server hung up without an answer"))

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Refuse a second answer: it belongs to no request, and must not reach the next one."""
        if self._answer is None or self._answer.done():
            raise httpx.RemoteProtocolError("bytes after the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Trailers are not headers."""
        if not self._head_done:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Expect the body from here."""
        self._head_done = True
        if self._parser.get_status_code() < 100:
            raise httpx.RemoteProtocolError(f"not HTTP/1.1: status {self._parser.get_status_code()}")

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body, up to the cap."""
        self._received += len(data)
        if self._received > self._limits.body:
            self._chunks.append(data)
            raise AnswerTooLarge(self._limits, self._chunks)
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        """Hand the answer over; after an interim one (100, 103) wait for the real one."""
        if self._parser.get_status_code() < 200:
            self._begin()
            return
        if not self._parser.should_keep_alive():
            self.open = False
        self._complete()

    def _complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(self._parser.get_status_code(), self._headers, b"".join(self._chunks)))
        self._begin()

    def _fail(self, error: BaseException) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.abort()


def _turn(loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """Return a future that is done after one turn of the loop."""
    turn: asyncio.Future[None] = loop.create_future()
    loop.call_soon(turn.set_result, None)
    return turn
