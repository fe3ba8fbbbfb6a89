"""Reads answers that may take long in processes of their own, so that connections do not wait for them."""

import asyncio
import pickle
import signal
import socket
import subprocess
import sys

from llmbatch.core.exchange import Expected, ReadReply, Reply
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.transport_process.reader_process import SIZE, framed

__all__ = ["ReaderPool"]

PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from llmbatch.transport_process.reader_process import main; main()"
"""It gets this process's module search path as arguments."""
MOST = 4
"""Processes at once."""
SECONDS = 1.0
"""CPU seconds that every answer gets."""
BYTES_PER_SECOND = 4 << 20
"""A large answer gets another second for each so many bytes."""
MEMORY = 256 << 20
"""Memory that every answer gets."""
MEMORY_PER_BYTE = 16


class ReaderPool:
    """Up to MOST processes, started when they are needed; `most_seconds` also bounds the CPU time of an answer."""

    def __init__(self, reader: AnswerReader, most_seconds: float) -> None:
        self._reader = reader
        self._most_seconds = most_seconds
        self._free = asyncio.Semaphore(MOST)
        self._idle: list[_ReaderProcess] = []

    async def read(self, expected: Expected, reply: Reply) -> ReadReply:
        """Read an answer. One that takes too long or too much memory fails its records, which keep it."""
        size = len(reply.body)
        seconds = min(SECONDS + size / BYTES_PER_SECOND, self._most_seconds)
        async with self._free:
            try:
                process = self._idle.pop() if self._idle else await _started(self._reader)
            except OSError:  # the system has no process, memory or file left
                return self._reader.read_reply(expected, reply)
            try:
                read = await process.read(expected, reply, seconds, MEMORY + MEMORY_PER_BYTE * size)
            except (OSError, EOFError):
                return self._reader.give_up(expected, reply, process.reason(seconds))
            self._idle.append(process)
            return read

    def close(self) -> None:
        """End the processes that read nothing."""
        while self._idle:
            self._idle.pop().close()


async def _started(reader: AnswerReader) -> "_ReaderProcess":
    """Start a process. Raises OSError when the system has no room for one."""
    process, ours = _spawned()
    streams = await asyncio.open_unix_connection(sock=ours)
    streams[1].write(framed(reader))
    return _ReaderProcess(process, *streams)


def _spawned() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *sys.path],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,  # it ends when this does; nothing is read from it before
            )
    except OSError:
        ours.close()
        raise
    return process, ours


class _ReaderProcess:
    """A process that reads one answer at a time. It ends when this process does."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process, self._reader, self._writer = process, reader, writer

    async def read(self, expected: Expected, reply: Reply, seconds: float, memory: int) -> ReadReply:
        """Let it read an answer. Raises OSError or EOFError when it ends without one."""
        self._writer.write(framed((expected, reply, seconds, memory)))
        await self._writer.drain()
        size = SIZE.unpack(await self._reader.readexactly(SIZE.size))[0]
        read: ReadReply = pickle.loads(await self._reader.readexactly(size))
        return read

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._last_words()

    def reason(self, seconds: float) -> str:
        """Say why it ended by itself."""
        words = self._last_words()
        code = self._process.returncode
        if code == -signal.SIGPROF:
            return f"that took more than {seconds:.1f} s of CPU time"
        if "memory" in words.lower():
            return "that took too much memory"
        how = signal.Signals(-code).name if code < 0 else str(code)
        last = next((line.strip() for line in reversed(words.split("\n")) if line.strip()), "no reason given")
        return f"the process that did it ended with {how}: {last}"

    def _last_words(self) -> str:
        """Wait for its end; return what it wrote to stderr."""
        self._writer.close()
        with self._process as process:
            assert process.stderr is not None
            return process.stderr.read().decode("utf-8", "replace")
