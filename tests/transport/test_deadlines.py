"""One deadline ends an attempt, however it drags on; a cancel frees the socket at once."""

import asyncio
import random
import time

import pytest

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind

from .conftest import Open, Run, asking, assert_fault, body_of, open_descriptors, patient
from .scripted import Peer, Script, answering, ok, saying, serving, silence

DEADLINE = 0.2


def dripping(head: bytes, drop: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(head)
        while True:
            await peer.say(drop)
            await asyncio.sleep(0.02)

    return script


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(silence, id="silence"),
        pytest.param(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"), id="silence after the headers"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"), id="dripping headers"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\nx: ", b"y"), id="dripping one header"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n", b" "), id="dripping body"),
        pytest.param(dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="dripping interim answers"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"), id="chunks"),
    ],
)
def test_the_deadline_ends_every_kind_of_waiting(run: Run, opening: Open, script: Script) -> None:
    async def scene() -> None:
        async with (
            serving(script, answering(ok(b"2"))) as server,
            opening(server.url, timeout=DEADLINE) as sender,
        ):
            began = time.monotonic()
            assert_fault(await sender.send(asking()), Kind.TIMEOUT, Billing.DOUBTFUL)
            assert time.monotonic() - began > DEADLINE * 0.9  # without one the test would have no end
            assert body_of(await patient(sender).send(asking())) == b"2"

    run(scene())


def test_a_silent_kept_connection_is_in_doubt(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            for _ in range(3):
                await peer.request()
                await peer.say(ok(b"1"))
            await peer.gone()

        async with serving(script) as server, opening(server.url, timeout=DEADLINE) as sender:
            for _ in range(3):
                assert body_of(await patient(sender).send(asking())) == b"1"
            assert_fault(await sender.send(asking()), Kind.TIMEOUT, Billing.DOUBTFUL)

    run(scene())


def test_a_body_nobody_reads_is_not_billed(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.head()
            await asyncio.Event().wait()

        async with serving(script) as server, opening(server.url, timeout=DEADLINE) as sender:
            assert_fault(await sender.send(asking(bytes(32 << 20))), Kind.TIMEOUT, Billing.UNBILLED)

    run(scene())


@pytest.mark.parametrize("size", [10, 32 << 20], ids=["waiting", "writing"])
def test_a_cancel_closes_the_socket_at_once(run: Run, opening: Open, size: int) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.head()
            if size < 100:
                await peer.gone()
            await asyncio.Event().wait()

        async with serving(script, answering(ok(b"2"))) as server, opening(server.url) as sender:
            before = open_descriptors()
            attempt = asyncio.create_task(sender.send(asking(bytes(size))))
            peer = await server.heard(0)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            for _ in range(3):
                await asyncio.sleep(0)
            assert open_descriptors() == before + 1, "only the server's end is left"
            if size < 100:
                await peer.over.wait()
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())


def test_a_cancel_closes_a_kept_connection_at_once(run: Run, opening: Open) -> None:
    async def scene() -> None:
        asked_again = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(ok(b"1"))
            await peer.request()
            asked_again.set()
            await peer.gone()

        async with serving(script, answering(ok(b"3"))) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking())) == b"1"
            attempt = asyncio.create_task(sender.send(asking()))
            peer = await server.heard(0)
            await asked_again.wait()
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            await asyncio.wait_for(peer.over.wait(), 20)
            assert body_of(await sender.send(asking())) == b"3"

    run(scene())


def test_a_cancel_at_any_moment_leaves_nothing_behind(run: Run, opening: Open) -> None:
    """Step by step of the loop: cancel after the first, the second, the third … turn of an attempt."""

    async def scene() -> None:
        async with serving(answering(ok(b"1"))) as server:
            for turns in range(25):
                async with opening(server.url) as sender:
                    attempt = asyncio.create_task(sender.send(asking()))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    attempt.cancel()
                    (result,) = await asyncio.gather(attempt, return_exceptions=True)
                    assert isinstance(result, Reply | asyncio.CancelledError)
                    assert body_of(await sender.send(asking())) == b"1"

    run(scene())


def test_a_cancel_that_meets_a_loss_leaves_nothing_behind(run: Run, opening: Open) -> None:
    """The exception of the loss is then never raised, and nobody may complain of that."""

    async def scene() -> None:
        async with serving(silence) as server:
            for turns in range(8):
                async with opening(server.url) as sender:
                    attempt = asyncio.create_task(sender.send(asking()))
                    await (await server.heard(turns)).reset()
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    attempt.cancel()
                    (result,) = await asyncio.gather(attempt, return_exceptions=True)
                    assert isinstance(result, Fault | asyncio.CancelledError)

    run(scene())


def test_a_storm_of_deadlines_leaves_nothing_behind(run: Run, opening: Open) -> None:
    async def scene() -> None:
        chance = random.Random(19)

        async def slow(peer: Peer) -> None:
            while True:
                await peer.request()
                await asyncio.sleep(chance.uniform(0, 0.01))
                await peer.say(ok(b"1"))

        async with serving(slow) as server:
            outcomes = set()
            before = open_descriptors()

            async def lane() -> None:
                async with opening(server.url) as sender:
                    for _ in range(20):
                        try:
                            async with asyncio.timeout(chance.uniform(0, 0.02)):
                                outcomes.add(body_of(await sender.send(asking())))
                        except TimeoutError:
                            outcomes.add(b"late")
                    for _ in range(3):
                        assert body_of(await sender.send(asking())) == b"1"

            async with asyncio.TaskGroup() as lanes:
                for _ in range(30):
                    lanes.create_task(lane())
            await asyncio.gather(*server.tasks)
            for _ in range(3):
                await asyncio.sleep(0)
            assert open_descriptors() == before
            assert b"late" in outcomes and outcomes <= {b"1", b"late"}

    run(scene())
