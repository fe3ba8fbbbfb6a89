"""The usual lane: one kept-alive HTTP/1.1 connection that tells how far an attempt got.

It exists because pacing and durability need what no library tells: whether the connection was new, how much of the
request was sent, whether an answer began. They also need a cancel that closes the socket at once.
"""

import asyncio
import ssl
from collections.abc import Callable

import httpx

from llmbatch.core.exchange import Reply
from llmbatch.transport.base import BaseLane, Ended, Trace
from llmbatch.transport.connection import MOST_AT_ONCE, Connection
from llmbatch.transport.dial import dial
from llmbatch.transport.errors import no_connection
from llmbatch.transport.head import Head
from llmbatch.transport.limits import Limits

__all__ = ["Http11Lane"]


class Http11Lane(BaseLane):
    """A transport of one kept-alive connection; one request at a time, no proxy, no HTTP/2.

    It returns complete answers, with the body as it was on the wire. Failures are httpx's exceptions; the trace of the
    request says how far the attempt got. Any error closes the connection.
    """

    def __init__(self, *, limits: Limits, tls: Callable[[], ssl.SSLContext]) -> None:
        self._limits = limits
        self._tls = tls
        self._connection: Connection | None = None
        self._url: httpx.URL | None = None
        """The URL of the last request: the connection leads to its host."""

    async def exchange(self, head: Head, body: bytes, trace: Trace) -> Reply:
        """Send one request and wait for the complete answer."""
        connection = self._connection
        if connection is None or (head.url is not self._url and not self._leads_to(head.url)) or not connection.fit():
            self.close()
            trace.fresh = True
            self.broken_off = None
            connection = self._connection = await self._connect(head.url)
        self._url = head.url
        try:
            reply = await connection.exchange(_with_length(head, body), body, trace)
        except BaseException as error:
            self.ended(error)
            raise
        self.ended(reply)
        return reply

    def start(self, head: Head, body: bytes, trace: Trace, ended: Ended) -> bool:
        """Send on the kept connection, if there is one that is fit for this."""
        connection = self._connection
        if connection is None or len(body) > MOST_AT_ONCE or not (head.url is self._url and connection.fit()):
            return False
        connection.start(_with_length(head, body), body, trace, ended)
        return True

    def ended(self, end: Reply | BaseException) -> None:
        """Close a connection that serves no further request."""
        connection = self._connection
        if connection is not None and not (connection.open and isinstance(end, Reply)):
            if not isinstance(end, Reply):
                self.broken_off = connection.received()
            self.close()

    def give_up(self, error: BaseException) -> None:
        """End the request that was started with an error."""
        if self._connection is not None:
            self._connection.give_up(error)

    def _leads_to(self, url: httpx.URL) -> bool:
        return self._url is not None and _origin(url) == _origin(self._url)

    async def _connect(self, url: httpx.URL) -> Connection:
        scheme, host, port = _origin(url)
        secure = scheme == b"https"
        name, number = host.decode("ascii"), (443 if secure else 80) if port is None else port
        context = self._tls() if secure else None
        try:
            async with asyncio.timeout(self._limits.connect_timeout):
                sock = await dial(name, number)
                return await Connection.over(
                    sock, limits=self._limits, context=context, server_hostname=name if secure else None
                )
        except TimeoutError as error:
            where = no_connection(error, name, number)
            raise httpx.ConnectTimeout(f"{where} within {self._limits.connect_timeout:g} s") from error
        except OSError as error:
            raise httpx.ConnectError(no_connection(error, name, number)) from error

    def close(self) -> None:
        """Close the socket at once; the next request opens another."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def aclose(self) -> None:
        """Close the socket at once."""
        self.close()


def _with_length(head: Head, body: bytes) -> bytes:
    return b"%b%d\r\n\r\n" % (head.raw, len(body))


def _origin(url: httpx.URL) -> tuple[bytes, bytes, int | None]:
    return url.raw_scheme, url.raw_host, url.port
