"""One connection serves many requests, and is replaced before it can do harm."""

import asyncio

import pytest

from llmbatch.core.fault import Billing, Kind
from llmbatch.transport import connection_reuse
from llmbatch.transport.head import Heads
from llmbatch.transport.lane import Http11Lane
from llmbatch.transport.limits import Limits
from llmbatch.transport.sender import LaneSender

from .conftest import LaneClass, Open, Run, asking, assert_fault, body_of
from .scripted import Peer, answering, ok, saying, serving


def test_one_connection_serves_many_requests(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async with serving(answering(ok(b"1"), ok(b"2"), ok(b"3"))) as server, opening(server.url) as sender:
            bodies = [body_of(await sender.send(asking(b"%d" % turn))) for turn in range(3)]
            assert bodies == [b"1", b"2", b"3"]
            assert [seen.body for seen in server.requests] == [b"0", b"1", b"2"]
            assert len(server.peers) == 1

    run(scene())


def test_connection_close_is_honoured(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async with (
            serving(saying(ok(b"1", b"connection: close")), answering(ok(b"2"))) as server,
            opening(server.url) as sender,
        ):
            assert body_of(await sender.send(asking())) == b"1"
            await server.peers[0].over.wait()
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())


def test_http_1_0_is_not_kept(run: Run, opening: Open) -> None:
    async def scene() -> None:
        answer = b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n1"
        async with serving(saying(answer), answering(ok(b"2"))) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking())) == b"1"
            await server.peers[0].over.wait()
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())


def test_idle_too_long_is_replaced(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async with (
            serving(saying(ok(b"1")), answering(ok(b"2"))) as server,
            opening(server.url, idle=0.1) as sender,
        ):
            assert body_of(await sender.send(asking())) == b"1"
            await asyncio.sleep(0.15)
            assert body_of(await sender.send(asking())) == b"2"
            await server.peers[0].over.wait()

    run(scene())


def test_closed_while_idle_is_replaced(run: Run, opening: Open) -> None:
    async def scene() -> None:
        closed = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(ok(b"1"))
            await peer.close()
            closed.set()

        async with serving(script, answering(ok(b"2"))) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking())) == b"1"
            await closed.wait()
            assert body_of(await sender.send(asking())) == b"2"
            assert len(server.peers) == 2

    run(scene())


def test_reset_while_idle_is_replaced(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async with serving(saying(ok(b"1")), answering(ok(b"2"))) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking())) == b"1"
            await server.peers[0].reset()
            await server.peers[0].over.wait()
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())


def test_closed_while_the_loop_was_busy_is_replaced(run: Run, opening: Open) -> None:
    """The loop has had no turn to see the end; the socket knows it."""

    async def scene() -> None:
        async with serving(saying(ok(b"1")), answering(ok(b"2"))) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking())) == b"1"
            server.peers[0].end_now()
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())


def test_unasked_bytes_on_an_idle_connection_answer_nobody(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async with serving(saying(ok(b"1")), answering(ok(b"2"))) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking())) == b"1"
            server.peers[0].say_now(ok(b"poison"))
            assert body_of(await sender.send(asking())) == b"2"
            assert body_of(await sender.send(asking())) == b"2"
            await server.peers[0].over.wait()

    run(scene())


def test_unasked_bytes_end_an_idle_connection(run: Run, opening: Open, lane_class: LaneClass) -> None:
    """Ours hangs up as soon as it hears them; the other looks before its next request."""

    async def scene() -> None:
        async with serving(saying(ok(b"1")), answering(ok(b"2"))) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking())) == b"1"
            await server.peers[0].say(ok(b"poison"))
            if lane_class is Http11Lane:
                await server.peers[0].over.wait()
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())


