"""Requests larger than any buffer: flow control, and answers that come before their end."""

import asyncio
import hashlib
import tracemalloc
from typing import Any, cast

import pytest

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.transport.connection import Connection
from llmbatch.transport.lane import Http11Lane

from .conftest import LaneClass, Open, Run, asking, assert_fault, body_of
from .scripted import Peer, answering, ok, serving

LARGE = bytes(range(256)) * (32 << 12)


@pytest.mark.parametrize("size", [1, 65535, 65536, 65537, 262144, 262145, 1 << 20])
def test_a_body_of_any_size_arrives_whole(run: Run, opening: Open, size: int) -> None:
    async def scene() -> None:
        async with serving(answering(ok(b"1"))) as server, opening(server.url) as sender:
            for _ in range(2):
                assert body_of(await sender.send(asking(LARGE[:size]))) == b"1"
            assert [seen.body == LARGE[:size] for seen in server.requests] == [True, True]
            assert len(server.peers) == 1

    run(scene())


def test_a_slow_reader_is_not_buffered_for(run: Run, opening: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in user space stays within a piece, of the 32 MiB that are sent."""
    highest = 0
    made = Connection.connection_made

    def watched(self: Connection, transport: asyncio.BaseTransport) -> None:
        made(self, transport)
        watched_transports.append(cast(asyncio.Transport, transport))

    watched_transports: list[asyncio.Transport] = []
    monkeypatch.setattr(Connection, "connection_made", watched)

    async def scene() -> None:
        nonlocal highest

        async def script(peer: Peer) -> None:
            nonlocal highest
            seen = await peer.head()
            digest = hashlib.sha256()
            left = len(LARGE)
            while left:
                piece = await peer.reader.read(65536)
                digest.update(piece)
                left -= len(piece)
                highest = max(highest, *(t.get_write_buffer_size() for t in watched_transports), 0)
            seen.body = digest.digest()
            await peer.say(ok(b"1"))
            await peer.gone()

        async with serving(script) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking(LARGE))) == b"1"
            assert server.requests[0].body == hashlib.sha256(LARGE).digest()

    run(scene())
    assert highest <= 256 * 1024


@pytest.mark.parametrize("status", [b"413 Too Large", b"401 Unauthorized"])
def test_an_early_answer_is_the_answer(run: Run, opening: Open, status: bytes, lane_class: LaneClass) -> None:
    """Ours reads while it writes; for the other the server must swallow the rest, as nginx does."""

    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.head()
            await peer.say(ok(b"no", status=status))
            if lane_class is Http11Lane:
                await asyncio.Event().wait()
            await peer.gone()

        async with serving(script, answering(ok(b"2"))) as server, opening(server.url) as sender:
            result = await sender.send(asking(LARGE))
            assert isinstance(result, Reply), result
            assert (result.status, result.body) == (int(status[:3]), b"no")
            if lane_class is Http11Lane:
                assert body_of(await sender.send(asking())) == b"2"

    run(scene())


def test_an_early_answer_outlives_a_reset(run: Run, opening: Open, lane_class: LaneClass) -> None:
    """For the other lane the reset overtakes the answer: it does not read before it has written."""

    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.head()
            await peer.say(ok(b"no", status=b"413 Too Large"))
            await peer.reset()

        async with serving(script, answering(ok(b"2"))) as server, opening(server.url) as sender:
            result = await sender.send(asking(LARGE))
            if lane_class is Http11Lane:
                assert isinstance(result, Reply) and result.status == 413, result
            else:
                assert_fault(result, Kind.CONNECTION, Billing.UNBILLED)
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())


def test_an_answer_begun_early_and_cut_is_doubtful(run: Run, opening: Open, lane_class: LaneClass) -> None:
    """The other lane never saw the beginning; and who has not the whole request has nothing to bill."""

    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.head()
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal")
            await peer.close()

        async with serving(script) as server, opening(server.url) as sender:
            result = await sender.send(asking(LARGE))
            assert isinstance(result, Fault), result
            assert result.billing is (Billing.DOUBTFUL if lane_class is Http11Lane else Billing.UNBILLED)

    run(scene())


def test_a_deadline_within_an_early_answer_is_doubtful(run: Run, opening: Open, lane_class: LaneClass) -> None:
    """A server that has begun to answer may have begun to compute; the other lane has not looked yet."""

    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.head()
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal")
            await asyncio.Event().wait()

        async with serving(script) as server, opening(server.url, timeout=0.3) as sender:
            billing = Billing.DOUBTFUL if lane_class is Http11Lane else Billing.UNBILLED
            assert_fault(await sender.send(asking(LARGE)), Kind.TIMEOUT, billing)

    run(scene())


def test_sent_means_that_nothing_waits_any_more(run: Run, opening: Open) -> None:
    """The server reads just enough that the last piece cannot have left: the deadline finds it unbilled."""

    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.head()
            await peer.reader.readexactly(1 << 20)
            await asyncio.Event().wait()

        async with serving(script) as server, opening(server.url, timeout=0.15) as sender:
            assert_fault(await sender.send(asking(LARGE)), Kind.TIMEOUT, Billing.UNBILLED)

    run(scene())


def test_the_body_is_not_copied_as_a_whole(run: Run, opening: Open) -> None:
    async def scene() -> Any:
        async def script(peer: Peer) -> None:
            await peer.head()
            left = len(LARGE)
            while left:
                left -= len(await peer.reader.read(1 << 20))
            await peer.say(ok(b"1"))
            await peer.gone()

        async with serving(script) as server, opening(server.url) as sender:
            tracemalloc.start()
            try:
                assert body_of(await sender.send(asking(LARGE))) == b"1"
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    assert run(scene()) < 8 << 20
