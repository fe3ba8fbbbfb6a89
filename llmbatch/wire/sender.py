"""One attempt over a lane: core request in, whole reply or fault out, within one deadline."""

from collections.abc import Callable

from llmbatch.core.exchange import Reply, Request
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.wire.deadline import Deadline
from llmbatch.wire.encoding import EncodingError, decode
from llmbatch.wire.exchange import Exchange
from llmbatch.wire.faults import fault_of, timed_out
from llmbatch.wire.head import Heads
from llmbatch.wire.limits import Limits
from llmbatch.wire.trace import Trace

__all__ = ["LaneSender", "WireLog"]

WireLog = Callable[[str], None]
"""Takes one line about an attempt, for `--debug`."""


class LaneSender:
    """Sends over one lane, whose requests begin with these heads."""

    def __init__(self, lane: Exchange, heads: Heads, *, limits: Limits, log: WireLog | None = None) -> None:
        self._lane = lane
        self._heads = heads
        self._limits = limits
        self._log = log
        self._deadline: Deadline | None = None

    async def send(self, request: Request) -> Reply | Fault:
        """Make one attempt: never longer than the attempt's deadline, however the answer drips."""
        trace = Trace()
        try:
            if self._deadline is None:
                self._deadline = Deadline(self._limits.attempt)
            head = self._heads[request.method, request.path]
            with self._deadline:
                reply = await self._lane.exchange(head, request.body, trace)
        except TimeoutError:
            result: Reply | Fault = timed_out(self._limits.attempt, trace)
        except Exception as error:
            result = fault_of(error, trace)
        else:
            result = self._decoded(reply) if "content-encoding" in reply.headers else reply
        if self._log is not None:
            self._log(_line(request, result, trace))
        return result

    async def aclose(self) -> None:
        """Close the connection."""
        if self._deadline is not None:
            self._deadline.close()
        await self._lane.aclose()

    def _decoded(self, reply: Reply) -> Reply | Fault:
        """Undo the content encoding of the body."""
        try:
            reply.body = decode(reply.body, reply.headers["content-encoding"], self._limits)
        except EncodingError as error:
            if 200 <= reply.status < 300:
                return Fault(
                    kind=Kind.UNPARSABLE,
                    message=str(error),
                    billing=Billing.BILLED,
                    status=reply.status,
                    raw=reply.body,
                )
            reply.body = b""  # the status says enough, and a refusal must stay what it is
        return reply


def _line(request: Request, result: Reply | Fault, trace: Trace) -> str:
    end = f"{result.status}, {len(result.body)} B" if isinstance(result, Reply) else f"{result.kind}: {result.message}"
    connection = "new connection" if trace.fresh else "kept connection"
    return f"{request.method} {request.path} {len(request.body)} B on a {connection} -> {end}"
