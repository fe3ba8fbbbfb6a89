"""A server for counting, in a thread of the test: it keeps as many requests in flight as there are workers."""

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import uvloop

from tests.bench.servers import ANSWER, TEXT

__all__ = ["Counts", "loopback"]

BODY = ANSWER.format(text=TEXT).encode()
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Counts:
    """What the server saw. Once `together` requests wait the eldest eighth is answered, after `total` all are."""

    def __init__(self, together: int, total: int) -> None:
        self.url = ""
        self.connections = 0
        self.requests = 0
        self._together = together
        self._total = total
        self._waiting: list[asyncio.WriteTransport] = []

    def arrived(self, transport: asyncio.WriteTransport) -> None:
        """Let it wait, or answer."""
        self.requests += 1
        self._waiting.append(transport)
        if self.requests >= self._total:
            self._answer(len(self._waiting))
        elif len(self._waiting) >= self._together:
            self._answer(max(1, self._together // 8))

    def _answer(self, most: int) -> None:
        eldest, self._waiting = self._waiting[:most], self._waiting[most:]
        for transport in eldest:
            transport.write(RESPONSE)


class _Connection(asyncio.Protocol):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._counts.connections += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n") + 4) > 3:
            length = LENGTH.search(self._buffer)
            end += int(length[1]) if length else 0
            if len(self._buffer) < end:
                return
            self._buffer = self._buffer[end:]
            self._counts.arrived(self._transport)


@contextmanager
def loopback(together: int, total: int) -> Iterator[Counts]:
    """Serve; yield what is seen."""
    counts = Counts(together, total)
    loop = uvloop.new_event_loop()
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    counts.url = f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
    server = loop.run_until_complete(loop.create_server(lambda: _Connection(counts), sock=sock))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield counts
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()
