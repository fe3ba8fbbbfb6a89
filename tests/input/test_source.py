"""Inputs by name, format and kind of file."""

import bz2
import gzip
import json
import lzma
import os
import select
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest

from llmbatch.core.errors import InputError, UsageError
from llmbatch.input.source import Entry, Source, open_source

MAX_LINE = 1 << 20
POLL = select.poll


def drain(source: Source, limit: int = 64) -> list[Entry]:
    entries: list[Entry] = []
    with closing(source):
        while batch := source.read(limit):
            assert len(batch) <= limit
            entries += batch
    return entries


def values(path: Path | str, format: str | None = None, max_line: int = MAX_LINE) -> list[object]:
    return [entry.error or entry.value for entry in drain(open_source([str(path)], format=format, max_line=max_line))]


@pytest.fixture
def pipe() -> Iterator[tuple[str, BinaryIO]]:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb", buffering=0) as file:
        yield f"/dev/fd/{reading}", file
    os.close(reading)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", b'{"prompt":"x"}\n', [{"prompt": "x"}]),
        ("a.ndjson", b'"x"\n', ["x"]),
        ("a.weird", b'"x"\n', ["x"]),
        ("a.json", b'[{"prompt":"x"}, "y"]', [{"prompt": "x"}, "y"]),
        ("a.csv", b"q,n\nx,1\n", [{"q": "x", "n": "1"}]),
        ("a.TSV", b'q\tn\n"x\ty"\t1\n', [{"q": "x\ty", "n": "1"}]),
        ("a.txt", b"one\ntwo", [{"prompt": "one"}, {"prompt": "two"}]),
        ("a.text", b"one", [{"prompt": "one"}]),
        ("a.md", b"# one", [{"prompt": "# one"}]),
    ],
)
@pytest.mark.parametrize("pack", [None, gzip, bz2, lzma])
def test_format_follows_the_name_through_compression(tmp_path, name, content, expected, pack):
    suffix = {None: "", gzip: ".gz", bz2: ".bz2", lzma: ".XZ"}[pack]
    path = tmp_path / (name + suffix)
    path.write_bytes(pack.compress(content) if pack else content)
    assert values(path) == expected


@pytest.mark.parametrize("format", ["jsonl", "openai-batch", "cookbook"])
def test_given_format_wins_over_the_name(tmp_path, format):
    path = tmp_path / "a.csv"
    path.write_bytes(b'{"prompt":"x"}\n')
    assert values(path, format) == [{"prompt": "x"}]


def test_inputs_follow_one_another_and_say_where_a_record_is(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'"a1"\n"a2"')
    (tmp_path / "b.csv").write_bytes(b"q\nb1\n")
    (tmp_path / "c.json").write_bytes(b'["c1"]')
    paths = [str(tmp_path / name) for name in ("a.jsonl", "b.csv", "c.json")]
    entries = drain(open_source(paths, format=None, max_line=MAX_LINE))
    assert [entry.where for entry in entries] == [
        f"{paths[0]} line 1",
        f"{paths[0]} line 2",
        f"{paths[1]} row 2 (line 2)",
        f"{paths[2]} element 1",
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "txt"])
def test_empty_input_has_no_records(tmp_path, suffix):
    for content in (b"", b"\xef\xbb\xbf", b"\n \n"[: 0 if suffix in ("csv", "tsv") else None]):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(content)
        assert values(path) == []


