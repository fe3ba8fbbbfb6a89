"""The mock provider on the network: HTTP/1.1 connections, one task each, and the process that serves them."""

import os
import select
import signal
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
import h11
from anyio.abc import SocketAttribute, SocketListener, SocketStream

from llmbatch.core.parent import end_with_parent
from llmbatch.core.system_limits import OUT_OF_FILES, allow_open_files
from llmbatch.mock.batch_call import Call
from llmbatch.mock.batch_service import BatchService
from llmbatch.mock.error_formats import OPENAI, Refusal
from llmbatch.mock.http_writer import BROKEN, Ending, Step, broken, legal, seen_status
from llmbatch.mock.ledger import Ledger, shown_headers
from llmbatch.mock.provider import Arrival, Provider, Verdict, is_billed
from llmbatch.mock.settings import MockSettings

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

__all__ = ["run", "serve"]

_LARGEST_BODY = 64 * 2**20
_READ = 2**18
_MOST_FILES = 65_536
_ROOM = 0.05  # seconds from one attempt to accept a connection to the next while no more files may be open
_LINGER = 5.0  # seconds a client gets to read the end of an answer and to close its side
_FLUSH = 0.01  # seconds for what was sent to leave the buffers of the event loop, before a reset
_CLOSE = (b"connection", b"close")
_CONTINUE = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
_GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


def _ignore(_: str) -> None:
    """Ignore the address."""


async def serve(settings: MockSettings, *, started: Callable[[str], None] = _ignore) -> None:
    """Serve until cancelled; `started` gets the base URL once connections are accepted."""
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(settings.ledger)) if settings.ledger else None
        server = _Server(settings, ledger)
        stack.enter_context(server.batches)
        async with await SocketListener.from_socket(_listen(settings.host, settings.port)) as listener:
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            started(f"http://{host}:{listener.extra(SocketAttribute.local_port)}/v1")
            async with anyio.create_task_group() as connections:
                connections.start_soon(server.batches.run)
                while True:
                    try:
                        stream = await listener.accept()
                    except OSError as error:
                        if error.errno not in OUT_OF_FILES:
                            raise
                        await anyio.sleep(_ROOM)  # connections that end make room; until then clients wait in line
                    else:
                        connections.start_soon(server.accept, stream)


def _listen(host: str, port: int) -> socket.socket:
    """Listen on a loopback address. Looks no name up: for that the event loop needs threads, and dies without."""
    address = "127.0.0.1" if host == "localhost" else host
    listening = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(_MOST_FILES)
    except BaseException:
        listening.close()
        raise
    return listening


def run(settings: MockSettings, *, started: Callable[[str], None] = _ignore, until_stdin_closes: bool = False) -> None:
    """Serve until SIGINT or SIGTERM, or as long as the parent holds the other end of standard input, a pipe.

    Raises OSError when it cannot listen or cannot open the ledger.
    """
    if until_stdin_closes:
        end_with_parent(0)
    allow_open_files(_MOST_FILES)

    async def main() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(serve, settings, started=started))
                async for _ in signals:
                    break
                tasks.cancel_scope.cancel()

    try:
        with suppress(KeyboardInterrupt):  # a Ctrl-C before the signals are received
            anyio.run(main, backend="asyncio", backend_options={"use_uvloop": find_spec("uvloop") is not None})
    except ExceptionGroup as group:
        raise _unwrap(group) from None


