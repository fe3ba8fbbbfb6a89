"""Idle connections give their place at a server to requests that wait on new ones."""

import asyncio
import time

import httpx
import pytest

from llmbatch.core.exchange import Reply
from llmbatch.transport.base import BaseLane, Trace
from llmbatch.transport.head import Head, Heads
from llmbatch.transport.idle_connections import IdleConnections, LaneState
from llmbatch.transport.lane import Http11Lane
from llmbatch.transport.limits import Limits
from llmbatch.transport.sender import LaneSender
from llmbatch.transport.tls import shared_context

from .conftest import Run, asking, body_of
from .scripted import ok


class Closing(BaseLane):
    """A lane that is only closed."""

    closed = False

    async def exchange(self, head: Head, body: bytes, trace: Trace) -> Reply:
        raise NotImplementedError

    async def aclose(self) -> None:
        self.closed = True


def lanes(waiting: int, trace: Trace, answered_after: float = 1.0) -> tuple[IdleConnections, Closing, list[LaneState]]:
    """Return one lane that was answered, and so many that wait since second 1."""
    idle, lane = IdleConnections(), Closing()
    state = idle.add(lane)
    state.trace = Trace(fresh=True)
    idle.answered(state, answered_after)
    state.trace = None
    others = [idle.add(Closing()) for _ in range(waiting)]
    for other in others:
        other.trace, other.since = trace, 1.0
    return idle, lane, others


@pytest.mark.parametrize(("now", "closed"), [(4.5, False), (5.5, True)])
def test_an_idle_connection_is_closed_when_new_ones_wait_for_much_longer_than_usual(now: float, closed: bool) -> None:
    idle, lane, others = lanes(4, Trace(fresh=True))
    asyncio.run(idle.close_for_waiting(now))
    assert lane.closed is closed
    assert not any(isinstance(other.lane, Closing) and other.lane.closed for other in others)


@pytest.mark.parametrize(("now", "closed"), [(2.5, False), (3.5, True)])
def test_new_connections_to_a_quick_server_have_time_to_be_opened(now: float, closed: bool) -> None:
    idle, lane, _ = lanes(9, Trace(fresh=True), answered_after=0.001)
    asyncio.run(idle.close_for_waiting(now))
    assert lane.closed is closed


@pytest.mark.parametrize(
    ("waiting", "trace"),
    [(3, Trace(fresh=True)), (9, Trace(fresh=False)), (9, Trace(fresh=True, answered=True))],
    ids=["few", "kept", "answered"],
)
def test_long_answers_close_nothing(waiting: int, trace: Trace) -> None:
    idle, lane, _ = lanes(waiting, trace)
    asyncio.run(idle.close_for_waiting(100.0))
    assert not lane.closed


def test_a_server_that_serves_one_connection_at_a_time_answers_all(run: Run) -> None:
    async def scene() -> None:
        place = asyncio.Lock()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async with place:
                while await reader.readuntil(b"\r\n\r\n"):
                    await reader.readexactly(len(asking().body))
                    writer.write(ok(b"1"))
            writer.close()

        async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        server = await asyncio.start_server(until_closed, "127.0.0.1", 0)
        url = httpx.URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        limits, idle = Limits(), IdleConnections()
        senders = [
            LaneSender(
                Http11Lane(limits=limits, tls=shared_context(None)), Heads(str(url), {}), limits=limits, idle=idle
            )
            for _ in range(8)
        ]
        asked = [asyncio.ensure_future(sender.send(asking())) for sender in senders]
        while sum(task.done() for task in asked) < 5:  # three are too few
            await asyncio.sleep(0.001)
            await idle.close_for_waiting(time.monotonic() + 100.0)
        for sender, task in zip(senders, asked, strict=True):
            if task.done():
                await sender.aclose()
        for task in asked:
            assert body_of(await task) == b"1"
            for sender in senders:
                if sender._state.trace is None:
                    await sender.aclose()
        server.close()

    run(scene())
