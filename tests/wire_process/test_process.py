"""Requests over lanes in another process: what comes back, what it refuses, and how it ends."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from llmbatch.core.errors import LlmbatchError, UsageError
from llmbatch.core.fault import Fault, Kind
from llmbatch.core.job import Reply, Request
from llmbatch.wire_process import start
from llmbatch.wire_process.near import WireProcess
from llmbatch.wire_process.settings import WireSettings
from llmbatch.wire_process.start import wire_process

PATIENCE = 20.0

SETTINGS = WireSettings(
    base_urls=("http://127.0.0.1:1/v1",),
    headers={"authorization": "Bearer key"},
    ca_file=None,
    connect=5.0,
    attempt=10.0,
    lanes=4,
    logged=False,
)


class Server:
    """Answers every request with its own body; a `silent` one leaves it without an answer.

    `asked` is set once a request came, `left` once a connection ended.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self.silent = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                self.requests.append(head + body)
                self.asked.set()
                if not self.silent:
                    writer.write(b"HTTP/1.1 200 OK\r\nX-Request-Id: r\r\nContent-Length: %d\r\n\r\n" % length + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.left.set()
            writer.close()


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        yield server


def lost_nothing(error: LlmbatchError) -> None:
    raise AssertionError(error)


def order(body: bytes, endpoint: int = 0) -> Request:
    return Request((), "/chat", body, endpoint=endpoint)


async def ended(condition: asyncio.Future[LlmbatchError]) -> LlmbatchError:
    return await asyncio.wait_for(condition, PATIENCE)


def test_replies_come_back_to_the_lane_that_asked_over_connections_that_are_kept() -> None:
    async def asked(wire: WireProcess) -> None:
        async with (
            serving() as server,
            wire.connected(replace(SETTINGS, base_urls=(server.url,)), log=None, lost=lost_nothing),
        ):
            senders = [wire.sender() for _ in range(3)]
            for turn in range(5):
                bodies = [b"%d on %d" % (turn, lane) for lane in range(3)]
                requests = [sender.send(order(body)) for sender, body in zip(senders, bodies, strict=True)]
                replies = await asyncio.wait_for(asyncio.gather(*requests), PATIENCE)
                assert [reply.body for reply in replies if isinstance(reply, Reply)] == bodies
                assert all(isinstance(r, Reply) and r.headers["x-request-id"] == "r" for r in replies)
            assert server.connections == 3
            assert all(b"authorization: Bearer key" in request for request in server.requests)

    with wire_process() as wire:
        asyncio.run(asked(wire))


def test_requests_go_to_the_endpoint_they_name_and_faults_come_back_as_values() -> None:
    async def asked(wire: WireProcess) -> None:
        async with serving() as server:
            settings = replace(SETTINGS, base_urls=("http://127.0.0.1:1/v1", server.url))
            async with wire.connected(settings, log=None, lost=lost_nothing):
                sender = wire.sender()
                refused = await asyncio.wait_for(sender.send(order(b"{}")), PATIENCE)
                assert isinstance(refused, Fault) and refused.kind is Kind.CONNECTION
                assert isinstance(await asyncio.wait_for(sender.send(order(b"{}", 1)), PATIENCE), Reply)

    with wire_process() as wire:
        asyncio.run(asked(wire))


def test_every_attempt_is_told_where_that_was_asked() -> None:
    told: list[str] = []

    async def asked(wire: WireProcess) -> None:
        async with serving() as server:
            settings = replace(SETTINGS, base_urls=(server.url,), logged=True)
            async with wire.connected(settings, log=told.append, lost=lost_nothing):
                await asyncio.wait_for(wire.sender().send(order(b"{}")), PATIENCE)

    with wire_process() as wire:
        asyncio.run(asked(wire))
    assert told == ["POST /chat 2 B on a new connection -> 200, 2 B"]


@pytest.mark.parametrize(
    "settings",
    [
        replace(SETTINGS, headers={"x": "a\r\nb"}),
        replace(SETTINGS, ca_file="/no/such/file"),
        replace(SETTINGS, lanes=100_000_000),
    ],
)
def test_settings_that_do_not_go_are_refused_before_the_first_request(settings: WireSettings) -> None:
    async def connected(wire: WireProcess) -> None:
        async with wire.connected(settings, log=None, lost=lost_nothing):
            raise AssertionError("connected")

    with wire_process() as wire, pytest.raises(UsageError) as refused:
        asyncio.run(connected(wire))
    assert refused.value.hint


def test_a_dropped_lane_takes_no_answer_and_hanging_up_closes_every_connection() -> None:
    async def asked(wire: WireProcess) -> None:
        async with serving() as server:
            server.silent = True
            async with wire.connected(replace(SETTINGS, base_urls=(server.url,)), log=None, lost=lost_nothing):
                sender = wire.sender()
                attempt = asyncio.create_task(sender.send(order(b"{}")))
                await asyncio.wait_for(server.asked.wait(), PATIENCE)
                attempt.cancel()
                await asyncio.wait([attempt])
                await sender.aclose()
            await asyncio.wait_for(server.left.wait(), PATIENCE)

    with wire_process() as wire:
        asyncio.run(asked(wire))


def test_its_death_is_told_and_its_end_is_waited_for() -> None:
    async def asked(wire: WireProcess) -> LlmbatchError:
        lost: asyncio.Future[LlmbatchError] = asyncio.get_running_loop().create_future()
        async with wire.connected(SETTINGS, log=None, lost=lost.set_result):
            os.kill(wire.pid, signal.SIGKILL)
            return await ended(lost)

    with wire_process() as wire:
        assert "the process that holds the connections was killed by SIGKILL" in asyncio.run(asked(wire)).message
    with pytest.raises(ProcessLookupError):
        os.kill(wire.pid, 0)


def test_what_it_fails_of_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "PROGRAM", "import nonsense")
    told: list[str] = []

    async def connected(wire: WireProcess) -> None:
        async with wire.connected(SETTINGS, log=told.append, lost=lost_nothing):
            raise AssertionError("connected")

    with wire_process() as wire, pytest.raises(LlmbatchError, match=r"ended with 1: ModuleNotFoundError: .*nonsense"):
        asyncio.run(connected(wire))
    assert told[0].startswith("Traceback")


def test_a_process_that_dies_at_once_is_told_as_well() -> None:
    async def connected(wire: WireProcess) -> None:
        async with wire.connected(SETTINGS, log=None, lost=lost_nothing):
            raise AssertionError("connected")

    with wire_process() as wire:
        os.kill(wire.pid, signal.SIGKILL)
        with pytest.raises(LlmbatchError, match="the process that holds the connections"):
            asyncio.run(connected(wire))


def test_no_signal_of_the_terminal_reaches_it() -> None:
    with wire_process() as wire:
        assert os.getsid(wire.pid) != os.getsid(0)
        assert os.getpgid(wire.pid) != os.getpgid(0)