def _unwrap(error: Exception) -> Exception:
    """Unwrap the single error of a task group, so that an address in use reaches the caller as an OSError."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _raw_socket(stream: SocketStream) -> Any:
    """Return the socket of a stream, None when the connection is gone.

    Call it each time: the event loop may close a broken socket, and its descriptor is soon reused. anyio also reads
    the name of the peer, which raises an error of the event loop's own where there is no peer any more.
    """
    try:
        raw = stream.extra(SocketAttribute.raw_socket)
    except (AttributeError, OSError):
        return None
    return raw if raw.fileno() >= 0 else None


def _hold_back(stream: SocketStream) -> None:
    """Read no more until somebody asks: anyio pauses a client only once it has caught up with it.

    One that sends at once and faster than its request is read would fill the memory.
    """
    if (transport := getattr(stream, "_transport", None)) is not None:
        transport.pause_reading()


def _cut_off(stream: SocketStream) -> None:
    """Close a connection with a TCP reset.

    Closing the stream may send a FIN first. Putting another file in the socket's place closes it without.
    """
    if (raw := _raw_socket(stream)) is None:
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError), open(os.devnull, "rb") as nothing:  # without it the end is not as abrupt
        os.dup2(nothing.fileno(), raw.fileno(), inheritable=False)


class _TooLarge(Exception):
    """The request body exceeds what is accepted."""


class _Server:
    """The state that all connections share."""

    def __init__(self, settings: MockSettings, ledger: Ledger | None) -> None:
        self.provider = Provider(settings, now=time.monotonic())
        self.ledger = ledger
        self.serials = count(1)
        self.batches = BatchService(settings, self.provider, ledger, self.serials, time.time)
        self.in_flight = 0
        self._connections = count(1)

    async def accept(self, stream: SocketStream) -> None:
        """Serve one connection until it ends; a client that vanishes is no error."""
        _hold_back(stream)
        async with stream:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await _Connection(self, stream, next(self._connections)).serve()


class _Connection:
    """One connection: reads requests, asks the provider what to answer, and sends the steps of the answer."""

    def __init__(self, server: _Server, stream: SocketStream, number: int) -> None:
        self._server = server
        self._stream = stream
        self._number = number
        self._http = h11.Connection(h11.SERVER)
        self._lost = False
        """Whether the connection is closed as soon as more comes in, as by a server whose keep-alive time is over."""

    async def serve(self) -> None:
        """Answer requests until the connection must end, then end it."""
        ending = Ending.CLOSE
        try:
            while isinstance(request := await self._next_event(), h11.Request):
                ending = await self._exchange(request) or Ending.CLOSE
                if self._lost:
                    await self._next_bytes()
                    ending = Ending.RESET
                if ending is Ending.RESET or self._http.our_state is not h11.DONE:
                    break
                self._http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                reply = OPENAI.refuse(Refusal(error.error_status_hint, f"Bad HTTP request: {error}"))
                await self._play(legal(self._http, reply, [_CLOSE], method=b""))
        if ending is Ending.RESET:
            await anyio.sleep(_FLUSH)
            _cut_off(self._stream)
            return
        await self._stream.send_eof()
        with anyio.move_on_after(_LINGER):
            await self._until_closed()

    async def _exchange(self, request: h11.Request) -> Ending | None:
        self._server.in_flight += 1
        try:
            return await self._play(await self._decide(request))
        finally:
            self._server.in_flight -= 1

    async def _decide(self, request: h11.Request) -> Iterator[Step]:
        """Read the body, get the verdict, wait. The ledger line is written however this ends."""
        server, serial, began = self._server, next(self._server.serials), time.monotonic()
        line: dict[str, Any] = {
            "n": serial,
            "t_start": time.time(),
            "t_end": None,
            "path": request.target.decode("ascii", "replace"),
            "key": None,
            "prompt": "",
            "status": None,
            "fault": None,
            "billed": False,
            "conn": self._number,
            "in_flight": server.in_flight,
            "aborted": True,
        }
        method, digest = request.method.decode(), sha256()
        try:
            if handler := server.batches.handler(method, line["path"]):
                call = Call(method, line["path"], dict(request.headers), self._chunks(digest))
                verdict = await server.batches.answer(handler, call)
                async for _ in call.chunks:
                    """Read what nobody wanted, so that the connection can be used again."""
                line.update(key=digest.hexdigest())
                if call.created:
                    line.update(server.batches.logged(call.created))
            else:
                body = await self._body(request, digest)
                line["key"] = key = digest.hexdigest()
                arrival = Arrival(serial, method, line["path"], dict(request.headers), body, key, server.in_flight)
                verdict = server.provider.decide(arrival, now=began, wall=line["t_start"])
            status = seen_status(verdict.reply, verdict.fault)
            fault = verdict.fault and verdict.fault.name
            line.update(prompt=verdict.prompt, fault=fault, billed=handler is None and is_billed(status))
            if verdict.delay:
                await anyio.sleep(verdict.delay)
            line.update(status=status, aborted=bool(verdict.delay) and self._is_gone())
            self._lost = verdict.silent_close
            return self._steps(request.method, verdict, serial, began)
        except _TooLarge:
            line.update(status=413, aborted=False)
            reply = OPENAI.refuse(Refusal(413, f"The request body is larger than {_LARGEST_BODY} bytes."))
            return legal(self._http, reply, [_CLOSE], method=request.method)
        finally:
            if server.ledger:
                line.update(t_end=time.time(), headers=shown_headers(request.headers))
                server.ledger.write(line)

    def _steps(self, method: bytes, verdict: Verdict, serial: int, began: float) -> Iterator[Step]:
        headers = [
            *([(verdict.request_id, b"req_%d" % serial)] if verdict.request_id else ()),
            (b"openai-processing-ms", b"%d" % ((time.monotonic() - began) * 1000)),
            *verdict.headers,
        ]
        if verdict.fault and verdict.fault.name in BROKEN:
            return broken(verdict.reply, headers, verdict.fault)
        return legal(self._http, verdict.reply, headers, method=method)

    async def _play(self, steps: Iterator[Step]) -> Ending | None:
        """Send bytes and wait, step by step; return how the connection must end, None if it stays open."""
        for step in steps:
            if isinstance(step, bytes):
                if step:
                    await self._stream.send(step)
            elif isinstance(step, float):
                await anyio.sleep(step)
            elif step is Ending.HANG:
                await self._until_closed()
            else:
                return step
        return None

    async def _body(self, request: h11.Request, digest: "Hash") -> bytes:
        """Read a request body. Raises _TooLarge, before any of it is read if the length is announced."""
        announced = next((int(value) for name, value in request.headers if name == b"content-length"), 0)
        if announced > _LARGEST_BODY:
            raise _TooLarge
        parts, size = [], 0
        async for chunk in self._chunks(digest):
            parts.append(chunk)
            size += len(chunk)
            if size > _LARGEST_BODY:
                raise _TooLarge
        return b"".join(parts)

    async def _chunks(self, digest: "Hash") -> AsyncIterator[bytes]:
        """Read a request body as it comes."""
        while isinstance(event := await self._next_event(), h11.Data):
            digest.update(event.data)
            yield bytes(event.data)

    async def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return what the client sends next. Raises h11.RemoteProtocolError when that is not HTTP."""
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                await self._stream.send(self._http.send(_CONTINUE) or b"")
            try:
                self._http.receive_data(await self._stream.receive(_READ))
            except anyio.EndOfStream:
                self._http.receive_data(b"")

    async def _next_bytes(self) -> None:
        """Wait until the client sends anything more, or closes its side."""
        with suppress(anyio.EndOfStream):
            await self._stream.receive(1)

    async def _until_closed(self) -> None:
        """Wait for the client to close its side; ignore what it sends meanwhile."""
        with suppress(anyio.EndOfStream):
            while True:
                await self._stream.receive(_READ)

    def _is_gone(self) -> bool:
        """Tell whether the client has closed the connection, without reading from it."""
        if (raw := _raw_socket(self._stream)) is None:
            return True
        poll = select.poll()
        poll.register(raw.fileno(), _GONE)
        return bool(poll.poll(0))
