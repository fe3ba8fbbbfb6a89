"""Our lane: one HTTP/1.1 connection, as an asyncio protocol around llhttp.

It exists because pace and durability hang on what no library tells: whether the connection was fresh, how much of
the request left, whether an answer began; and on a cancel that closes the socket at once.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

import httptools
import httpx

from llmbatch.wire.limits import AnswerTooLarge, Limits, socket_options
from llmbatch.wire.trace import TRACE, Trace

__all__ = ["Lane"]

_SMALL = 64 * 1024  # head and body up to here leave in one write


class Lane(httpx.AsyncBaseTransport):
    """A transport of one kept-alive connection; one request at a time, no proxy, no HTTP/2.

    The answer comes back whole, its body as it was on the wire. Failures are httpx's exceptions; the request's trace
    says how far the attempt got. After anything but a clean answer the connection is closed.
    """

    def __init__(self, *, limits: Limits, tls: Callable[[], ssl.SSLContext]) -> None:
        self._limits = limits
        self._tls = tls
        self._connection: _Connection | None = None
        self._origin: tuple[str, str, int] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and wait for the whole answer."""
        trace: Trace = request.extensions.get(TRACE) or Trace()
        connection = await self._connected(request.url, trace)
        try:
            answer = await connection.exchange(_head(request), _body(request), trace)
        except BaseException:
            self.close()
            raise
        if not connection.reusable:
            self.close()
        return answer

    async def _connected(self, url: httpx.URL, trace: Trace) -> "_Connection":
        secure = url.scheme == "https"
        origin = (url.scheme, url.host, url.port or (443 if secure else 80))
        connection = self._connection
        loop = asyncio.get_running_loop()
        if connection is not None:
            if (
                self._origin == origin
                and connection.open
                and loop.time() - connection.idle_since < self._limits.idle
            ):
                return connection
            self.close()
        trace.fresh = True
        try:
            async with asyncio.timeout(self._limits.connect):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop, self._limits),
                    origin[1],
                    origin[2],
                    ssl=self._tls() if secure else None,
                    server_hostname=origin[1] if secure else None,
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection within {self._limits.connect:g} s") from error
        except OSError as error:
            raise httpx.ConnectError(str(error) or type(error).__name__) from error
        self._connection, self._origin = connection, origin
        return connection

    def close(self) -> None:
        """Close the socket at once; the next request opens another."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def aclose(self) -> None:
        """Close the socket at once."""
        self.close()


def _head(request: httpx.Request) -> bytes:
    lines = [request.method.encode("ascii"), b" ", request.url.raw_path, b" HTTP/1.1\r\n"]
    for name, value in request.headers.raw:
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def _body(request: httpx.Request) -> bytes:
    return b"".join(cast(httpx.SyncByteStream, request.stream))


class _Connection(asyncio.Protocol):
    """One socket and its parser. `open` and `reusable` say whether another request may use it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._loop = loop
        self._limits = limits
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[httpx.Response] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._trace = Trace()
        self._written = False
        self.open = True
        self.reusable = True
        self.idle_since = loop.time()
        self._begin()

    def _begin(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._received = 0
        self._head_done = False

    async def exchange(self, head: bytes, body: bytes, trace: Trace) -> httpx.Response:
        """Write one request and return its whole answer."""
        self._trace = trace
        self._written = False
        answer: asyncio.Future[httpx.Response] = self._loop.create_future()
        self._answer = answer
        trace.began = True
        assert self._transport is not None
        try:
            if len(body) <= _SMALL:
                self._transport.write(head + body)
            else:
                await self._write_large(head, body)
            self._written = True
            trace.sent = self._writable is None
            return await answer
        finally:
            self._answer = None
            self.idle_since = self._loop.time()

    async def _write_large(self, head: bytes, body: bytes) -> None:
        """Feed the socket no faster than it drains. An answer that comes before the end (413, 401) ends the writing."""
        assert self._transport is not None and self._answer is not None
        view = memoryview(body)
        self._transport.write(head)
        for start in range(0, len(body), _SMALL):
            if self._writable is not None:
                await asyncio.wait((self._writable, self._answer), return_when=asyncio.FIRST_COMPLETED)
            if self._answer.done():
                self.reusable = False
                return
            self._transport.write(view[start : start + _SMALL])

    def abort(self) -> None:
        """Close the socket at once, whatever it is doing."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket up."""
        self._transport = cast(asyncio.Transport, transport)
        # With a high-water mark of zero, "paused" means "some of it has not reached the kernel".
        self._transport.set_write_buffer_limits(high=0)
        sock = transport.get_extra_info("socket")
        for level, name, value in socket_options():
            sock.setsockopt(level, name, value)

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
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(httpx.RemoteProtocolError("the server wants to switch protocols"))
        except httptools.HttpParserCallbackError as error:
            self._fail(error.__context__ or error)
        except httptools.HttpParserError as error:
            self._fail(httpx.RemoteProtocolError(f"not HTTP/1.1: {error}"))
        if not self._head_done and not self._answer.done():
            self._received += len(data)
            if self._received > self._limits.head:
                self._fail(httpx.RemoteProtocolError(f"headers beyond {self._limits.head} bytes"))

    def eof_received(self) -> None:
        """Take the end of the connection as the end of a body that has no other."""
        names = {name for name, _ in self._headers}
        if self._head_done and not names & {b"content-length", b"transfer-encoding"}:
            self._trace.open_ended = True
            self.reusable = False
            self._complete()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail what is under way."""
        self.open = False
        if self._head_done and error is None:
            self._fail(
                httpx.RemoteProtocolError("the server closed the connection in the middle of its answer")
            )
        elif error is None:
            self._fail(httpx.RemoteProtocolError("the server closed the connection without an answer"))
        else:
            self._fail(httpx.ReadError(str(error) or type(error).__name__))
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Count the body from here."""
        self._head_done = True
        self._received = 0

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body, up to the cap."""
        self._received += len(data)
        if self._received > self._limits.body:
            raise AnswerTooLarge(self._limits, self._chunks)
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        """Hand the answer over; after an interim one (100, 103) wait for the real one."""
        if self._parser.get_status_code() < 200:
            self._begin()
            return
        if not self._parser.should_keep_alive():
            self.reusable = False
        self._complete()

    def _complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(
                httpx.Response(
                    self._parser.get_status_code(),
                    headers=self._headers,
                    stream=httpx.ByteStream(b"".join(self._chunks)),
                )
            )
        self._begin()

    def _fail(self, error: BaseException) -> None:
        self.reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        if self.open:
            self.abort()