def test_every_path_is_checked_before_the_first_record(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'"x"\n')
    with pytest.raises(InputError, match=r"cannot read .*b\.jsonl: No such file") as caught:
        open_source([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")], format=None, max_line=MAX_LINE)
    assert "\n" not in caught.value.message
    with pytest.raises(InputError, match="is a directory"):
        open_source([str(tmp_path)], format=None, max_line=MAX_LINE)
    with pytest.raises(InputError, match="cannot read"):
        open_source(["a\0b"], format=None, max_line=MAX_LINE)


@pytest.mark.parametrize("name", ["missing.jsonl", "missing.jsonl.gz"])
def test_file_that_vanishes_before_its_turn_is_an_input_error(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"")
    source = open_source([str(path)], format=None, max_line=MAX_LINE)
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        source.read(1)
    source.close()


def test_unknown_formats_are_usage_errors(tmp_path):
    for name, format in (("a.parquet.gz", None), ("a.jsonl", "yaml")):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(UsageError):
            open_source([str(tmp_path / name)], format=format, max_line=MAX_LINE)
    with pytest.raises(UsageError, match="twice"):
        open_source(["-", "-"], format=None, max_line=MAX_LINE)


def test_zstd_without_its_extra_names_the_extra(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    (tmp_path / "a.jsonl.zst").write_bytes(b"")
    with pytest.raises(UsageError) as caught:
        open_source([str(tmp_path / "a.jsonl.zst")], format=None, max_line=MAX_LINE)
    assert caught.value.hint == "pip install 'llmbatch[zstd]'"


@pytest.mark.parametrize("pack", [gzip, bz2, lzma])
@pytest.mark.parametrize("damage", ["cut", "zeroed", "filled"])
def test_damaged_compressed_file_is_an_input_error_when_it_is_read(tmp_path, pack, damage):
    packed = bytearray(pack.compress(b"".join(b'"%d"\n' % (number * 7919) for number in range(50_000))))
    if damage == "cut":
        del packed[len(packed) // 2 :]
    else:
        packed[len(packed) // 2 : len(packed) // 2 + 64] = (b"\0" if damage == "zeroed" else b"\xff") * 64
    path = tmp_path / ("a.jsonl" + {gzip: ".gz", bz2: ".bz2", lzma: ".xz"}[pack])
    path.write_bytes(packed)
    with pytest.raises(InputError, match="damaged"):
        drain(open_source([str(path)], format=None, max_line=MAX_LINE))


def test_stdin_is_jsonl_and_stays_open(tmp_path):
    path = tmp_path / "in"
    path.write_bytes(b'"x"\n')
    saved, file = os.dup(0), os.open(path, os.O_RDONLY)
    try:
        os.dup2(file, 0)
        entries = drain(open_source([], format=None, max_line=MAX_LINE))
        os.fstat(0)
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(file)
    assert entries == [Entry("line 1", "x", None, b"")]


@pytest.mark.parametrize(
    ("format", "pieces", "expected"),
    [
        ("jsonl", [b'"a"\n"b', b'"\n'], [["a"], ["b"]]),
        ("text", [b"a\nb", b"\n"], [[{"prompt": "a"}], [{"prompt": "b"}]]),
        ("csv", [b'q\na\n"b\n', b'c"\n'], [[{"q": "a"}], [{"q": "b\nc"}]]),
    ],
)
def test_what_is_there_is_returned_without_waiting_for_more(pipe, format, pieces, expected):
    path, writing = pipe
    source = open_source([path], format=format, max_line=MAX_LINE)
    for piece, records in zip(pieces, expected, strict=True):
        writing.write(piece)
        assert [entry.value for entry in source.read(64)] == records
    writing.close()
    assert source.read(64) == []
    source.close()


@pytest.mark.parametrize("format", ["jsonl", "json", "csv", "text"])
@pytest.mark.parametrize("before", [b"", b'["', b"a,b\n1,", b"not json\n"])
def test_interrupt_ends_a_blocked_read_for_good(pipe, format, before):
    path, writing = pipe
    writing.write(before)
    source = open_source([path], format=format, max_line=MAX_LINE)
    rest: list[Entry] = []
    first_read = threading.Event()

    def read() -> None:
        while batch := source.read(64):
            rest.extend(batch)
            first_read.set()
        first_read.set()

    reader = threading.Thread(target=read)
    reader.start()
    if format == "text" and before.endswith(b"\n"):
        assert first_read.wait(10)
    source.interrupt()
    reader.join(10)
    assert not reader.is_alive()
    writing.write(b"\n1\n")
    assert source.read(64) == []
    source.close()
    source.interrupt()


class InterruptingPoll:
    """A poll that, instead of waiting, has the source interrupted: just when a read would block."""

    source: Source

    def __init__(self) -> None:
        self._poll = POLL()
        self.register = self._poll.register

    def poll(self) -> None:
        if not self._poll.poll(0):
            self.source.interrupt()
            self._poll.poll()


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("in.jsonl", b""),
        ("in.jsonl", b'["'),
        ("in.jsonl", b"not json\n"),
        ("in.jsonl.gz", gzip.compress(b'"x"\n', mtime=0)[:12]),
        ("in.json", b'["x"'),
        ("in.csv", b'a,b\n"x'),
        ("in.csv", b'"a'),
        ("in.txt", b"half a li"),
    ],
)
def test_what_an_interrupt_cuts_short_is_no_record_and_no_error(tmp_path, monkeypatch, name, before):
    monkeypatch.setattr("llmbatch.input.byte_stream.select.poll", InterruptingPoll)
    fifo = tmp_path / name
    os.mkfifo(fifo)
    with closing(open_source([str(fifo)], format=None, max_line=MAX_LINE)) as source:
        InterruptingPoll.source = source
        writing = os.open(fifo, os.O_RDWR)
        os.write(writing, before)
        assert source.read(64) == []
        assert source.read(64) == []
        os.close(writing)


def test_interrupt_ends_the_wait_for_a_writer_and_for_compressed_bytes(tmp_path):
    fifo = tmp_path / "in.jsonl.gz"
    os.mkfifo(fifo)
    for head in (b"", gzip.compress(b'"x"\n' * 1000, mtime=0)[:40]):
        source = open_source([str(fifo)], format=None, max_line=MAX_LINE)
        writing = os.open(fifo, os.O_RDWR) if head else -1
        if head:
            os.write(writing, head)
        reader = threading.Thread(target=drain, args=(source,))
        reader.start()
        source.interrupt()
        reader.join(10)
        assert not reader.is_alive()
        if head:
            os.close(writing)


def test_fifo_is_read_to_its_end(tmp_path):
    fifo = tmp_path / "in.jsonl"
    os.mkfifo(fifo)
    source = open_source([str(fifo)], format=None, max_line=MAX_LINE)

    def write() -> None:
        with open(fifo, "wb") as file:
            file.writelines(b'{"prompt":"%d"}\n' % number for number in range(20_000))

    writer = threading.Thread(target=write)
    writer.start()
    prompts = [entry.value["prompt"] for entry in drain(source)]
    writer.join(10)
    assert prompts == [str(number) for number in range(20_000)]


@pytest.mark.parametrize("content", [b'{"prompt":"x"}\n{"prompt":"y"}\n', b'{"a":1}', b"[1, 2", b'["\xff"]'])
def test_json_that_is_no_array_names_the_way_out(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json is") as caught:
        values(path)
    assert "jq -c '.[]'" in (caught.value.hint or "")
    assert "--input-format jsonl" in (caught.value.hint or "")


def test_json_array_that_is_too_large_names_jq(tmp_path, monkeypatch):
    monkeypatch.setattr("llmbatch.input.json_array._LARGEST", 1000)
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps(["x" * 1000]).encode())
    with pytest.raises(InputError, match="larger") as caught:
        values(path)
    assert "jq -c '.[]'" in (caught.value.hint or "")


def test_json_elements_that_are_too_deep_are_errors_of_their_own(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'["a",' + b"[" * 600 + b"]" * 600 + b',"b"]')
    first, deep, last = values(path)
    assert (first, last) == ("a", "b")
    assert "element 2: nested deeper" in str(deep)


def test_fraction_is_of_the_bytes_of_all_files_and_unknown_for_a_pipe(tmp_path, pipe):
    plain, packed = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress(b'"x"\n', mtime=0))
    plain.write_bytes(b'"x"' + b" " * (packed.stat().st_size - 4) + b"\n")
    with closing(open_source([str(plain), str(packed)], format=None, max_line=MAX_LINE)) as source:
        fractions = [source.fraction]
        while source.read(64):
            fractions.append(source.fraction)
        assert [*fractions, source.fraction] == [0.0, 0.5, 1.0, 1.0]
    with closing(open_source([str(plain), pipe[0]], format=None, max_line=MAX_LINE)) as source:
        assert source.fraction is None


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv", "a.json", "a.jsonl.gz"])
def test_fraction_is_of_the_records_that_were_returned_not_of_what_was_read_ahead(tmp_path, name):
    lines = [f'"question {n}"' for n in range(1000)]
    text = f"[{','.join(lines)}]" if name == "a.json" else "\n".join(lines)
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    with closing(open_source([str(tmp_path / name)], format=None, max_line=MAX_LINE)) as source:
        read = 0
        while batch := source.read(50):
            read += len(batch)
            assert source.fraction == pytest.approx(read / 1000, abs=0.1)
        assert read >= 999 and source.fraction == 1.0
