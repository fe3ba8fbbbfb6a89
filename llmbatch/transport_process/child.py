"""The process that holds the connections: gets requests over its stdin, sends back what it read from the answers."""

import _thread
import asyncio
import gc
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Sequence

from llmbatch.core.cpu import use_batch_scheduling
from llmbatch.core.errand import Call
from llmbatch.core.errors import LlmbatchError
from llmbatch.core.exchange import Expected, Reply, Request
from llmbatch.core.fault import Fault
from llmbatch.core.parent import end_with_parent
from llmbatch.core.system_limits import cannot_start
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.transport.connection_reuse import ConnectionReuse
from llmbatch.transport.errands import ErrandRunner
from llmbatch.transport.head import Heads
from llmbatch.transport.idle_connections import IdleConnections
from llmbatch.transport.limits import Limits
from llmbatch.transport.proxies import lane_opener
from llmbatch.transport.sender import LaneSender, Sender, spread_over
from llmbatch.transport_process.answer_message import message_of
from llmbatch.transport_process.channel import Channel, NewHeaders, TransportSettings
from llmbatch.transport_process.event_loop import has_uvloop, new_loop
from llmbatch.transport_process.files import allow_lanes
from llmbatch.transport_process.reader_pool import ReaderPool

__all__ = ["main"]

_RESOLVERS = 4
"""Threads in which uvloop looks up hosts."""
_AT_ONCE = 0.02
"""Seconds for which the threads that are started as a check run side by side."""

_LOOK = 0.25
"""Seconds between two looks at idle connections."""

Order = tuple[int, str, str, bytes, Expected, int]
"""Lane, method, path, body, what the answer is expected to be, index of the server."""
ErrandOrder = tuple[int, Call]
"""A negative number instead of a lane, and the call."""


def main() -> None:
    """Serve the process at the other end of stdin, until it closes the connection."""
    # A signal to the process group is for the run: it lets what is in flight arrive, then closes the connection.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(2)  # even if this process hangs; the run reads its stderr only once it has ended
    gc.freeze()
    use_batch_scheduling()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_RequestServer().serve(socket.socket(fileno=0)))


class _RequestServer:
    """Sends requests on lanes. The first message is the settings; each lane has one request at a time."""

    def __init__(self) -> None:
        self._lanes: dict[int, _Lane] = {}
        self._open_sender: Callable[[], Sender] | None = None
        self._heads: list[Heads] = []
        self._errands: ErrandRunner
        self._reader = AnswerReader()
        self._slow_answers: ReaderPool | None = None

    async def serve(self, sock: socket.socket) -> None:
        """Serve until the process ends."""
        self._loop = loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as self._workers:
            self._channel = Channel(self._received, _leave)
            await loop.create_unix_connection(lambda: self._channel, sock=sock)
            await loop.create_future()

    def _received(self, message: Order | ErrandOrder | TransportSettings | NewHeaders) -> None:
        if isinstance(message, TransportSettings):
            log = self._channel.put if message.logged else None
            try:
                self._open_sender, self._heads, idle = _opener(message, log)
                limits = Limits(connect_timeout=message.connect_timeout)
                self._errands = ErrandRunner(limits=limits, ca_file=message.ca_file, log=log)
            except LlmbatchError as error:
                self._channel.put(error)
            else:
                self._reader = message.reader
                self._slow_answers = ReaderPool(message.reader, message.timeout)
                self._channel.expect(message.lanes)
                self._workers.create_task(_close_idle(idle))
                self._channel.put(None)
            return
        if isinstance(message, NewHeaders):
            for heads in self._heads:
                heads.renew(message.headers)
            return
        if len(message) == 2:
            self._workers.create_task(self._run_errand(*message))
            return
        lane = self._lanes.get(message[0])
        if lane is None:
            self._lanes[message[0]] = lane = self._open_lane(message[0])
        lane.take(message)

    def _open_lane(self, number: int) -> "_Lane":
        assert self._open_sender is not None
        assert self._slow_answers is not None
        return _Lane(number, self._open_sender(), self._channel, self._workers, self._reader, self._slow_answers)

    async def _run_errand(self, number: int, call: Call) -> None:
        self._channel.put((number, await self._errands.run(call)))


class _Lane:
    """Sends the requests of one lane, one after the other, and reads the answers."""

    def __init__(
        self,
        number: int,
        sender: Sender,
        channel: Channel,
        tasks: asyncio.TaskGroup,
        reader: AnswerReader,
        slow_answers: ReaderPool,
    ) -> None:
        self._number = number
        self._sender = sender
        self._channel = channel
        self._tasks = tasks
        self._reader = reader
        self._slow_answers = slow_answers
        self._expected: Expected

    def take(self, order: Order) -> None:
        """Send a request, with a task only where that takes longer than a moment."""
        _, method, path, body, self._expected, server = order
        request = Request((), path, body, self._expected, method, server)
        if not self._sender.start(request, self._done):
            self._tasks.create_task(self._send(request))

    async def _send(self, request: Request) -> None:
        self._done(await self._sender.send(request))

    def _done(self, result: Reply | Fault | Exception) -> None:
        try:
            if isinstance(result, Exception):
                raise result
            if isinstance(result, Fault):
                self._channel.put(message_of(self._number, result))
            elif self._reader.is_quick(result):
                self._channel.put(message_of(self._number, self._reader.read_reply(self._expected, result)))
            else:
                self._tasks.create_task(self._read(self._expected, result))
        except Exception as error:
            _leave(error)

    async def _read(self, expected: Expected, reply: Reply) -> None:
        self._channel.put(message_of(self._number, await self._slow_answers.read(expected, reply)))


def _opener(
    settings: TransportSettings, log: Callable[[str], None] | None
) -> tuple[Callable[[], Sender], list[Heads], list[IdleConnections]]:
    """Return a function that makes senders, and what those to each server share. Raises UsageError."""
    allow_lanes(settings.lanes, len(settings.base_urls))
    if has_uvloop():
        _check_threads(_RESOLVERS)
    limits = Limits(connect_timeout=settings.connect_timeout, timeout=settings.timeout)
    ends = [
        (
            lane_opener(url, limits=limits, ca_file=settings.ca_file),
            Heads(url, settings.headers),
            ConnectionReuse(),
            IdleConnections(),
        )
        for url in settings.base_urls
    ]

    def open_sender() -> Sender:
        return spread_over(
            [
                LaneSender(open_lane(), heads, limits=limits, log=log, reuse=reuse, idle=idle)
                for open_lane, heads, reuse, idle in ends
            ]
        )

    return open_sender, [heads for _, heads, _, _ in ends], [idle for *_, idle in ends]


async def _close_idle(servers: Sequence[IdleConnections]) -> None:
    """Look now and then whether idle connections keep others waiting."""
    while True:
        await asyncio.sleep(_LOOK)
        now = time.monotonic()
        for idle in servers:
            await idle.close_for_waiting(now)


def _check_threads(count: int) -> None:
    """Check that so many threads can run at once, by running them. Raises UsageError.

    uvloop starts threads for the first host that it looks up, and aborts the process if it cannot.
    """
    try:
        for _ in range(count):
            _thread.start_new_thread(time.sleep, (_AT_ONCE,))
    except RuntimeError as error:
        raise cannot_start("the threads that look hosts up", error) from error


def _leave(error: Exception | None) -> None:
    """Exit at once: the run counts what has not been sent back as in doubt, so nothing more may be sent."""
    if error is not None and not isinstance(error, ConnectionError):
        traceback.print_exception(error)
        os._exit(1)
    os._exit(0)
