"""Messages between the two processes, sent in small batches so that neither side has to wait for the other."""

import asyncio
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from llmbatch.dialects.answer_reader import AnswerReader

__all__ = ["Channel", "NewHeaders", "TransportSettings"]

_SIZE = struct.Struct("<Q")

TOGETHER = 16
"""The largest batch, unless a sixteenth of what may be in flight is more. One iteration of the event loop produces most
of what is in flight: sent as one batch, each process would wait for the other. Single messages cost more CPU."""


class Channel(asyncio.Protocol):
    """One end of a socket pair. `received` is called with each message.

    `leaving` is called with the messages of each batch before it is sent, and returns those of them that may be sent.

    `lost` is called once when the connection ends: with None when the other end closed it, else with the error, so that
    no one waits for a message that could not be written or read because memory ran out.

    Messages are pickled, which is safe since both ends are ours. What waits to be written is bounded by what is in
    flight, so writing is never paused.
    """

    def __init__(
        self,
        received: Callable[[Any], None],
        lost: Callable[[Exception | None], None],
        leaving: Callable[[list[Any]], list[Any]] = lambda messages: messages,
    ) -> None:
        self._on_message = received
        self._lost = lost
        self._leaving = leaving
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._error: Exception | None = None
        """The first error at this end."""
        self._batch: list[Any] = []
        self._parts: list[bytes] = []
        self._received = 0
        self._needed = _SIZE.size
        self._together = TOGETHER

    def expect(self, in_flight: int) -> None:
        """Set how many messages may be in flight; larger batches pay then."""
        self._together = max(TOGETHER, in_flight // 16)

    def put(self, message: Any) -> None:
        """Send a message, at the latest at the end of this iteration of the event loop."""
        batch = self._batch
        if not batch:
            self._loop.call_soon(self._flush)
        batch.append(message)
        if len(batch) >= self._together:
            self._flush()

    def close(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        if not self._batch:
            return  # sent before
        batch, self._batch = self._batch, []
        try:
            pickled = pickle.dumps(self._leaving(batch), pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            self._break(error)
            return
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_SIZE.pack(len(pickled)) + pickled)

    def _break(self, error: Exception) -> None:
        self._error = error
        self.close()

    # The event loop calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)  # write at once, not at the end of the iteration

    def data_received(self, data: bytes) -> None:
        """Pass on the messages of every complete batch."""
        try:
            self._read(data)
        except Exception as error:
            self._break(error)

    def _read(self, data: bytes) -> None:
        self._parts.append(data)
        self._received += len(data)
        if self._received < self._needed:
            return
        received = memoryview(data if len(self._parts) == 1 else b"".join(self._parts))
        at, end = 0, len(received)
        while True:
            begin = at + _SIZE.size
            self._needed = _SIZE.size if end < begin else _SIZE.size + _SIZE.unpack_from(received, at)[0]
            if end - at < self._needed:
                break
            pickled, at = received[begin : at + self._needed], at + self._needed
            for message in pickle.loads(pickled):
                self._on_message(message)
        self._parts = [bytes(received[at:])] if at < end else []
        self._received = end - at

    def connection_lost(self, error: Exception | None) -> None:
        """Report the end of the connection."""
        self._lost(self._error or error)


@dataclass(frozen=True, slots=True)
class NewHeaders:
    """The headers of all requests from now on. Their values are secret, so they are never shown."""

    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """Where requests go, and how long they may take in seconds. `lanes` may be open at once."""

    base_urls: tuple[str, ...]
    headers: Mapping[str, str] = field(repr=False)
    ca_file: str | None
    reader: AnswerReader
    """Reads the answers in the other process."""
    connect_timeout: float
    timeout: float
    lanes: int
    logged: bool
    """Whether every attempt is logged in a line."""
