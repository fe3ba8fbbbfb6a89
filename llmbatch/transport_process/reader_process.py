"""The process that reads answers one after the other, each within bounds of CPU time and memory."""

import io
import os
import pickle
import resource
import signal
import socket
import struct
from contextlib import suppress
from typing import Any

from llmbatch.core.parent import end_with_parent

__all__ = ["SIZE", "framed", "main"]

SIZE = struct.Struct("<Q")
"""Goes before each message: its length."""

_NICE = 5
"""The run and its connections go first."""
_PAGE = resource.getpagesize()


def main() -> None:
    """Serve the process at the other end of stdin, which sends an AnswerReader, then messages for each answer.

    A message has the answer, what is expected of it, and its bounds: seconds of CPU time and bytes of memory.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(2)
    with suppress(OSError):
        os.nice(_NICE)
    with socket.socket(fileno=0) as sock, sock.makefile("rwb") as stream:
        reader = _received(stream)
        while (order := _received(stream)) is not None:
            expected, reply, seconds, memory = order
            _allow(memory)
            # The kernel ends the process even inside a library, where Python could not check the time.
            signal.setitimer(signal.ITIMER_PROF, seconds)
            answer = framed(reader.read_reply(expected, reply))
            signal.setitimer(signal.ITIMER_PROF, 0)
            stream.write(answer)
            stream.flush()
            del order, reply, answer


def framed(message: object) -> bytes:
    """Return a message as it is sent in either direction. Both ends are ours, so pickling is safe."""
    pickled = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return SIZE.pack(len(pickled)) + pickled


def _received(stream: io.BufferedRWPair) -> Any:
    size = stream.read(SIZE.size)
    return pickle.loads(stream.read(SIZE.unpack(size)[0])) if size else None


def _allow(memory: int) -> None:
    """Limit the address space to what is in use and `memory` more bytes."""
    with suppress(OSError, ValueError):  # no /proc, or a lower limit already
        with open("/proc/self/statm", "rb") as file:
            used = int(file.read().split()[0]) * _PAGE
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
