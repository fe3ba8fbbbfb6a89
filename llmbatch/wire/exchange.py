"""What every lane does: one request out, one whole answer back."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import httpx

from llmbatch.wire.head import Head
from llmbatch.wire.trace import Trace

__all__ = ["Answer", "Exchange"]


class Answer(NamedTuple):
    """A whole answer. Header names are in lower case, the body is as its content encoding left it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Exchange(httpx.AsyncBaseTransport, ABC):
    """A transport that also tells how far a request got.

    httpx's own objects cost as much as the sending does; the run calls `exchange`, and httpx whatever it likes.
    """

    @abstractmethod
    async def exchange(self, head: Head, body: bytes, trace: Trace) -> Answer:
        """Send one request and wait for the whole answer. Raises httpx's exceptions; the trace says the rest."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Serve a client of httpx."""
        body = await request.aread()
        status, headers, content = await self.exchange(Head.of(request), body, Trace())
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))
