"""The reference lane: httpx's own transport with one connection, for proxies and to hold our lane to account."""

import ssl
from collections.abc import Callable
from typing import Any

import httpx

from llmbatch.wire.limits import AnswerTooLarge, Limits, socket_options
from llmbatch.wire.trace import TRACE, Trace

__all__ = ["ReferenceLane"]


class ReferenceLane(httpx.AsyncBaseTransport):
    """A lane as `Lane` is, by httpx: whole answers, raw bodies, traces, closed after anything but a clean answer."""

    def __init__(
        self, *, limits: Limits, tls: Callable[[], ssl.SSLContext], proxy: str | None = None
    ) -> None:
        self._limits = limits
        self._tls = tls
        self._proxy = proxy
        self._transport: httpx.AsyncHTTPTransport | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and wait for the whole answer."""
        if self._transport is None:
            self._transport = self._open(request.url.scheme == "https")
        trace: Trace = request.extensions.get(TRACE) or Trace()
        request.extensions = {
            **request.extensions,
            "timeout": {"connect": self._limits.connect},
            "trace": _recorder(trace),
        }
        try:
            response = await self._transport.handle_async_request(request)
            try:
                body = await self._whole(response)
            finally:
                await response.aclose()
        except BaseException:
            await self.aclose()
            raise
        if not response.headers.keys() & {"content-length", "transfer-encoding"}:
            trace.open_ended = True
        return httpx.Response(response.status_code, headers=response.headers, stream=httpx.ByteStream(body))

    def _open(self, secure: bool) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=self._tls() if secure else False,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=self._limits.idle),
            proxy=self._proxy,
            socket_options=socket_options(),
        )

    async def _whole(self, response: httpx.Response) -> bytes:
        chunks: list[bytes] = []
        received = 0
        assert isinstance(response.stream, httpx.AsyncByteStream)
        async for chunk in response.stream:
            received += len(chunk)
            if received > self._limits.body:
                raise AnswerTooLarge(self._limits, chunks)
            chunks.append(chunk)
        return b"".join(chunks)

    async def aclose(self) -> None:
        """Drop the transport; the next request makes another, so that no stuck pool can survive."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()


def _recorder(trace: Trace) -> Any:
    """Write httpcore's trace events down as facts."""

    async def record(event: str, info: dict[str, Any]) -> None:
        match event:
            case "connection.connect_tcp.started" | "connection.connect_unix_socket.started":
                trace.fresh = True
            case "http11.send_request_headers.started":
                trace.began = True
            case "http11.send_request_body.complete":
                trace.sent = True
            case "http11.receive_response_headers.complete":
                trace.answered = True

    return record
