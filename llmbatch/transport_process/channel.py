"""Messages between our two processes: several travel together, but never so many that the other side has to wait."""

import asyncio
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from llmbatch.dialects.answer_reader import AnswerReader

__all__ = ["Channel", "TransportSettings"]

_SIZE = struct.Struct("<Q")

TOGETHER = 16
"""Messages that travel together at most, or a sixteenth of what may be in flight. All that a turn of the loop brings
would be most of it: the two processes would work by turns. Sixteen take a sixth off the time of a run of 64 workers;
each alone costs more CPU."""


class Channel(asyncio.Protocol):
    """One end of a socket pair. `took` gets each message that comes.

    `lost` is called once when the connection is over: with None when the other end hung up, or with what went wrong.
    For want of memory a message may fail to be written or read, and who waits for it must know.

    Messages are whatever pickle takes: only processes of ours have an end. What waits to be written is bounded by
    what is in flight, so writing is never paused.
    """

    def __init__(self, took: Callable[[Any], None], lost: Callable[[Exception | None], None]) -> None:
        self._took = took
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._error: Exception | None = None
        """What went wrong at this end."""
        self._leaving: list[Any] = []
        self._parts: list[bytes] = []
        self._received = 0
        self._needed = _SIZE.size
        self._together = TOGETHER

    def expect(self, in_flight: int) -> None:
        """Learn how many messages there may be under way."""
        self._together = max(TOGETHER, in_flight // 16)

    def put(self, message: Any) -> None:
        """Send a message, at the latest when this turn of the loop is over."""
        leaving = self._leaving
        if not leaving:
            self._loop.call_soon(self._flush)
        leaving.append(message)
        if len(leaving) >= self._together:
            self._flush()

    def close(self) -> None:
        """Hang up, without another word."""
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        if not self._leaving:
            return  # they left before
        try:
            batch = pickle.dumps(self._leaving, pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            self._break(error)
            return
        self._leaving = []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_SIZE.pack(len(batch)) + batch)

    def _break(self, error: Exception) -> None:
        self._error = error
        self.close()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)  # what is written leaves at once, not when the turn is over

    def data_received(self, data: bytes) -> None:
        """Hand on every message of the batches that are whole."""
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
            batch, at = received[begin : at + self._needed], at + self._needed
            for message in pickle.loads(batch):
                self._took(message)
        self._parts = [bytes(received[at:])] if at < end else []
        self._received = end - at

    def connection_lost(self, error: Exception | None) -> None:
        """Say that nothing more will come."""
        self._lost(self._error or error)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """Where requests go, and how long for. Times in seconds; `lanes` may be open at once."""

    base_urls: tuple[str, ...]
    headers: Mapping[str, str] = field(repr=False)
    ca_file: str | None
    reader: AnswerReader
    """Reads the answers there."""
    connect: float
    attempt: float
    lanes: int
    logged: bool
    """Every attempt is told in a line."""
