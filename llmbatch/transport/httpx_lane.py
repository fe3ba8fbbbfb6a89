"""A lane that uses httpx's own transport, for proxies, and for tests of the other lane."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx

from llmbatch.core.exchange import Reply
from llmbatch.transport.base import BaseLane, Trace, may_be_complete
from llmbatch.transport.errors import in_words
from llmbatch.transport.head import Head, joined
from llmbatch.transport.limits import AnswerTooLarge, Limits, socket_options

__all__ = ["HttpxLane"]

_PIECE = 256 * 1024


class HttpxLane(BaseLane):
    """Does what `Http11Lane` does: complete answers, raw bodies, traces; any error closes the connection.

    Unlike that lane it writes a request to its end before it reads, so it sees an early refusal only if the server
    reads the rest.
    """

    def __init__(self, *, limits: Limits, tls: Callable[[], ssl.SSLContext], proxy: str | None = None) -> None:
        self._limits = limits
        self._tls = tls
        self._proxy = proxy
        self._transport: httpx.AsyncHTTPTransport | None = None
        self._stream: Any = None

    async def exchange(self, head: Head, body: bytes, trace: Trace) -> Reply:
        """Send one request and wait for the complete answer."""
        if self._transport is None:
            self.broken_off = None
            self._transport = self._open(head.url.scheme == "https")
        connecting = asyncio.timeout(None)
        extensions = {"timeout": {"connect": self._limits.connect_timeout}, "trace": self._recorder(trace, connecting)}
        headers = [*head.headers.raw, (b"content-length", b"%d" % len(body))]
        request = httpx.Request(head.method, head.url, headers=headers, stream=_Pieces(body), extensions=extensions)
        try:
            async with connecting:
                response = await self._transport.handle_async_request(request)
            chunks: list[bytes] = []
            try:
                await self._receive(response, chunks)
                clean = not self._unread()
            except BaseException as error:
                encoded = "content-encoding" in response.headers
                if may_be_complete(response.status_code, encoded, chunks) and not isinstance(error, AnswerTooLarge):
                    self.broken_off = _reply(response, chunks, cut=True)
                raise
            finally:
                await response.aclose()
        except (OSError, UnicodeError) as error:
            await self.aclose()
            if connecting.expired():
                raise httpx.ConnectTimeout(f"no connection within {self._limits.connect_timeout:g} s") from error
            # Exceptions that httpcore does not convert: a broken TLS record, a host label of more than 63 characters.
            broken = httpx.ReadError if trace.began else httpx.ConnectError
            raise broken(in_words(error)) from error
        except BaseException as error:
            await self.aclose()
            if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError | httpx.ProxyError) and not trace.began:
                raise httpx.ConnectError(self._through_proxy(in_words(error))) from error
            raise
        if not clean:
            await self.aclose()
        return _reply(response, chunks)

    def _through_proxy(self, words: str) -> str:
        """Name the proxy in words about a connection: it is what a person checks first."""
        return (
            words
            if self._proxy is None
            else f"through the proxy {httpx.URL(self._proxy).netloc.decode('ascii')}: {words}"
        )

    def _open(self, secure: bool) -> httpx.AsyncHTTPTransport:
        proxy = None
        if self._proxy is not None:
            own_tls = self._proxy.startswith("https:")
            proxy = httpx.Proxy(self._proxy, ssl_context=self._tls() if own_tls else None)
        return httpx.AsyncHTTPTransport(
            verify=self._tls() if secure else False,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=self._limits.idle),
            proxy=proxy,
            socket_options=socket_options(),
        )

    async def _receive(self, response: httpx.Response, chunks: list[bytes]) -> None:
        received = 0
        assert isinstance(response.stream, httpx.AsyncByteStream)
        async for chunk in response.stream:
            received += len(chunk)
            chunks.append(chunk)
            if received > self._limits.body:
                raise AnswerTooLarge(self._limits, chunks)

    def _unread(self) -> bool:
        """Say whether bytes after the answer wait in the parser, where httpcore takes them for the next answer.

        There is no public way to know.
        """
        pool = getattr(self._transport, "_pool", None)
        for wrapper in pool.connections if pool is not None else ():
            connection = wrapper
            while connection is not None and not hasattr(connection, "_h11_state"):
                connection = getattr(connection, "_connection", None)
            if connection is not None and connection._h11_state.trailing_data[0]:  # noqa: SLF001
                return True
        return False

    async def aclose(self) -> None:
        """Drop the transport; the next request makes another, so that no stuck pool can survive."""
        transport, self._transport = self._transport, None
        stream, self._stream = self._stream, None
        if transport is not None:
            await transport.aclose()
        if stream is not None:
            await stream.aclose()

    def _recorder(self, trace: Trace, connecting: asyncio.Timeout) -> Any:
        """Return a function that turns httpcore's trace events into a trace.

        A proxy's CONNECT is a request of its own, which belongs to connecting: it is never billed, and must end within
        the connect time-out.
        """
        loop = asyncio.get_running_loop()

        async def record(event: str, info: dict[str, Any]) -> None:
            match event:
                case "connection.connect_tcp.started":
                    trace.fresh = True
                    connecting.reschedule(loop.time() + self._limits.connect_timeout)
                case "connection.connect_tcp.complete":
                    # httpcore forgets this one when it is cancelled within the TLS handshake.
                    self._stream = info["return_value"]
                case "http11.send_request_headers.started":
                    trace.began = info["request"].method != b"CONNECT"
                    if trace.began:
                        connecting.reschedule(None)
                case "http11.send_request_body.complete":
                    trace.sent = trace.began
                case "http11.receive_response_headers.complete":
                    trace.answered = trace.began

        return record


def _reply(response: httpx.Response, chunks: Sequence[bytes], *, cut: bool = False) -> Reply:
    headers = joined(
        (name.lower().decode("latin-1"), value.decode("latin-1").strip()) for name, value in response.headers.raw
    )
    undelimited = not headers.keys() & {"content-length", "transfer-encoding"}
    cut = cut or (response.status_code not in (204, 304) and undelimited)
    return Reply(response.status_code, headers, b"".join(chunks), cut)


class _Pieces(httpx.AsyncByteStream):
    """A body in pieces, so that a write buffer holds one of them and not a copy of all."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        view = memoryview(self._body)
        for start in range(0, len(view), _PIECE):
            yield bytes(view[start : start + _PIECE])
