"""The run's end of the transport process: sends it settings and requests, gets answers."""

import asyncio
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import IO, Any

from llmbatch.core.errand import Call
from llmbatch.core.errors import LlmbatchError, OutOfMemory, OutputError
from llmbatch.core.exchange import ReadReply, Reply, Request
from llmbatch.core.fault import Fault
from llmbatch.transport_process.answer_message import answer_in
from llmbatch.transport_process.channel import Channel, NewHeaders, TransportSettings

__all__ = ["RemoteLane", "TransportProcess"]


class TransportProcess:
    """Lanes in another process. While it is `connected`, each `lane` is one more connection."""

    def __init__(self, sock: socket.socket, process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
        self.pid = process.pid
        self._sock = sock
        self._process = process
        self._stderr = stderr
        self._channel: Channel | None = None
        self._ready: asyncio.Future[None] | None = None
        self._awaited: list[asyncio.Future[ReadReply | Fault] | None] = []
        """The answer that each lane waits for."""
        self._errands: dict[int, asyncio.Future[Reply | Fault]] = {}
        """The answer that each errand waits for, by a negative number."""
        self._errand = 0
        self._log: Callable[[str], None] | None = None
        self._mark_sent: Callable[[], None]
        self._lost: Callable[[LlmbatchError], None] | None = None

    @asynccontextmanager
    async def connected(
        self,
        settings: TransportSettings,
        *,
        log: Callable[[str], None] | None,
        lost: Callable[[LlmbatchError], None],
        mark_sent: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[None]:
        """Send the settings and wait until it is ready; on exit drop what is in flight and end the process.

        `lost` is called when the process ends on its own, `mark_sent` before requests are sent: what it raises goes to
        those who asked, and the requests do not leave. Raises UsageError for settings that cannot work.
        """
        loop = asyncio.get_running_loop()
        self._log = log
        self._ready = loop.create_future()
        self._mark_sent = mark_sent
        _, channel = await loop.create_unix_connection(
            lambda: Channel(self._received, self._ended, self._leaving), sock=self._sock
        )
        channel.expect(settings.lanes)
        try:
            channel.put(settings)
            await self._ready
            self._channel, self._lost = channel, lost
            yield
        finally:
            self._lost = None
            channel.close()

    def lane(self) -> "RemoteLane":
        """Open one more lane."""
        assert self._channel is not None
        self._awaited.append(None)
        return RemoteLane(self._channel, self._awaited, len(self._awaited) - 1)

    def renew(self, headers: Mapping[str, str]) -> None:
        """Have every later request carry these headers."""
        assert self._channel is not None
        self._channel.put(NewHeaders(headers))

    async def run_errand(self, call: Call) -> Reply | Fault:
        """Have the other process make a call once; return its answer, or why there is none."""
        assert self._channel is not None
        self._errand -= 1
        number = self._errand
        awaited: asyncio.Future[Reply | Fault] = asyncio.get_running_loop().create_future()
        self._errands[number] = awaited
        self._channel.put((number, call))
        try:
            return await awaited
        finally:
            del self._errands[number]

    def _leaving(self, messages: list[Any]) -> list[Any]:
        """Return the messages that may be sent: without the requests, when it cannot be marked that they leave."""
        try:
            self._mark_sent()
        except OutputError as error:
            others = [message for message in messages if type(message) is not tuple or message[0] < 0]
            for lane in {message[0] for message in messages if type(message) is tuple and message[0] >= 0}:
                awaited = self._awaited[lane]
                if awaited is not None and not awaited.done():
                    awaited.set_exception(error)
            return others
        return messages

    def _received(self, message: tuple[Any, ...] | str | LlmbatchError | None) -> None:
        if type(message) is tuple:
            lane = message[0]
            if lane < 0:
                errand = self._errands.get(lane)
                if errand is not None and not errand.done():
                    errand.set_result(message[1])
                return
            awaited = self._awaited[lane]
            if awaited is not None and not awaited.done():
                awaited.set_result(answer_in(message))
        elif isinstance(message, str):
            if self._log is not None:
                self._log(message)
        elif self._ready is not None and not self._ready.done():
            if isinstance(message, LlmbatchError):
                self._ready.set_exception(message)
            else:
                self._ready.set_result(None)

    def _ended(self, error: Exception | None) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(self._reason(error))
        elif self._lost is not None:
            self._lost(self._reason(error))

    def _reason(self, error: Exception | None) -> LlmbatchError:
        """Tell which process failed: the other one if it closed the connection, which it does only by ending."""
        if error is None or isinstance(error, ConnectionError):
            return self._exit_reason()
        if isinstance(error, MemoryError):
            return OutOfMemory()
        return LlmbatchError(
            f"the process that holds the connections is out of reach: {type(error).__name__}: {error}",
            "Run the same command again: with -o what is recorded is kept.",
        )

    def _exit_reason(self) -> LlmbatchError:
        """Return what ended the process: a signal, or an exception, whose traceback goes to the log."""
        code = self._process.wait()  # it closed the connection by ending
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        if self._log is not None:
            for line in lines:
                self._log(line)
        if code < 0:
            cause = f"was killed by {signal.Signals(-code).name}, perhaps for want of memory"
        else:
            reasons = [
                text for line in lines if (text := line.strip(" |+-"))
            ]  # a group of exceptions is printed in a frame
            if reasons and reasons[-1].startswith("MemoryError"):
                return OutOfMemory()
            cause = f"ended with {code}: {reasons[-1] if reasons else 'no reason given'}"
        return LlmbatchError(
            f"the process that holds the connections {cause}",
            "Run the same command again: with -o what is recorded is kept.",
        )


class RemoteLane:
    """A connection in the other process, which reads the answers too."""

    def __init__(self, channel: Channel, awaited: list[asyncio.Future[ReadReply | Fault] | None], lane: int) -> None:
        self._channel = channel
        self._awaited = awaited
        self._lane = lane
        self._loop = asyncio.get_running_loop()

    def ask(self, request: Request) -> asyncio.Future[ReadReply | Fault]:
        """Make one attempt; the other process enforces its deadline."""
        awaited: asyncio.Future[ReadReply | Fault] = self._loop.create_future()
        self._awaited[self._lane] = awaited
        self._channel.put((self._lane, request.method, request.path, request.body, request.expected, request.server))
        return awaited

    async def aclose(self) -> None:
        """Ignore the answer to what is in flight."""
        self._awaited[self._lane] = None
