"""What one end puts in comes out at the other, whole and in order, however the bytes are cut."""

import asyncio
import pickle
import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.wire_process.channel import Channel


class Pipe(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

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


def test_what_one_turn_of_the_loop_brings_is_written_once() -> None:
    async def written() -> list[Any]:
        pipe = Pipe()
        channel = Channel(lambda message: None, lambda: None)
        channel.connection_made(pipe)
        for number in range(100):
            channel.put(number)
        await asyncio.sleep(0)
        batch = pickle.loads(pipe.written[8:])
        assert isinstance(batch, list)
        return batch

    assert asyncio.run(written()) == list(range(100))


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
