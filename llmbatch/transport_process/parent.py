"""The process that holds the connections, seen from the one that runs: told what to do, given requests."""

import asyncio
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import IO

from llmbatch.core.errors import LlmbatchError, OutOfMemory
from llmbatch.core.exchange import ReadReply, Request
from llmbatch.core.fault import Fault
from llmbatch.transport_process.channel import Channel, TransportSettings

__all__ = ["RemoteLane", "TransportProcess"]


class TransportProcess:
    """Lanes in another process. While it is `connected`, each `lane` is one more connection."""

    def __init__(self, sock: socket.socket, process: subprocess.Popen[bytes], last_words: IO[bytes]) -> None:
        self.pid = process.pid
        self._sock = sock
        self._process = process
        self._last_words = last_words
        """What it writes to stderr."""
        self._channel: Channel | None = None
        self._ready: asyncio.Future[None] | None = None
        self._awaited: list[asyncio.Future[ReadReply | Fault] | None] = []
        """What each lane has in flight."""
        self._log: Callable[[str], None] | None = None
        self._lost: Callable[[LlmbatchError], None] | None = None

    @asynccontextmanager
    async def connected(
        self,
        settings: TransportSettings,
        *,
        log: Callable[[str], None] | None,
        lost: Callable[[LlmbatchError], None],
    ) -> AsyncIterator[None]:
        """Say what will be asked, wait until it can be; afterwards drop everything, and the process ends.

        `lost` is told when it ends on its own. Raises UsageError for settings that do not go.
        """
        loop = asyncio.get_running_loop()
        self._log = log
        self._ready = loop.create_future()
        _, channel = await loop.create_unix_connection(lambda: Channel(self._took, self._ended), sock=self._sock)
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

    def _took(self, message: tuple[int, ReadReply | Fault] | str | LlmbatchError | None) -> None:
        if type(message) is tuple:
            lane, result = message
            awaited = self._awaited[lane]
            if awaited is not None and not awaited.done():
                awaited.set_result(result)
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
        """Tell which end it was: theirs hangs up by dying, and of a failure of ours it knows nothing yet."""
        if error is None or isinstance(error, ConnectionError):
            return self._obituary()
        if isinstance(error, MemoryError):
            return OutOfMemory()
        return LlmbatchError(
            f"the process that holds the connections is out of reach: {type(error).__name__}: {error}",
            "Run the same command again: with -o what is recorded is kept.",
        )

    def _obituary(self) -> LlmbatchError:
        """Tell what it died of: a signal, or an exception, whose traceback goes to the log."""
        code = self._process.wait()  # it hung up by ending
        words = self._last_words.read().decode("utf-8", "replace").strip().splitlines()
        if self._log is not None:
            for line in words:
                self._log(line)
        if code < 0:
            cause = f"was killed by {signal.Signals(-code).name}, perhaps for want of memory"
        else:
            said = [word for line in words if (word := line.strip(" |+-"))]  # a group of exceptions comes in a frame
            cause = f"ended with {code}: {said[-1] if said else 'no reason given'}"
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
        """Make one attempt, within the attempt's deadline, which is kept over there."""
        awaited: asyncio.Future[ReadReply | Fault] = self._loop.create_future()
        self._awaited[self._lane] = awaited
        self._channel.put((self._lane, request.method, request.path, request.body, request.expected, request.endpoint))
        return awaited

    async def aclose(self) -> None:
        """Let go of what is in flight: its answer is not taken any more."""
        self._awaited[self._lane] = None
