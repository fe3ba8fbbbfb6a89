"""What never connected, and what was lost on the way."""

import asyncio
import gc
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvloop

from llmbatch.core.fault import Billing, Kind, Scope
from llmbatch.transport import dial
from llmbatch.transport.base import Trace
from llmbatch.transport.connection import Connection
from llmbatch.transport.head import Head
from llmbatch.transport.lane import Http11Lane
from llmbatch.transport.limits import Limits
from llmbatch.transport.tls import shared_context

from .conftest import Open, Run, asking, assert_fault, body_of
from .scripted import Peer, answering, ok, saying, serving


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port whose queue of connections is full, so that a further one gets no reply at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        yield port
        for filler in fillers:
            filler.close()


def closed_port() -> int:
    """Find a port nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_refused_port_is_free_to_try_again(run: Run, opening: Open) -> None:
    async def scene() -> None:
        port = closed_port()
        async with opening(f"http://127.0.0.1:{port}") as sender:
            for _ in range(2):
                fault = assert_fault(await sender.send(asking()), Kind.CONNECTION, Billing.UNBILLED, scope=Scope.RUN)
                assert fault.message in (f"connection refused by 127.0.0.1:{port}", "all connection attempts failed")

    run(scene())


@pytest.mark.parametrize(
    "host",
    ["nowhere.invalid", "a" * 70 + ".invalid", "x." * 140 + "invalid"],
    ids=["unknown", "label", "name"],
)
def test_an_unknown_name_is_free_to_try_again(run: Run, opening: Open, host: str) -> None:
    async def scene() -> None:
        async with opening(f"http://{host}/v1") as sender:
            result = await sender.send(asking())
            assert_fault(result, Kind.CONNECTION, Billing.UNBILLED, scope=Scope.RUN)

    run(scene())


def test_a_black_hole_ends_at_the_connect_time_out(run: Run, opening: Open, black_hole: int) -> None:
    async def scene() -> None:
        async with opening(f"http://127.0.0.1:{black_hole}", connect_timeout=0.2) as sender:
            result = await sender.send(asking())
            fault = assert_fault(result, Kind.CONNECTION, Billing.UNBILLED, scope=Scope.RUN)
            assert "within 0.2 s" in fault.message

    run(scene())


def test_a_black_hole_ends_at_the_deadline_too(run: Run, opening: Open, black_hole: int) -> None:
    async def scene() -> None:
        async with opening(f"http://127.0.0.1:{black_hole}", timeout=0.1) as sender:
            assert_fault(await sender.send(asking()), Kind.TIMEOUT, Billing.UNBILLED)

    run(scene())


@pytest.mark.parametrize("hang_up", ["close", "reset"])
def test_no_answer_after_the_body_is_doubtful(run: Run, opening: Open, hang_up: str) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await getattr(peer, hang_up)()

        kind = Kind.PROTOCOL if hang_up == "close" else Kind.CONNECTION
        async with serving(script, answering(ok(b"2"))) as server, opening(server.url) as sender:
            assert_fault(await sender.send(asking()), kind, Billing.DOUBTFUL)
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())


@pytest.mark.parametrize("hang_up", ["close", "reset"])
def test_hung_up_on_at_once_never_hangs(run: Run, opening: Open, hang_up: str) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await getattr(peer, hang_up)()

        async with serving(script) as server, opening(server.url, timeout=5.0) as sender:
            for _ in range(20):
                result = await sender.send(asking())
                assert result.kind in (Kind.PROTOCOL, Kind.CONNECTION), result  # type: ignore[union-attr]

    run(scene())


def test_a_server_that_speaks_first_never_hangs(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.say(b"SSH-2.0-OpenSSH_9.2\r\n")
            await peer.head()
            await peer.close()

        async with serving(script) as server, opening(server.url, timeout=5.0) as sender:
            for _ in range(5):
                result = await sender.send(asking())
                assert result.kind in (Kind.PROTOCOL, Kind.CONNECTION), result  # type: ignore[union-attr]

    run(scene())


def test_a_reset_within_the_answer_is_doubtful(run: Run, opening: Open) -> None:
    async def scene() -> None:
        begun = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
            begun.set()
            await asyncio.sleep(0.02)
            await peer.reset()

        async with serving(script) as server, opening(server.url) as sender:
            assert_fault(await sender.send(asking()), Kind.CONNECTION, Billing.DOUBTFUL)

    run(scene())


def test_a_reset_after_the_last_byte_harms_nothing(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(ok(b"1"))
            await peer.reset()

        async with serving(script, answering(ok(b"2"))) as server, opening(server.url) as sender:
            result = await sender.send(asking())
            assert body_of(result) == b"1"
            await server.tasks[0]
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())


def test_a_dead_first_address_does_not_hold_the_next_one_up(
    run: Run, opening: Open, black_hole: int, monkeypatch: pytest.MonkeyPatch, lane_class: type
) -> None:
    """Only our lane resolves by itself; the other has anyio for it."""

    async def scene() -> None:
        async with serving(answering(ok(b"1"))) as server, opening("http://two-homes.example") as sender:

            async def resolve(host: str, port: int) -> list[dial.Address]:
                assert (host, port) == ("two-homes.example", 80)
                places = (("127.0.0.1", port) for port in (black_hole, closed_port(), server.port))
                return [dial.Address(socket.AF_INET, place) for place in places]

            monkeypatch.setattr(dial, "resolve", resolve)
            async with asyncio.timeout(1.0):
                assert body_of(await sender.send(asking())) == b"1"

    if lane_class is Http11Lane:
        run(scene())


def test_localhost_is_found(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async with (
            serving(answering(ok(b"1"))) as server,
            opening(f"http://localhost:{server.port}") as sender,
        ):
            assert body_of(await sender.send(asking())) == b"1"

    run(scene())


@pytest.mark.parametrize("size", [10, 300_000])
def test_nothing_is_left_of_connections_that_were_lost(size: int) -> None:
    """Not until somebody looks for cycles, which is seldom: each would keep the body of its request."""

    async def hang_up(peer: Peer) -> None:
        await peer.request()

    async def scene() -> tuple[int, int]:
        async with serving(hang_up) as server:
            lane = Http11Lane(limits=Limits(), tls=shared_context(None))
            for _ in range(5):
                request = httpx.Request("POST", server.url, content=b"x" * size)
                with pytest.raises(httpx.HTTPError):
                    await lane.exchange(Head.of(request), request.content, Trace())
            await lane.aclose()
            for _ in range(5):
                await asyncio.sleep(0)
            alive = [one for one in gc.get_objects() if isinstance(one, Connection)]
            return len(server.requests), len(alive)

    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            asked, alive = runner.run(scene())
    finally:
        gc.enable()
    assert (asked, alive) == (5, 0)


def test_an_address_is_not_looked_up(opening: Open) -> None:
    """uvloop's own connecting asks the resolver, and starts its threads, for 127.0.0.1 too."""

    class Unlisted(uvloop.Loop):
        async def getaddrinfo(self, host: Any, *others: Any, **more: Any) -> Any:
            raise AssertionError(f"{host} was looked up")

    async def scene() -> None:
        async with serving(answering(ok(b"1"))) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking())) == b"1"

    with asyncio.Runner(loop_factory=Unlisted) as runner:
        runner.run(scene())


