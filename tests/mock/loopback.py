"""A mock provider on loopback and raw connections to it."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel

from llmbatch.mock.server import serve
from llmbatch.mock.settings import MockSettings

PATIENCE = 20.0


@contextmanager
def running(settings: MockSettings, *, uvloop: bool = True) -> Iterator[str]:
    """Serve in a thread with a loop of its own, gone when the block ends; yield the base URL."""
    ready: SimpleQueue[Any] = SimpleQueue()

    async def main() -> None:
        stop = anyio.Event()
        ready.put((anyio.lowlevel.current_token(), stop))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(serve, settings, started=ready.put))
            await stop.wait()
            tasks.cancel_scope.cancel()

    thread = threading.Thread(target=partial(anyio.run, main, backend_options={"use_uvloop": uvloop}))
    thread.start()
    token, stop = ready.get(timeout=PATIENCE)
    try:
        yield ready.get(timeout=PATIENCE)
    finally:
        token.native_token.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the mock provider did not stop"


class Wire:
    """A raw connection: what was sent and received is bytes."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)
        self.received = bytearray()

    def send(self, raw: bytes) -> None:
        self.socket.sendall(raw)

    def read_answer(self) -> tuple[bytes, bytes]:
        """Return the head and the body of one answer with a content length; what comes after stays unread."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            assert byte, f"closed after {head!r}"
            head += byte
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        body = b""
        while len(body) < length:
            part = self.socket.recv(length - len(body))
            assert part, f"closed after {body!r}"
            body += part
        return head, body

    def read_to_end(self) -> bytes:
        """Return all that comes until the server closes its side; after a reset it is in `received`."""
        while part := self.socket.recv(65536):
            self.received += part
        return bytes(self.received)


def post(body: bytes, *headers: str, path: str = "/v1/chat/completions") -> bytes:
    """Write a request by hand."""
    lines = [f"POST {path} HTTP/1.1", "host: mock", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chat_request(prompt: Any, *headers: str, **fields: Any) -> bytes:
    """Write a chat request by hand."""
    asked = {"model": "mock-1", "messages": [{"role": "user", "content": prompt}], **fields}
    return post(json.dumps(asked).encode(), *headers)
