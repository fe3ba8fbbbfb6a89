"""Has a server on loopback give an answer, a lane receive it, and the run's own code make the line of it."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from llmbatch.core.exchange import Reply, Request
from llmbatch.core.fault import Billing, Fault, Scope
from llmbatch.core.job import Identity, Job
from llmbatch.core.outcome import Completion, Outcome
from llmbatch.core.prompt import Prompt
from llmbatch.core.redact import Redactor
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.presets import PRESETS
from llmbatch.dialects.providers import OWN_SERVER
from llmbatch.dialects.request_options import Options
from llmbatch.dialects.router import Router
from llmbatch.dialects.structured_output import AnswerChecks
from llmbatch.pacing.retry import RetryPolicy
from llmbatch.results.render import jsonl
from llmbatch.transport.head import Heads
from llmbatch.transport.httpx_lane import HttpxLane
from llmbatch.transport.lane import Http11Lane
from llmbatch.transport.limits import Limits
from llmbatch.transport.sender import LaneSender
from llmbatch.transport.tls import shared_context

from .corpus import Case

Read = tuple[list[dict[str, Any]], int | str, str]
"""The lines, how often the request may be sent again, and what else its failure stops."""

_POLICY = RetryPolicy()
_AGAIN: dict[Billing, int | str] = {
    Billing.UNBILLED: _POLICY.retries,
    Billing.DOUBTFUL: _POLICY.unknown_outcomes,
    Billing.SERVER: _POLICY.server_errors,
    Billing.BILLED: _POLICY.unusable_answers,
    Billing.THROTTLED: "waits",
}


class _Peer(asyncio.Protocol):
    """The server's end of a connection: to each request it gives the next of the planned answers."""

    def __init__(self, planned: deque[tuple[Sequence[bytes], bool]], open: set["_Peer"]) -> None:
        self._planned = planned
        self._open = open
        self._received = b""
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, ended, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        if ended and len(body) >= int(length):
            self._received = b""
            self._answering = asyncio.create_task(self._answer(*self._planned.popleft()))

    async def _answer(self, pieces: Sequence[bytes], closes: bool) -> None:
        for piece in pieces:
            self.transport.write(piece)
            for _ in range(2):  # the client reads this piece before the next one comes
                await asyncio.sleep(0)
        if closes:
            self.transport.close()


class Replay:
    """One lane to one server."""

    def __init__(self, sender: LaneSender, planned: deque[tuple[Sequence[bytes], bool]]) -> None:
        self._sender = sender
        self._planned = planned

    async def read(self, case: Case, pieces: Sequence[bytes], *, closes: bool | None = None) -> Read:
        """Ask as the case says, be answered in these pieces, and return what comes of it."""
        self._planned.append((pieces, case.closes if closes is None else closes))
        jobs, request = _asked(case)
        result = await self._sender.send(request)
        verdicts = _verdicts(case, request, result)
        render = jsonl(include=case.include, redact=Redactor())
        lines = [
            json.loads(render(Outcome(job, verdict)) or b"null") for job, verdict in zip(jobs, verdicts, strict=True)
        ]
        first = next((verdict for verdict in verdicts if isinstance(verdict, Fault)), None)
        if first is None:
            return lines, 0, Scope.RECORD.value
        return lines, _AGAIN[first.billing] if first.retry else 0, first.scope.value


@asynccontextmanager
async def replaying(lane_class: type[Http11Lane] | type[HttpxLane]) -> AsyncIterator[Replay]:
    """Serve, with one lane to the server, while the block lasts."""
    planned: deque[tuple[Sequence[bytes], bool]] = deque()
    peers: set[_Peer] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Peer(planned, peers), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    limits = Limits(timeout=10.0)
    lane = lane_class(limits=limits, tls=shared_context(None))
    sender = LaneSender(lane, Heads(f"http://127.0.0.1:{port}/v1", {}), limits=limits)
    try:
        yield Replay(sender, planned)
    finally:
        await sender.aclose()
        server.close()
        for peer in [*peers]:
            peer.transport.abort()
        await server.wait_closed()
        for _ in range(3):
            await asyncio.sleep(0)  # closed transports go in the next turns


def _asked(case: Case) -> tuple[tuple[Job, ...], Request]:
    """Build the request that the case was the answer to."""
    options = Options(model="m", stream=case.stream, pack=len(case.lines))
    preset = PRESETS[case.provider] if case.provider else OWN_SERVER
    router = Router(options, preset, case.endpoint)
    keeps = "response" in case.include
    jobs = tuple(
        Job(Identity(place, None, f"r{place}"), f"{place:032x}", *router.item(Prompt(text="Hi")), {}, 1)
        for place in range(len(case.lines))
    )
    for job in jobs:
        job.keep_body = keeps
        job.attempts.sent = 1
    return jobs, router.request(jobs)


def _verdicts(case: Case, request: Request, result: Reply | Fault) -> tuple[Completion | Fault, ...]:
    if isinstance(result, Fault):
        return (result,) * len(request.jobs)
    demands = AnswerChecks(json=True) if case.json else None
    return AnswerReader(demands).read(request.expected, result)
