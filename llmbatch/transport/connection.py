"""One HTTP/1.1 connection, as an asyncio protocol around llhttp."""

import asyncio
import re
import select
import socket
import ssl
from collections.abc import Awaitable
from functools import lru_cache, partial
from typing import cast

import httptools
import httpx

from llmbatch.core.exchange import Reply
from llmbatch.transport.base import Ended, Trace, may_be_complete, resolve
from llmbatch.transport.chunks import Chunks
from llmbatch.transport.errors import in_words
from llmbatch.transport.head import joined, mended
from llmbatch.transport.limits import AnswerTooLarge, Limits

__all__ = ["MOST_AT_ONCE", "Connection"]

MOST_AT_ONCE = 64 * 1024
"""Largest body, in bytes, that is sent in one write with its head."""
_PIECE = 256 * 1024
"""Bytes of a larger body that are written before the next check for an early answer."""
_NONE: dict[str, str] = {}
"""The headers between two answers; those of the last one went with its reply."""
_DELIMITERS = {"content-length", "transfer-encoding"}
_HEAD_END = re.compile(rb"\r?\n\r?\n")


class _Identity(ValueError):
    """The transfer encoding of the answer is `identity`, which means that it has none."""


class Connection(asyncio.Protocol):
    """One socket and its parser. Once it is not `open`, it serves no further request and its owner aborts it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.open = True
        self._loop = loop
        self._limits = limits
        self._parser = self._new_parser()
        self._transport: asyncio.Transport | None = None
        self._ended: Ended | None = None
        """Waits for the end of the request under way."""
        self._writable: asyncio.Future[None] | None = None
        self._trace = Trace()
        self._written = False
        self._status = 0
        """The status of the answer that comes in, once its head is complete; else 0."""
        self._head = b""
        """The bytes of the answer, until something of its body is read."""
        self._mends = False
        """Whether the head has an error that may be mended once it is complete."""
        self._refused_chunks: Chunks | None = None
        """Reads the rest of an answer whose chunks the parser refuses."""
        self._headers: dict[str, str] = {}
        self._repeated: list[tuple[str, str]] = []
        self._chunks: list[bytes] = []
        self._received = self._on_wire = self._overhead = 0
        self._broken_off: Reply | None = None
        self._idle_since = loop.time()
        self._readable = select.poll()

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

    def _new_parser(self) -> httptools.HttpResponseParser:
        parser = httptools.HttpResponseParser(self)
        # Some gateways send a length along with chunks; the chunks are right (RFC 9112, 6.3). Some pad chunk sizes, and
        # some servers end lines in LF alone (2.2).
        parser.set_dangerous_leniencies(
            lenient_chunked_length=True,
            lenient_spaces_after_chunk_size=True,
            lenient_optional_cr_before_lf=True,
        )
        return parser

    def fit(self) -> bool:
        """Tell whether another request may be written: not idle for too long, not closed, no unexpected bytes.

        The socket is polled, because a busy loop may not have noticed yet that the server closed the connection, and a
        request written then would be in doubt.
        """
        return self.open and self._loop.time() - self._idle_since < self._limits.idle and not self._readable.poll(0)

    def exchange(self, head: bytes, body: bytes, trace: Trace) -> Awaitable[Reply]:
        """Write one request and return an awaitable of its complete answer. A caller that stops waiting must abort."""
        reply: asyncio.Future[Reply] = self._loop.create_future()
        if len(body) > MOST_AT_ONCE:
            self._begin(trace, partial(resolve, reply))
            self._written = False
            return self._exchange_large(head, body, reply)
        self.start(head, body, trace, partial(resolve, reply))
        return reply

    def start(self, head: bytes, body: bytes, trace: Trace, ended: Ended) -> None:
        """Write one request with a body of at most `MOST_AT_ONCE` bytes, and say how it ended."""
        self._begin(trace, ended).write(head + body)
        self._wrote()

    def _begin(self, trace: Trace, ended: Ended) -> asyncio.Transport:
        if not self.open or self._transport is None:
            raise httpx.ReadError("the server closed the connection before the request was sent")
        self._trace = trace
        self._ended = ended
        self._received = self._on_wire = self._overhead = 0
        trace.began = True
        return self._transport

    async def _exchange_large(self, head: bytes, body: bytes, reply: asyncio.Future[Reply]) -> Reply:
        """Write a large body as fast as the socket takes it.

        An answer that comes before the end (413, 401) ends the writing, and the connection with it.
        """
        assert self._transport is not None
        view = memoryview(body)
        self._transport.write(head)
        for start in range(0, len(body), _PIECE):
            # At least one iteration of the loop, so that an early answer is read before the reset that follows it.
            room = self._writable or _next_iteration(self._loop)
            await asyncio.wait((room, reply), return_when=asyncio.FIRST_COMPLETED)
            if reply.done():
                self.open = False
                try:
                    return reply.result()
                finally:
                    del reply  # its exception refers to this frame, and so to the body
            self._transport.write(view[start : start + _PIECE])
        self._wrote()
        try:
            return await reply
        finally:
            del reply

    def _wrote(self) -> None:
        """Note that the request is written: sent, if nothing of it waits in user space."""
        assert self._transport is not None
        self._written = True
        if self._writable is None and not self._transport.is_closing():
            self._trace.sent = True

    def give_up(self, error: BaseException) -> None:
        """End the request under way with an error, and close the socket."""
        self._fail(error)

    def abort(self) -> None:
        """Close the socket at once, whatever it is doing; a request under way ends once the loop has noticed."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def received(self) -> Reply | None:
        """Return what came of an answer that broke off, if it may be complete all the same."""
        if self._broken_off is not None or not self._status:
            return self._broken_off
        if not may_be_complete(self._status, "content-encoding" in self._headers, self._chunks):
            return None
        return Reply(self._status, self._joined_headers(), b"".join(self._chunks), cut=True)

    def _joined_headers(self) -> dict[str, str]:
        return joined([*self._headers.items(), *self._repeated]) if self._repeated else self._headers

    # The event loop calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set up the flow control."""
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
        """Parse the bytes."""
        if self._ended is None:
            self.abort()  # bytes after an answer belong to no request
            return
        self._trace.answered = True
        before = self._received
        if not self._received:
            self._head += data
        if self._mends:
            self._mend(httpx.RemoteProtocolError("not HTTP/1.1: the head cannot be mended"))
        elif self._refused_chunks is not None:
            self._join(self._refused_chunks, data)
        else:
            self._parse(data)
        if self._ended is not None:
            self._cap(len(data), self._received != before)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(httpx.RemoteProtocolError("the server wants to switch protocols"))
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__ or error
            if isinstance(cause, _Identity):
                self._mend(cause)
            else:
                self._fail(cause)
        except httptools.HttpParserError as error:
            wrong = httpx.RemoteProtocolError(f"not HTTP/1.1: {error}")
            *ended, body = _HEAD_END.split(self._head, maxsplit=1)
            if not self._status:
                self._mend(wrong)
            elif ended and self._headers.get("transfer-encoding", "").lower() == "chunked":
                self._refused_chunks = Chunks()
                self._join(self._refused_chunks, body)
            else:
                self._fail(wrong)

    def _join(self, chunks: Chunks, data: bytes) -> None:
        """Read chunks that the parser refused; nothing follows them on this connection."""
        self.open = False
        try:
            self.on_body(chunks.feed(data))
        except ValueError as error:
            self._fail(httpx.RemoteProtocolError(f"not HTTP/1.1: {error}"))
        except AnswerTooLarge as error:
            self._fail(error)
        else:
            if chunks.ended:
                status, self._status = self._status, 0
                self._complete(status)

    def _mend(self, error: BaseException) -> None:
        """Parse again an answer whose head can be mended; fail with the error if it cannot."""
        head, self._head = self._head, b""
        try:
            answer = mended(head) if head else None
        except ValueError:
            answer = None
        else:
            self._mends = answer is None and bool(head)
        if answer is not None:
            self._head = answer
            self._headers, self._repeated = {}, []
            self._parser = self._new_parser()
            self._parse(answer)
        elif self._mends:
            self._head = head
        else:
            self._fail(error)

    def _cap(self, size: int, has_body: bool) -> None:
        """Limit all bytes outside of the body: headers, trailers, interim answers, the framing of chunks."""
        self._on_wire += size
        self._overhead = 0 if has_body else self._overhead + size
        if self._overhead > self._limits.head:
            self._fail(httpx.RemoteProtocolError(f"headers beyond {self._limits.head} bytes"))
        elif self._on_wire > self._limits.body + self._limits.head:
            self._fail(AnswerTooLarge(self._limits, self._chunks))

    def eof_received(self) -> None:
        """End a body that only the end of the connection delimits."""
        self._closed()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the request under way."""
        if error is None:
            self._closed()
        else:
            self._fail(httpx.ReadError(in_words(error)))
        # Parser, transport and connection refer to each other: without this, only the garbage collector frees them.
        del self._parser
        self._transport = None
        self._chunks = []

    def _closed(self) -> None:
        if self._status and not self._headers.keys() & _DELIMITERS:
            self._complete(self._status, cut=True)
            self.abort()
        elif self._trace.answered:
            self._fail(httpx.RemoteProtocolError("the server hung up in the middle of its answer"))
        else:
            self._fail(httpx.RemoteProtocolError("the server hung up without an answer"))

    # The parser calls these.

    def on_message_begin(self) -> None:
        """Fail on a second answer: it belongs to no request, and must not reach the next one."""
        if self._ended is None:
            raise httpx.RemoteProtocolError("bytes after the answer")
        self._headers, self._repeated = {}, []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, its name in lower case. Trailers are not headers."""
        if self._status:
            return
        key, text = _in_lower_case(name), value.decode("latin-1").strip()
        if key in self._headers:
            self._repeated.append((key, text))
        else:
            self._headers[key] = text

    def on_headers_complete(self) -> None:
        """Begin the body."""
        if self._headers.get("transfer-encoding", "").lower() == "identity":
            raise _Identity
        self._status = self._parser.get_status_code()
        if self._status < 100:
            raise httpx.RemoteProtocolError(f"not HTTP/1.1: status {self._status}")

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body, up to the cap."""
        self._head = b""
        self._chunks.append(data)
        self._received += len(data)
        if self._received > self._limits.body:
            raise AnswerTooLarge(self._limits, self._chunks)

    def on_message_complete(self) -> None:
        """Return the answer; after an interim one (100, 103) wait for the final one."""
        status, self._status = self._status, 0
        self._head = b""
        if status < 200:
            return
        if not self._parser.should_keep_alive():
            self.open = False
        self._complete(status)

    def _complete(self, status: int, *, cut: bool = False) -> None:
        ended, self._ended = self._ended, None
        chunks, self._chunks = self._chunks, []
        headers, self._headers = self._joined_headers(), _NONE
        self._idle_since = self._loop.time()
        if ended is None:
            return
        try:
            end: Reply | MemoryError = Reply(status, headers, b"".join(chunks), cut)
        except MemoryError as error:
            end = error
        ended(end)

    def _fail(self, error: BaseException) -> None:
        ended, self._ended = self._ended, None
        try:
            if ended is not None and not isinstance(error, AnswerTooLarge | MemoryError):
                self._broken_off = self.received()
        finally:  # this may run out of memory, and the request must end all the same
            self.abort()
            if ended is not None:
                ended(error)


@lru_cache(256)
def _in_lower_case(name: bytes) -> str:
    """Return the name of a header in lower case: a server sends the same ones again and again."""
    return name.lower().decode("latin-1")


def _next_iteration(loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """Return a future that is done after one iteration of the loop."""
    turn: asyncio.Future[None] = loop.create_future()
    loop.call_soon(turn.set_result, None)
    return turn
