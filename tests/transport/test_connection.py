"""The connection alone, over a scripted transport: moments that no server can produce at will."""

import asyncio
import gc
import socket
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Kind
from llmbatch.transport.base import Trace
from llmbatch.transport.connection import Connection
from llmbatch.transport.lane import Http11Lane
from llmbatch.transport.limits import Limits

from .conftest import LaneClass, Open, Run, asking, assert_fault, body_of
from .scripted import answering, ok, saying, serving

LARGE = bytes(1 << 20)


class Stuck(asyncio.Transport):
    """Takes what is written and sends none of it until told to."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})
        self.connection: Connection | None = None
        self.taken = 0
        self.marks: tuple[int | None, int | None] | None = None
        self.aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.marks = (high, low)

    def write(self, data: Any) -> None:
        self.taken += len(data)
        if self.connection is not None and self.connection._writable is None:
            self.connection.pause_writing()

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    one, two = socket.socketpair()
    with one, two:
        yield Stuck(one)


async def exchanging(stuck: Stuck, body: bytes) -> tuple[Connection, Trace, "asyncio.Task[Reply]"]:
    connection = Connection(asyncio.get_running_loop(), Limits())
    connection.connection_made(stuck)
    stuck.connection = connection
    trace = Trace()

    async def attempting() -> Reply:
        return await connection.exchange(b"POST / HTTP/1.1\r\n\r\n", body, trace)

    attempt = asyncio.create_task(attempting())
    await asyncio.sleep(0)
    assert stuck.taken and not trace.sent
    return connection, trace, attempt


def test_sent_means_that_all_of_it_reached_the_kernel(run: Run, stuck: Stuck) -> None:
    async def scene() -> None:
        connection, trace, attempt = await exchanging(stuck, b"small")
        assert stuck.marks == (0, 0)
        connection.resume_writing()
        assert trace.sent
        connection.data_received(ok(b"1"))
        assert (await attempt).status == 200

    run(scene())


def test_a_large_body_is_sent_when_its_last_piece_is(run: Run, stuck: Stuck) -> None:
    async def scene() -> None:
        connection, trace, attempt = await exchanging(stuck, LARGE)
        before = 0
        while stuck.taken > before:
            assert not trace.sent
            before = stuck.taken
            connection.resume_writing()
            for _ in range(4):
                await asyncio.sleep(0)
        assert trace.sent
        connection.data_received(ok(b"1"))
        assert (await attempt).status == 200

    run(scene())


@pytest.mark.parametrize("body", [b"small", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("end", ["eof", "lost", "reset"])
def test_an_end_while_bytes_wait_is_told_at_once(run: Run, stuck: Stuck, body: bytes, end: str) -> None:
    async def scene() -> None:
        connection, trace, attempt = await exchanging(stuck, body)
        if end == "eof":
            connection.eof_received()
        else:
            connection.connection_lost(None if end == "lost" else ConnectionResetError())
        with pytest.raises(httpx.TransportError):
            await attempt
        assert stuck.aborted and not trace.sent and not connection.open

    run(scene())


@pytest.mark.parametrize("body", [b"small", LARGE], ids=["small", "large"])
def test_a_loss_overtaken_by_a_cancel_is_not_complained_of(run: Run, stuck: Stuck, body: bytes) -> None:
    async def scene() -> None:
        connection, _, attempt = await exchanging(stuck, body)
        connection.connection_lost(ConnectionResetError())
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        del connection, attempt
        gc.collect()

    run(scene())


def test_lost_between_connecting_and_writing_never_hangs(
    run: Run, opening: Open, lane_class: LaneClass, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = Connection.over
    lose = Connection.connection_lost
    lost = asyncio.Event()

    def losing(self: Connection, error: Exception | None) -> None:
        lose(self, error)
        lost.set()

    async def slowly(*arguments: Any, **options: Any) -> Connection:
        connection = await connect(*arguments, **options)
        await lost.wait()
        return connection

    monkeypatch.setattr(Connection, "over", slowly)
    monkeypatch.setattr(Connection, "connection_lost", losing)

    async def scene() -> None:
        async def script(peer: Any) -> None:
            await peer.close()

        async with serving(script) as server, opening(server.url, timeout=2.0) as sender:
            assert_fault(await sender.send(asking()), Kind.CONNECTION, Billing.UNBILLED)

    if lane_class is Http11Lane:
        run(scene())


def test_a_write_that_fails_is_not_billed(run: Run, opening: Open, lane_class: LaneClass) -> None:
    async def scene() -> None:
        async with serving(saying(ok(b"1")), answering(ok(b"2"))) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking())) == b"1"
            connection = cast(Connection, cast(Http11Lane, sender._lane)._connection)
            assert connection._transport is not None
            number = connection._transport.get_extra_info("socket").fileno()
            with socket.socket(fileno=socket.dup(number)) as double:
                double.shutdown(socket.SHUT_WR)
            assert_fault(await sender.send(asking()), Kind.CONNECTION, Billing.UNBILLED)
            assert body_of(await sender.send(asking())) == b"2"
            assert len(server.requests) == 2

    if lane_class is Http11Lane:
        run(scene())
