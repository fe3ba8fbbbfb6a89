"""A worker's lanes to several endpoints: requests go where dispatch sends them."""

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from llmbatch.core.exchange import Reply, Request
from llmbatch.core.fault import Fault

__all__ = ["Sender", "SpreadSender", "spread_over"]


class Sender(Protocol):
    """Sends one request at a time."""

    async def send(self, request: Request) -> Reply | Fault:
        """Make one attempt, within the attempt's deadline."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


def spread_over(senders: Sequence[Sender]) -> Sender:
    """Return one sender for all; where there is one only, it is that."""
    return senders[0] if len(senders) == 1 else SpreadSender(senders)


class SpreadSender:
    """One sender per endpoint, each with a connection that is kept; one request at a time over all."""

    def __init__(self, senders: Sequence[Sender]) -> None:
        self._senders = tuple(senders)

    def send(self, request: Request) -> Coroutine[Any, Any, Reply | Fault]:
        """Make one attempt at the request's endpoint."""
        return self._senders[request.endpoint].send(request)

    async def aclose(self) -> None:
        """Close all connections."""
        for sender in self._senders:
            await sender.aclose()