def test_ipv6_is_spoken(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async with (
            serving(answering(ok(b"1")), host="::1") as server,
            opening(f"http://[::1]:{server.port}/v1") as sender,
        ):
            assert body_of(await sender.send(asking())) == b"1"
            assert (b"host", b"[::1]:%d" % server.port) in server.requests[0].headers

    run(scene())


@pytest.mark.parametrize("size", [10, 32 << 20])
def test_a_loss_is_never_shown_with_the_key(run: Run, opening: Open, size: int) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            seen = await peer.head()
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
            assert b"sk-secret" in seen.head

        lines: list[str] = []
        headers = {"authorization": "Bearer sk-secret"}
        async with (
            serving(script) as server,
            opening(server.url, headers=headers, log=lines.append) as sender,
        ):
            result = await sender.send(asking(bytes(size)))
            assert "sk-secret" not in repr(result)
            assert lines and "sk-secret" not in lines[0]

    run(scene())


def test_the_log_tells_new_connections_from_kept_ones(run: Run, opening: Open) -> None:
    async def scene() -> None:
        lines: list[str] = []
        async with (
            serving(saying(ok(b"1")), saying(ok(b"2"))) as server,
            opening(server.url, log=lines.append) as sender,
        ):
            await sender.send(asking(b"12345"))
            server.peers[0].end_now()
            await sender.send(asking(b"12345"))
        assert lines == ["POST /chat/completions 5 B on a new connection -> 200, 1 B"] * 2
        lines.clear()
        async with serving(answering(ok(b"1"))) as server, opening(server.url, log=lines.append) as sender:
            await sender.send(asking(b"12345"))
            await sender.send(asking(b"12345"))
        assert lines[1] == "POST /chat/completions 5 B on a kept connection -> 200, 1 B"

    run(scene())
