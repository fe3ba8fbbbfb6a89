"""What every lane does: one request out, one whole answer back."""

from abc import ABC, abstractmethod

import httpx

from llmbatch.core.exchange import Reply
from llmbatch.wire.head import Head
from llmbatch.wire.trace import Trace

__all__ = ["Exchange"]


class Exchange(httpx.AsyncBaseTransport, ABC):
    """A transport that also tells how far a request got.

    httpx's own objects cost as much as the sending does; the run calls `exchange`, and httpx whatever it likes.
    """

    @abstractmethod
    async def exchange(self, head: Head, body: bytes, trace: Trace) -> Reply:
        """Send one request and wait for the whole answer, its body still in its content encoding.

        Raises httpx's exceptions; the trace says the rest.
        """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Serve a client of httpx."""
        body = await request.aread()
        reply = await self.exchange(Head.of(request), body, Trace())
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
        return httpx.Response(reply.status, headers=headers, stream=httpx.ByteStream(reply.body))
