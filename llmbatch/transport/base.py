"""The interface of lanes: send one request, return one complete answer, trace how far the attempt got."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import httpx

from llmbatch.core.exchange import Reply
from llmbatch.transport.head import Head

__all__ = ["BaseLane", "Ended", "Trace", "may_be_complete", "resolve"]

T = TypeVar("T")

Ended: TypeAlias = Callable[[Reply | BaseException], None]
"""Called once with the complete answer, or with what went wrong. It does not raise."""


@dataclass(slots=True)
class Trace:
    """What a lane notes while it makes an attempt."""

    fresh: bool = False
    """The connection was opened for this attempt."""
    began: bool = False
    """A byte of the request may have left."""
    sent: bool = False
    """All of the request was handed to the kernel."""
    answered: bool = False
    """A byte of the answer arrived."""


class BaseLane(httpx.AsyncBaseTransport, ABC):
    """A transport that also tells how far a request got.

    The run calls `exchange`, because httpx's own request and response objects cost as much as the sending does.
    `broken_off` is what the last exchange that failed had received, if that may be a complete answer.
    """

    broken_off: Reply | None = None

    def start(self, head: Head, body: bytes, trace: Trace, ended: Ended) -> bool:
        """Send one request without waiting, and say how it ended; False if that is not possible now.

        Then nothing was sent, and `exchange` is the way. Otherwise `ended` comes before the lane is used again.
        """
        return False

    def ended(self, end: Reply | BaseException) -> None:
        """Note how the request that was started ended."""

    def give_up(self, error: BaseException) -> None:
        """End the request that was started with an error."""

    @abstractmethod
    async def exchange(self, head: Head, body: bytes, trace: Trace) -> Reply:
        """Send one request and wait for the complete answer, its body still in its content encoding.

        Raises httpx's exceptions; the trace says how far the attempt got.
        """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Serve a client of httpx."""
        body = await request.aread()
        reply = await self.exchange(Head.of(request), body, Trace())
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
        return httpx.Response(reply.status, headers=headers, stream=httpx.ByteStream(reply.body))


def resolve(waiting: "asyncio.Future[T]", end: T | BaseException) -> None:
    """Complete a future with a result or an exception, unless its caller has stopped waiting."""
    if waiting.done():
        return
    if isinstance(end, BaseException):
        waiting.set_exception(end)
        waiting.exception()  # marks it as seen: a cancel may come before it is read
    else:
        waiting.set_result(end)


def may_be_complete(status: int, encoded: bool, chunks: Sequence[bytes]) -> bool:
    """Tell whether an answer that broke off is worth reading.

    Servers forget the last chunk, or announce a wrong length, of answers that are paid for; JSON and events show by
    their last character that they are complete. Of an error the status is enough. A compressed body shows its end only
    when it is decompressed.
    """
    end = next((text for chunk in reversed(chunks) if (text := chunk.rstrip())), b"")
    return status >= 300 or encoded or end.endswith((b"}", b"]"))
