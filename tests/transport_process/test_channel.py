"""Messages arrive complete and in order, however the bytes are cut."""

import asyncio
import pickle
import socket
import struct
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.transport_process.channel import TOGETHER, Channel


def ignored(message: Any) -> None:
    pass


def failed(error: Exception | None) -> None:
    raise AssertionError(error)


class Pipe(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


@given(
    batches=st.lists(st.lists(st.binary(max_size=300) | st.none() | st.text(), min_size=1)),
    cuts=st.lists(st.integers(1, 200), min_size=1),
)
def test_messages_arrive_whole_and_in_order(batches: list[list[Any]], cuts: list[int]) -> None:
    async def through() -> list[Any]:
        pipe, arrived = Pipe(), list[Any]()
        near, far = Channel(ignored, ignored), Channel(arrived.append, failed)
        near.connection_made(pipe)
        for batch in batches:
            for message in batch:
                near.put(message)
            await asyncio.sleep(0)
        at, turn = 0, 0
        while at < len(pipe.written):
            size = cuts[turn % len(cuts)]
            far.data_received(pipe.written[at : at + size])
            at, turn = at + size, turn + 1
        return arrived

    assert asyncio.run(through()) == [message for batch in batches for message in batch]


def batches_in(written: bytes) -> list[list[Any]]:
    batches = []
    while written:
        (size,) = struct.unpack_from("<Q", written)
        batches.append(pickle.loads(written[8 : 8 + size]))
        written = written[8 + size :]
    return batches


@given(number=st.integers(0, 5 * TOGETHER), in_flight=st.sampled_from([None, 1, 64, 320, 1000]))
def test_so_many_travel_together_and_the_rest_leaves_when_the_turn_is_over(number: int, in_flight: int | None) -> None:
    async def through() -> tuple[bytes, bytes]:
        pipe = Pipe()
        channel = Channel(ignored, ignored)
        channel.connection_made(pipe)
        if in_flight is not None:
            channel.expect(in_flight)
        for message in range(number):
            channel.put(message)
        at_once = pipe.written
        await asyncio.sleep(0)
        return at_once, pipe.written

    at_once, in_all = asyncio.run(through())
    together = {320: 20, 1000: 62}.get(in_flight or 0, TOGETHER)
    whole, rest = divmod(number, together)
    assert [len(batch) for batch in batches_in(at_once)] == [together] * whole
    assert [len(batch) for batch in batches_in(in_all)] == [together] * whole + [rest] * (rest > 0)
    assert [message for batch in batches_in(in_all) for message in batch] == list(range(number))


async def connected(near: Channel, far: Channel) -> None:
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    await loop.create_unix_connection(lambda: near, sock=ours)
    await loop.create_unix_connection(lambda: far, sock=theirs)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("where", ["written", "read"])
def test_a_message_that_gets_lost_ends_the_connection_for_both_and_the_cause_is_told(where: str, loop: Any) -> None:
    """Whoever waits for it would wait without end."""

    def full(message: Any) -> None:
        raise MemoryError

    async def through() -> tuple[Exception | None, Exception | None]:
        near_lost, far_lost = (asyncio.get_running_loop().create_future() for _ in range(2))
        near = Channel(ignored, near_lost.set_result)
        far = Channel(full, far_lost.set_result)
        await connected(near, far)
        near.put(full if where == "written" else None)
        return await asyncio.wait_for(near_lost, 20), await asyncio.wait_for(far_lost, 20)

    with asyncio.Runner(loop_factory=loop) as runner:
        at_near, at_far = runner.run(through())
    if where == "written":
        assert isinstance(at_near, AttributeError | pickle.PicklingError) and at_far is None
    else:
        assert isinstance(at_far, MemoryError) and at_near is None


def test_a_message_larger_than_the_socket_takes_arrives() -> None:
    async def through() -> bytes:
        arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        near, far = Channel(ignored, ignored), Channel(arrived.set_result, ignored)
        await connected(near, far)
        near.put(b"x" * 20_000_000)
        try:
            return await asyncio.wait_for(arrived, 20)
        finally:
            near.close()
            far.close()

    assert len(asyncio.run(through())) == 20_000_000


def test_the_end_of_one_is_told_to_the_other() -> None:
    async def lost() -> bool:
        told = asyncio.Event()
        near, far = Channel(ignored, ignored), Channel(ignored, lambda error: told.set())
        await connected(near, far)
        near.close()
        return await asyncio.wait_for(told.wait(), 20)

    assert asyncio.run(lost())
