"""A raw TCP server that acts a script per connection and keeps what it received."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Script = Callable[["Peer"], Awaitable[None]]


@dataclass
class Seen:
    """A request as it came."""

    head: bytes
    body: bytes = b""

    @property
    def line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]


class Peer:
    """The server's end of one connection. `over` is set once the client's end was seen closed."""

    def __init__(self, server: "Server", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.heard = asyncio.Event()
        self.over = asyncio.Event()

    async def head(self) -> Seen:
        """Read a request up to its body."""
        seen = Seen(await self.reader.readuntil(b"\r\n\r\n"))
        self.server.requests.append(seen)
        self.heard.set()
        return seen

    async def request(self) -> Seen:
        """Read a whole request."""
        seen = await self.head()
        length = next((int(value) for name, value in seen.headers if name.lower() == b"content-length"), 0)
        seen.body = await self.reader.readexactly(length)
        return seen

    async def say(self, *pieces: bytes) -> None:
        """Send bytes, each piece in a packet of its own as far as that can be had. Raises ConnectionError."""
        for piece in pieces:
            if self.writer.is_closing():  # uvloop refuses to write then, asyncio does nothing
                raise ConnectionResetError
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def gone(self) -> None:
        """Wait until the client closes, reading what it still sends."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass
        self.over.set()

    async def close(self) -> None:
        """Close in good order, and return when it is done."""
        self.writer.close()
        await self._left()

    async def _left(self) -> None:
        with suppress(ConnectionError):
            await self.writer.wait_closed()
        for _ in range(2):
            await asyncio.sleep(0)  # uvloop says closed one turn before it is

    async def reset(self) -> None:
        """Close with a reset, and return when it has left."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        await self._left()

    def end_now(self) -> None:
        """Send the end of the stream within this very call, behind the loop's back."""
        with socket.socket(fileno=socket.dup(self.writer.get_extra_info("socket").fileno())) as double:
            double.shutdown(socket.SHUT_WR)

    def say_now(self, data: bytes) -> None:
        """Send bytes within this very call, behind the loop's back."""
        with socket.socket(fileno=socket.dup(self.writer.get_extra_info("socket").fileno())) as double:
            double.send(data)


@dataclass
class Server:
    """What the test sees of it: connection n plays script n, the last one plays for all that follow."""

    scripts: tuple[Script, ...]
    scheme: str = "http"
    port: int = 0
    peers: list[Peer] = field(default_factory=list)
    requests: list[Seen] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    accepted: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def heard(self, index: int) -> Peer:
        """Wait until connection number `index` has brought a request's head; return our end of it."""
        async with self.accepted:
            await self.accepted.wait_for(lambda: len(self.peers) > index)
        await self.peers[index].heard.wait()
        return self.peers[index]

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/v1"

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self.scripts[min(len(self.peers), len(self.scripts) - 1)]
        peer = Peer(self, reader, writer)
        self.peers.append(peer)
        self.tasks.append(asyncio.create_task(self.play(script, peer)))

    async def play(self, script: Script, peer: Peer) -> None:
        async with self.accepted:
            self.accepted.notify_all()
        try:
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            peer.over.set()  # the client went away: what it wanted is the test's to judge
        finally:
            peer.writer.transport.abort()


@asynccontextmanager
async def serving(
    *scripts: Script, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Server]:
    """Serve while the block lasts; then fail with what a script failed with."""
    server = Server(scripts, "https" if context else "http")
    listener = await asyncio.start_server(server.accept, host, 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in server.tasks:
            task.cancel()
        results = await asyncio.gather(*server.tasks, return_exceptions=True)
        for peer in server.peers:
            peer.writer.transport.abort()
        await asyncio.sleep(0)
        await listener.wait_closed()
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


def ok(body: bytes = b'{"ok":true}', *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """Build an answer with a length."""
    lines = [b"HTTP/1.1 " + status, *headers, b"content-length: %d" % len(body), b"", body]
    return b"\r\n".join(lines)


def answering(*answers: bytes) -> Script:
    """Answer one request after the other; the last answer serves all further ones."""

    async def script(peer: Peer) -> None:
        turn = 0
        while True:
            await peer.request()
            await peer.say(answers[min(turn, len(answers) - 1)])
            turn += 1

    return script


def saying(*pieces: bytes) -> Script:
    """Answer the first request with these pieces, then wait for the client to close."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(*pieces)
        await peer.gone()

    return script


def ending(*pieces: bytes) -> Script:
    """Answer the first request with these pieces, then close."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(*pieces)

    return _closing(script)


def _closing(script: Script) -> Script:
    async def closing(peer: Peer) -> None:
        await script(peer)
        await peer.close()

    return closing


async def silence(peer: Peer) -> None:
    """Read a request and never answer."""
    await peer.request()
    await peer.gone()
