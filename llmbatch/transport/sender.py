"""Makes one attempt over a lane, within one deadline: takes a request, returns a reply or a fault."""

import time
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from llmbatch.core.exchange import Reply, Request
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.ports import AttemptLog
from llmbatch.transport.base import BaseLane, Trace
from llmbatch.transport.connection_reuse import ConnectionReuse
from llmbatch.transport.content_encoding import EncodingError, decode
from llmbatch.transport.deadline import Deadline
from llmbatch.transport.errors import timed_out, to_fault
from llmbatch.transport.head import Heads
from llmbatch.transport.idle_connections import IdleConnections
from llmbatch.transport.limits import Limits

__all__ = ["LaneSender", "Sender", "SpreadSender", "spread_over"]


class LaneSender:
    """Sends requests over one lane, with these heads."""

    def __init__(
        self,
        lane: BaseLane,
        heads: Heads,
        *,
        limits: Limits,
        log: AttemptLog | None = None,
        reuse: ConnectionReuse | None = None,
        idle: IdleConnections | None = None,
    ) -> None:
        self._lane = lane
        self._heads = heads
        self._limits = limits
        self._log = log
        self._reuse = reuse if reuse is not None else ConnectionReuse()
        self._idle = idle if idle is not None else IdleConnections()
        self._state = self._idle.add(lane)
        self._streamed = False
        """Whether the connection that is kept carried a stream last."""
        self._deadline: Deadline | None = None

    async def send(self, request: Request) -> Reply | Fault:
        """Make one attempt, never longer than its deadline, however slowly the answer comes."""
        trace, state = Trace(), self._state
        state.trace, state.since = trace, time.monotonic()
        try:
            if self._deadline is None:
                self._deadline = Deadline(self._limits.timeout)
            head = self._heads[request.method, request.path]
            with self._deadline:
                reply = await self._lane.exchange(head, request.body, trace)
        except TimeoutError:
            result: Reply | Fault = self._broken_off() or timed_out(self._limits.timeout, trace)
        except Exception as error:
            result = self._broken_off() or to_fault(error, trace)
            if trace.sent and not (trace.fresh or trace.answered):
                self._reuse.lost(request.path, time.monotonic(), streamed=self._streamed)
            self._streamed = False
        else:
            self._streamed = reply.headers.get("content-type", "").startswith("text/event-stream")
            self._idle.answered(state, time.monotonic())
            if not trace.fresh:
                self._reuse.answered(request.path)
            if self._reuse.ends_after(request.path, streamed=self._streamed):
                await self._lane.aclose()
            result = self._decoded(reply) if "content-encoding" in reply.headers else reply
        finally:
            state.trace = None
        if self._log is not None:
            self._log(_line(request, result, trace))
        return result

    async def aclose(self) -> None:
        """Close the connection."""
        if self._deadline is not None:
            self._deadline.close()
        await self._lane.aclose()

    def _broken_off(self) -> Reply | Fault | None:
        """Return what came of an answer that broke off or was late, if it may be complete."""
        reply, self._lane.broken_off = self._lane.broken_off, None
        return self._decoded(reply) if reply is not None else None

    def _decoded(self, reply: Reply) -> Reply | Fault:
        """Decode the content encoding of the body."""
        try:
            reply.body = decode(reply.body, reply.headers.get("content-encoding", ""), self._limits)
        except EncodingError as error:
            if reply.cut and reply.status < 300:
                return Fault.cut_off(reply.status)
            if 200 <= reply.status < 300:
                return Fault(
                    kind=Kind.UNPARSABLE,
                    message=str(error),
                    billing=Billing.BILLED,
                    status=reply.status,
                    raw=reply.body,
                )
            reply.body = b""  # the status is enough, and an error must stay the error that it is
        return reply


def _line(request: Request, result: Reply | Fault, trace: Trace) -> str:
    end = f"{result.status}, {len(result.body)} B" if isinstance(result, Reply) else f"{result.kind}: {result.message}"
    connection = "new connection" if trace.fresh else "kept connection"
    return f"{request.method} {request.path} {len(request.body)} B on a {connection} -> {end}"


class Sender(Protocol):
    """Sends one request at a time."""

    async def send(self, request: Request) -> Reply | Fault:
        """Make one attempt, within the attempt's deadline."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


def spread_over(senders: Sequence[Sender]) -> Sender:
    """Return one sender for all; a single one is returned as it is."""
    return senders[0] if len(senders) == 1 else SpreadSender(senders)


class SpreadSender:
    """One sender per server, each with a connection that is kept; one request at a time over all."""

    def __init__(self, senders: Sequence[Sender]) -> None:
        self._senders = tuple(senders)

    def send(self, request: Request) -> Coroutine[Any, Any, Reply | Fault]:
        """Make one attempt at the request's server."""
        return self._senders[request.server].send(request)

    async def aclose(self) -> None:
        """Close all connections."""
        for sender in self._senders:
            await sender.aclose()
