"""Makes one attempt over a lane, within one deadline: takes a request, returns a reply or a fault."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from email.utils import formatdate
from functools import partial
from typing import Any, Protocol, TypeAlias

from llmbatch.core.exchange import Reply, Request
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.ports import AttemptLog
from llmbatch.transport.base import BaseLane, Trace, may_be_complete, resolve
from llmbatch.transport.connection_reuse import ConnectionReuse
from llmbatch.transport.content_encoding import GZIP, EncodingError, Unfinished, decode
from llmbatch.transport.deadline import Deadline
from llmbatch.transport.errors import timed_out, to_fault
from llmbatch.transport.head import Heads
from llmbatch.transport.idle_connections import IdleConnections
from llmbatch.transport.limits import Limits

__all__ = ["Done", "LaneSender", "Sender", "SpreadSender", "spread_over"]

Done: TypeAlias = Callable[[Reply | Fault | Exception], None]
"""Called once with what became of an attempt; with an exception that is a bug, or tells of too little memory."""


class LaneSender:
    """Sends requests over one lane, with these heads, one at a time."""

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
        self._spent = False
        """Whether that connection must not be used again."""
        self._deadline: Deadline | None = None
        self._started: tuple[Request, Trace, Done] | None = None
        """The attempt that `start` made, until it has ended."""

    def start(self, request: Request, done: Done) -> bool:
        """Make one attempt without waiting, where a kept connection serves it; False if nothing was sent.

        Tasks and futures are a large part of what a record costs, so most records have none here.
        """
        head, deadline = self._heads.get((request.method, request.path)), self._deadline
        if head is None or deadline is None or self._spent:
            return False
        trace = self._begin()
        self._started = request, trace, done
        if not self._lane.start(head, request.body, trace, self._ended):
            self._started = self._state.trace = None
            return False
        deadline.begin(self._expire)
        return True

    async def send(self, request: Request) -> Reply | Fault:
        """Make one attempt, never longer than its deadline, however slowly the answer comes."""
        if self._deadline is None:
            self._deadline = Deadline(self._limits.timeout)
        waiting: asyncio.Future[Reply | Fault] = asyncio.get_running_loop().create_future()
        if self.start(request, partial(resolve, waiting)):
            try:
                return await waiting
            except asyncio.CancelledError as error:
                self._over()
                self._lane.give_up(error)
                raise
        if self._spent:
            await self._lane.aclose()
            self._spent = False
        trace = self._begin()
        try:
            with self._deadline:
                end: Reply | Exception = await self._lane.exchange(
                    self._heads[request.method, request.path], request.body, trace
                )
        except Exception as error:
            end = error
        finally:
            self._state.trace = None
        return self._result(request, trace, end)

    def _begin(self) -> Trace:
        trace = Trace()
        self._state.trace, self._state.since = trace, time.monotonic()
        return trace

    def _expire(self) -> None:
        self._lane.give_up(TimeoutError())

    def _over(self) -> None:
        self._started = self._state.trace = None
        if self._deadline is not None:
            self._deadline.end()

    def _ended(self, end: Reply | BaseException) -> None:
        """End the attempt that `start` made, unless it was cancelled."""
        if self._started is None:
            return
        request, trace, done = self._started
        try:
            self._lane.ended(end)
            result: Reply | Fault | Exception = self._result(request, trace, end)
        except Exception as error:
            result = error
        self._over()
        done(result)

    def _result(self, request: Request, trace: Trace, end: Reply | BaseException) -> Reply | Fault:
        """Note how an attempt ended, and say what that means."""
        if isinstance(end, Reply):
            if end.status >= 400 and "date" not in end.headers:  # waits may be moments (RFC 9110, 6.6.1)
                end.headers["date"] = formatdate(usegmt=True)
            self._streamed = end.headers.get("content-type", "").startswith("text/event-stream")
            self._idle.answered(self._state, time.monotonic())
            if not trace.fresh:
                self._reuse.answered(request.path)
            self._spent = self._reuse.ends_after(request.path, streamed=self._streamed)
            encoded = "content-encoding" in end.headers or end.body.startswith(GZIP)
            result = self._decoded(end) if encoded else end
        elif isinstance(end, TimeoutError):
            result = self._broken_off() or timed_out(self._limits.timeout, trace)
        else:
            result = self._broken_off() or to_fault(end, trace)
            if trace.sent and not (trace.fresh or trace.answered):
                self._reuse.lost(request.path, time.monotonic(), streamed=self._streamed)
            self._streamed = False
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
        encodings = reply.headers.get("content-encoding", "")
        try:
            reply.body = decode(reply.body, encodings, self._limits)
            if reply.body.startswith(GZIP):  # a gateway left the header out
                reply.body = decode(reply.body, "gzip", self._limits)
        except EncodingError as error:
            if isinstance(error, Unfinished) and may_be_complete(reply.status, False, (error.decoded,)):
                reply.body, reply.cut = error.decoded, True
                return reply
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

    def start(self, request: Request, done: Done) -> bool:
        """Make one attempt without waiting, where a kept connection serves it; False if nothing was sent."""
        ...

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

    def start(self, request: Request, done: Done) -> bool:
        """Make one attempt at the request's server, where a kept connection serves it; False if nothing was sent."""
        return self._senders[request.server].start(request, done)

    def send(self, request: Request) -> Coroutine[Any, Any, Reply | Fault]:
        """Make one attempt at the request's server."""
        return self._senders[request.server].send(request)

    async def aclose(self) -> None:
        """Close all connections."""
        for sender in self._senders:
            await sender.aclose()
