"""One attempt over a lane: core request in, whole reply or fault out, within one deadline."""

import re
from collections.abc import Callable, Mapping

import httpx

from llmbatch.core.errors import UsageError
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.job import Reply, Request
from llmbatch.wire.deadline import Deadline
from llmbatch.wire.encoding import EncodingError, decode
from llmbatch.wire.exchange import Exchange
from llmbatch.wire.faults import fault_of, timed_out
from llmbatch.wire.head import BODY_FIELDS, Head
from llmbatch.wire.limits import Limits
from llmbatch.wire.trace import Trace

__all__ = ["LaneSender", "WireLog"]

WireLog = Callable[[str], None]
"""Takes one line about an attempt, for `--debug`."""

REMEMBERED = 1024
"""Paths whose heads are kept: building one costs as much as sending it."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~]*")


class LaneSender:
    """Sends over one lane. `headers` go with every request; the base URL has no slash at its end.

    Raises UsageError for a header that cannot be sent.
    """

    def __init__(
        self,
        lane: Exchange,
        *,
        base_url: str,
        headers: Mapping[str, str],
        limits: Limits,
        log: WireLog | None = None,
    ) -> None:
        self._lane = lane
        self._base_url = base_url
        self._limits = limits
        self._log = log
        host = httpx.URL(base_url).netloc.decode("ascii")
        self._headers = httpx.Headers({"host": host, **_checked(headers)})
        self._heads: dict[tuple[str, str], Head] = {}
        self._deadline: Deadline | None = None

    async def send(self, request: Request) -> Reply | Fault:
        """Make one attempt: never longer than the attempt's deadline, however the answer drips."""
        trace = Trace()
        try:
            if self._deadline is None:
                self._deadline = Deadline(self._limits.attempt)
            head = self._heads.get((request.method, request.path)) or self._head(request)
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

    def _head(self, request: Request) -> Head:
        """Build what all requests to one path have in common, and remember it."""
        if len(self._heads) >= REMEMBERED:
            self._heads.clear()
        method, path = request.method, request.path
        bare = httpx.Request(method, self._base_url + path, headers=self._headers, stream=httpx.ByteStream(b""))
        head = self._heads[method, path] = Head.of(bare)
        return head

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


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers, names in lower case. Raises UsageError, value unshown, for what cannot be sent."""
    checked = {}
    for name, value in headers.items():
        value = value.strip(" \t")
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise UsageError(
                f"the header {name[:40]!r} holds a line break, control or non-ASCII character",
                "Set it again without.",
            )
        if name.lower() in BODY_FIELDS:
            raise UsageError(f"the header {name!r} is not yours to set", "It follows from the body.")
        checked[name.lower()] = value
    return checked


def _line(request: Request, result: Reply | Fault, trace: Trace) -> str:
    end = f"{result.status}, {len(result.body)} B" if isinstance(result, Reply) else f"{result.kind}: {result.message}"
    connection = "new connection" if trace.fresh else "kept connection"
    return f"{request.method} {request.path} {len(request.body)} B on a {connection} -> {end}"
