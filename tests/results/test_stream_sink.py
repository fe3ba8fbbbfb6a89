"""Where result lines go when the disk is full, the reader slow or gone, or the file no file."""

import errno
import json
import os
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from llmbatch.core.errors import OutputError, ReaderGone
from llmbatch.core.fault import Fault, Kind
from llmbatch.core.job import Identity
from llmbatch.core.outcome import InvalidRecord, Outcome
from llmbatch.results.stream_sink import StreamSink


def numbered(*numbers: int) -> list[Outcome | InvalidRecord]:
    return [InvalidRecord(Identity(n, None, "r"), Fault(kind=Kind.INVALID_RECORD, message=""), {}) for n in numbers]


def render(outcome: Outcome | InvalidRecord) -> bytes:
    assert isinstance(outcome, InvalidRecord)
    return b'{"n":%d,"pad":"%s"}\n' % (outcome.identity.index, b"x" * 80)


def numbers(content: bytes) -> list[int]:
    assert content == b"" or content.endswith(b"\n")
    return [json.loads(line)["n"] for line in content.splitlines()]


class Short:
    """`os.write` that takes little at a time and stops at so many bytes in all, as a full disk does."""

    def __init__(self, room: int, most: int = 7) -> None:
        self.room = room
        self._most = most
        self._write = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(fd, data[: min(self.room, self._most)])
        self.room -= written
        return written


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        with suppress(OSError):  # the test closed it
            os.close(fd)


# a stream


def test_lines_go_to_the_descriptor(pipe: tuple[int, int]) -> None:
    StreamSink(pipe[1], render).write(numbered(1, 2))
    assert numbers(os.read(pipe[0], 65536)) == [1, 2]


def test_a_stream_that_takes_little_at_a_time_gets_everything(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", Short(10_000))
    StreamSink(pipe[1], render).write(numbered(*range(20)))
    assert numbers(os.read(pipe[0], 65536)) == list(range(20))


def test_a_reader_that_went_away_is_told_every_time(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    sink = StreamSink(pipe[1], render)
    for _ in range(3):
        with pytest.raises(ReaderGone):
            sink.write(numbered(1))


def test_a_full_device_is_an_output_error_every_time() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        sink = StreamSink(fd, render)
        for _ in range(3):
            with pytest.raises(OutputError, match="No space"):
                sink.write(numbered(1))
    finally:
        os.close(fd)


def test_nothing_follows_a_torn_line(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    short = Short(150)
    monkeypatch.setattr(os, "write", short)
    sink = StreamSink(pipe[1], render)
    with pytest.raises(OutputError):
        sink.write(numbered(1, 2))
    short.room = 10_000
    with pytest.raises(OutputError):
        sink.write(numbered(3))
    assert b'"n":3' not in os.read(pipe[0], 65536)


def test_a_pipe_that_somebody_made_non_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    received = bytearray()

    def read() -> None:
        while chunk := os.read(reading, 4096):
            received.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    StreamSink(writing, render).write(numbered(*range(5000)))
    os.close(writing)
    reader.join()
    assert numbers(bytes(received)) == list(range(5000))


NASTY = "\x1b]0;owned\x07 \x9b31m \u202e\u2066 \u200b\ufeff \x7f\u2028"


def test_on_a_terminal_what_it_would_act_on_is_escaped_and_means_the_same(pipe: tuple[int, int]) -> None:
    from llmbatch.codec.json import dumps

    StreamSink(pipe[1], lambda outcome: dumps({"text": NASTY}) + b"\n", escape=True).write(numbered(1, 2))
    shown = os.read(pipe[0], 65536).decode()
    assert not set(NASTY) - {" "} - set("]0;owned31m") & set(shown)
    assert [json.loads(line)["text"] for line in shown.split("\n")[:-1]] == [NASTY, NASTY]


def test_raw_text_cannot_drive_a_terminal(pipe: tuple[int, int]) -> None:
    StreamSink(pipe[1], lambda outcome: NASTY.encode() + b"\n", escape=True).write(numbered(1))
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(os.read(pipe[0], 65536).decode())


def test_where_no_terminal_reads_nothing_is_escaped(pipe: tuple[int, int]) -> None:
    StreamSink(pipe[1], lambda outcome: "\u202e\n".encode()).write(numbered(1))
    assert os.read(pipe[0], 65536) == "\u202e\n".encode()
