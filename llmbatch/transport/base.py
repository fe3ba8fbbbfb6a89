"""What every lane does: one request out, one whole answer back, and a trace of how far the attempt got."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from llmbatch.core.exchange import Reply
from llmbatch.transport.head import Head

__all__ = ["BaseLane", "Trace", "may_be_whole"]


@dataclass(slots=True)
class Trace:
    """Facts a lane writes down while it works."""

    fresh: bool = False
    """The connection was opened for this attempt."""
    began: bool = False
    """A byte of the request may have left."""
    sent: bool = False
    """The whole request was handed to the kernel."""
    answered: bool = False
    """A byte of the answer arrived."""


class BaseLane(httpx.AsyncBaseTransport, ABC):
    """A transport that also tells how far a request got.

    httpx's own objects cost as much as the sending does; the run calls `exchange`, and httpx whatever it likes.
    `broken_off` is what the last exchange that failed had received, where that may be a whole answer.
    """

    broken_off: Reply | None = None

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


def may_be_whole(status: int, encoded: bool, chunks: Sequence[bytes]) -> bool:
    """Tell whether an answer that broke off is worth reading.

    Servers forget the last chunk, and count bytes wrong, of answers that are paid for: JSON and events that came to
    their end are known by it. Of an error the status is enough; what is compressed shows its end only when undone.
    """
    end = next((said for chunk in reversed(chunks) if (said := chunk.rstrip())), b"")
    return status >= 300 or encoded or end.endswith((b"}", b"]"))
