"""Where result lines go when the disk is full, the reader slow or gone, or the file no file."""

import errno
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from llmbatch.core.errors import OutputError, ReaderGone, UsageError
from llmbatch.core.fault import Fault, Kind
from llmbatch.core.job import Identity
from llmbatch.core.outcome import Outcome, Refused
from llmbatch.records.sink import FileSink, StreamSink


def numbered(*numbers: int) -> list[Outcome | Refused]:
    return [Refused(Identity(n, None, "r"), Fault(kind=Kind.INVALID_RECORD, message=""), {}) for n in numbers]


def render(outcome: Outcome | Refused) -> bytes:
    assert isinstance(outcome, Refused)
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


# a file


def test_a_new_file_is_private_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for batch in ((1, 2), (3,)):
        with FileSink(path, render) as sink:
            sink.write(numbered(*batch))
            sink.sync()
    assert numbers(path.read_bytes()) == [1, 2, 3] and path.stat().st_mode & 0o777 == 0o600


def test_when_the_disk_is_full_the_file_ends_with_a_whole_line_and_the_rest_is_rescued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rescue = tmp_path / "out.jsonl", tmp_path / "rescue"
    rescue.mkdir()
    real, short = os.write, Short(250, most=100)
    with FileSink(path, render, rescue_dir=rescue) as sink:
        file = os.stat(path).st_ino
        monkeypatch.setattr(os, "write", lambda fd, data: (short if os.fstat(fd).st_ino == file else real)(fd, data))
        sink.write(numbered(1))
        for batch in ((2, 3), (4,)):
            with pytest.raises(OutputError, match=str(rescue)):
                sink.write(numbered(*batch))
    (saved,) = rescue.iterdir()
    assert (numbers(path.read_bytes()), numbers(saved.read_bytes())) == ([1], [2, 3, 4])


def test_when_nothing_can_be_rescued_either_it_is_said_how_much_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"
    with FileSink(path, render, rescue_dir=tmp_path) as sink:
        sink.write(numbered(1))
        monkeypatch.setattr(os, "write", Short(50))
        with pytest.raises(OutputError, match="2 answers could not be saved elsewhere"):
            sink.write(numbered(2, 3))
    (saved,) = tmp_path.glob("*.rescue.jsonl")
    assert numbers(path.read_bytes()) == [1] and numbers(saved.read_bytes()) == []


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_sink import numbered, render
from llmbatch.core.errors import OutputError
from llmbatch.records.sink import FileSink
folder = Path(sys.argv[1])
with FileSink(folder / "out.jsonl", render, rescue_dir=folder) as sink:
    sink.write(numbered(1, 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (250, 250))
    try:
        sink.write(numbered(3, 4))
    except OutputError as error:
        print(error)
"""


def test_the_real_limit_of_a_file_cuts_it_back_and_rescues(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] in (resource.RLIM_INFINITY, -1)
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    (saved,) = tmp_path.glob("*.rescue.jsonl")
    assert str(saved) in result.stdout and "File too large" in result.stdout
    assert (numbers((tmp_path / "out.jsonl").read_bytes()), numbers(saved.read_bytes())) == ([1, 2], [3, 4])


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a regular file"):
        FileSink(tmp_path, render)


@pytest.mark.parametrize("read", [True, False])
def test_a_named_pipe_is_refused_without_waiting_for_a_reader(tmp_path: Path, *, read: bool) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if read else None
    try:
        with pytest.raises(UsageError, match="not a regular file"):
            FileSink(path, render)
    finally:
        if reader is not None:
            os.close(reader)


def test_a_device_is_refused() -> None:
    with pytest.raises(UsageError, match="not a regular file"):
        FileSink(Path("/dev/full"), render)


def test_a_file_in_no_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        FileSink(tmp_path / "nowhere" / "out.jsonl", render)