def test_a_lane_never_asks_one_server_for_another(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async with (
            serving(answering(ok(b"1"))) as one,
            serving(answering(ok(b"2"))) as two,
            opening(one.url) as sender,
        ):
            other = LaneSender(sender._lane, Heads(two.url, {}), limits=Limits())
            for _ in range(2):
                assert body_of(await sender.send(asking())) == b"1"
                assert body_of(await other.send(asking())) == b"2"

    run(scene())


def test_lost_after_the_whole_body_went_out_is_doubtful(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(ok(b"1"))
            await peer.request()
            await peer.close()

        async with serving(script, answering(ok(b"2"))) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking())) == b"1"
            assert_fault(await sender.send(asking()), Kind.PROTOCOL, Billing.DOUBTFUL)
            assert len(server.requests) == 2
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())


STREAM = b"data: [DONE]\n\n"


@pytest.mark.parametrize("streamed", [True, False])
def test_a_server_that_loses_kept_connections_after_streams_gets_a_new_one_each_time(
    run: Run, opening: Open, streamed: bool
) -> None:
    """Not after the first loss, which may be chance; after other answers losses at one moment count once."""
    answer = ok(STREAM, b"content-type: text/event-stream") if streamed else ok(STREAM)

    async def scene() -> None:
        async def lost(peer: Peer) -> None:
            await peer.request()
            await peer.say(answer)
            await peer.request()
            await peer.close()

        async with serving(lost, lost, *[answering(*[answer] * 4)] * 3) as server, opening(server.url) as sender:
            for _ in range(2):
                assert body_of(await sender.send(asking())) == STREAM
                assert_fault(await sender.send(asking()), Kind.PROTOCOL, Billing.DOUBTFUL)
            for _ in range(3):
                assert body_of(await sender.send(asking())) == STREAM
            assert len(server.peers) == (5 if streamed else 3)

    run(scene())


def test_a_server_that_closes_after_every_answer_without_a_word_gets_a_new_connection_each_time(
    run: Run, opening: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_reuse, "APART", 0.0)

    async def scene() -> None:
        async def lost(peer: Peer) -> None:
            await peer.request()
            await peer.say(ok(b"1"))
            await peer.request()
            await peer.close()

        async with serving(lost, lost, *[answering(ok(b"2"))] * 3) as server, opening(server.url) as sender:
            for _ in range(2):
                assert body_of(await sender.send(asking())) == b"1"
                assert_fault(await sender.send(asking()), Kind.PROTOCOL, Billing.DOUBTFUL)
            for _ in range(3):
                assert body_of(await sender.send(asking())) == b"2"

    run(scene())


def test_lost_before_the_body_was_whole_is_not_billed(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(ok(b"1"))
            await peer.head()
            await peer.reset()

        async with serving(script, answering(ok(b"2"))) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking())) == b"1"
            assert_fault(await sender.send(asking(bytes(32 << 20))), Kind.CONNECTION, Billing.UNBILLED)
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())


def test_ended_before_the_body_was_whole_is_not_billed(run: Run, opening: Open) -> None:
    """The server ends its side and reads no more: the rest of the request must not be waited for."""

    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.head()
            peer.writer.write_eof()
            await peer.heard.wait()
            await asyncio.Event().wait()

        async with serving(script) as server, opening(server.url, timeout=0.3) as sender:
            result = await sender.send(asking(bytes(32 << 20)))
            assert_fault(result, _KIND[type(sender._lane).__name__], Billing.UNBILLED)

    run(scene())


_KIND = {"Http11Lane": Kind.PROTOCOL, "HttpxLane": Kind.TIMEOUT}


def test_a_second_answer_in_the_same_packet_poisons_nothing(run: Run, opening: Open) -> None:
    async def scene() -> None:
        for extra in (
            ok(b"poison"),
            b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n",
            b"HTTP",
            b"junk\r\n\r\n",
        ):
            async with (
                serving(saying(ok(b"1") + extra), answering(ok(b"2"))) as server,
                opening(server.url) as sender,
            ):
                assert body_of(await sender.send(asking())) == b"1"
                assert body_of(await sender.send(asking())) == b"2"
                assert body_of(await sender.send(asking())) == b"2"
                await server.peers[0].over.wait()

    run(scene())


def test_a_body_longer_than_its_length_poisons_nothing(run: Run, opening: Open) -> None:
    async def scene() -> None:
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}and more"
        async with serving(saying(answer), answering(ok(b"2"))) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking())) == b"{}"
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())
