"""Our lane: one kept-alive HTTP/1.1 connection that tells how far an attempt got.

It exists because pace and durability hang on what no library tells: whether the connection was fresh, how
much of the request left, whether an answer began; and on a cancel that closes the socket at once.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

import httpx

from llmbatch.wire.connection import Connection
from llmbatch.wire.dial import dial
from llmbatch.wire.head import rendered
from llmbatch.wire.limits import Limits
from llmbatch.wire.trace import HEAD, TRACE, Trace

__all__ = ["Lane"]


class Lane(httpx.AsyncBaseTransport):
    """A transport of one kept-alive connection; one request at a time, no proxy, no HTTP/2.

    The answer comes back whole, its body as it was on the wire. Failures are httpx's exceptions; the trace
    of the request says how far the attempt got. After anything but a clean answer the connection is closed.
    """

    def __init__(self, *, limits: Limits, tls: Callable[[], ssl.SSLContext]) -> None:
        self._limits = limits
        self._tls = tls
        self._connection: Connection | None = None
        self._origin: tuple[bytes, bytes, int | None] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and wait for the whole answer."""
        trace: Trace = request.extensions.get(TRACE) or Trace()
        head: bytes = request.extensions.get(HEAD) or rendered(request)
        url = request.url
        origin = (url.raw_scheme, url.raw_host, url.port)
        connection = self._connection
        if connection is None or origin != self._origin or not connection.fit():
            self.close()
            trace.fresh = True
            connection = self._connection = await self._connect(*origin)
            self._origin = origin
        try:
            answer = await connection.exchange(head, _body(request), trace)
        except BaseException:
            self.close()
            raise
        if not connection.open:
            self.close()
        return answer

    async def _connect(self, scheme: bytes, host: bytes, port: int | None) -> Connection:
        secure = scheme == b"https"
        name = host.decode("ascii")
        context = self._tls() if secure else None
        try:
            async with asyncio.timeout(self._limits.connect):
                sock = await dial(name, (443 if secure else 80) if port is None else port)
                return await Connection.over(
                    sock, limits=self._limits, context=context, server_hostname=name if secure else None
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection within {self._limits.connect:g} s") from error
        except OSError as error:
            raise httpx.ConnectError(str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Close the socket at once; the next request opens another."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def aclose(self) -> None:
        """Close the socket at once."""
        self.close()


def _body(request: httpx.Request) -> bytes:
    return b"".join(cast(httpx.SyncByteStream, request.stream))
