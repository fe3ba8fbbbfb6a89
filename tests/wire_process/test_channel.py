"""What one end puts in comes out at the other, whole and in order, however the bytes are cut."""

import asyncio
import pickle
import socket
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.wire_process.channel import TOGETHER, Channel


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
        near, far = Channel(lambda message: None, lambda: None), Channel(arrived.append, lambda: None)
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
        channel = Channel(lambda message: None, lambda: None)
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


def test_a_message_that_cannot_be_sent_ends_the_connection_instead_of_being_waited_for() -> None:
    async def through() -> None:
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        told, lost = loop.create_future(), loop.create_future()
        loop.set_exception_handler(lambda loop, context: told.set_result(context["exception"]))
        near = Channel(lambda message: None, lambda: None)
        far = Channel(lambda message: None, lambda: lost.set_result(None))
        await loop.create_unix_connection(lambda: near, sock=ours)
        await loop.create_unix_connection(lambda: far, sock=theirs)
        near.put(through)
        await asyncio.wait_for(lost, 20)
        assert "pickle" in str(await asyncio.wait_for(told, 20))
        far.close()

    asyncio.run(through())


def test_a_message_larger_than_the_socket_takes_arrives() -> None:
    async def through() -> bytes:
        ours, theirs = socket.socketpair()
        arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        near, far = Channel(lambda message: None, lambda: None), Channel(arrived.set_result, lambda: None)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: near, sock=ours)
        await loop.create_unix_connection(lambda: far, sock=theirs)
        near.put(b"x" * 20_000_000)
        try:
            return await asyncio.wait_for(arrived, 20)
        finally:
            near.close()
            far.close()

    assert len(asyncio.run(through())) == 20_000_000


def test_the_end_of_one_is_told_to_the_other() -> None:
    async def lost() -> bool:
        ours, theirs = socket.socketpair()
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        near, far = Channel(lambda message: None, lambda: None), Channel(lambda message: None, told.set)
        await loop.create_unix_connection(lambda: near, sock=ours)
        await loop.create_unix_connection(lambda: far, sock=theirs)
        near.close()
        return await asyncio.wait_for(told.wait(), 20)

    assert asyncio.run(lost())
