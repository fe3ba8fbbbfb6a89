"""JSON Lines and text: where lines end, and what becomes of unusable ones."""

import json
import os
import threading
import tracemalloc
from typing import Any, cast

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmbatch.core.errors import InputError
from llmbatch.input.byte_stream import ByteStream
from llmbatch.input.entry import Entry
from llmbatch.input.jsonl import JsonLines, TextLines
from llmbatch.input.lines import Lines
from llmbatch.input.source import open_source

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


class Chunks:
    """A stream that comes in the pieces it is told."""

    bytes_read = 0

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def lines(*pieces: bytes, max_line: int = 1 << 20) -> Lines:
    return Lines(cast(ByteStream, Chunks(*pieces)), max_line)


def cut(content: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(content) + 1) for place in places)
    return [content[a:b] for a, b in zip([0, *ends], [*ends, len(content)], strict=True)]


def drain(reader: Any, limit: int = 7) -> list[Entry]:
    entries: list[Entry] = []
    while batch := reader.read(limit):
        assert 1 <= len(batch) <= limit
        entries += batch
    return entries


def read(*pieces: bytes, max_line: int = 1 << 20, limit: int = 7) -> list[Entry]:
    return drain(JsonLines(lines(*pieces, max_line=max_line), name="in", prefix="line "), limit)


def encoded(value: object, *, ascii: bool) -> bytes:
    return json.dumps(value, ensure_ascii=ascii).encode()


def is_one_array(records: list[object]) -> bool:
    """Say whether lines are one line, which is all of a JSON array of records."""
    return len(records) == 1 and isinstance(records[0], list) and isinstance(next(iter(records[0]), 0), dict | str)


@given(
    records=st.lists(JSON, max_size=12),
    places=st.lists(st.integers(0, 10**6), max_size=6),
    newline=st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \t\r\n"]),
    ascii=st.booleans(),
    bom=st.booleans(),
    final=st.booleans(),
    limit=st.integers(1, 5),
)
def test_values_written_as_lines_come_back_however_they_are_cut(records, places, newline, ascii, bom, final, limit):
    assume(not is_one_array(records))
    content = newline.join(encoded(record, ascii=ascii) for record in records) + (newline if final else b"")
    entries = read(*cut(b"\xef\xbb\xbf" * bom + content, places), limit=limit)
    assert [entry.error for entry in entries] == [None] * len(records)
    assert [entry.value for entry in entries] == records


@settings(max_examples=15, deadline=None)
@given(records=st.lists(JSON, max_size=30), places=st.lists(st.integers(0, 10**6), max_size=9))
def test_values_come_back_through_a_pipe(records, places):
    assume(not is_one_array(records))
    reading, writing = os.pipe()
    content = b"".join(encoded(record, ascii=False) + b"\n" for record in records)

    def write() -> None:
        for piece in cut(content, places):
            os.write(writing, piece)
        os.close(writing)

    source = open_source([f"/dev/fd/{reading}"], format="jsonl", max_line=1 << 20)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert [entry.value for entry in drain(source)] == records
    finally:
        writer.join(10)
        source.close()
        os.close(reading)


def test_blank_lines_count_in_line_numbers():
    assert [entry.where for entry in read(b'\n"a"\n \t\r\n\n"b"')] == ["line 2", "line 5"]


def test_only_newline_bytes_end_a_line():
    text = "a\u2028b\u2029c\x85d"
    assert [entry.value for entry in read(json.dumps(text, ensure_ascii=False).encode() + b"\n")] == [text]


@pytest.mark.parametrize(
    ("line", "column", "why"),
    [
        (b'{"a": 1', 8, "unexpected end"),
        (b'{"a": NaN}', 7, "not JSON"),
        (b'{"a": Infinity}', 7, "not JSON"),
        (b'["\\ud800"]', 3, "surrogate"),
        ('{"é": "'.encode() + b'\xff"}', 8, "not UTF-8 (byte 0xff)"),
        (b'{"a": 1} x', 10, "not JSON"),
        (b"{'a': 1}", 2, "not JSON"),
        (b'\xef\xbb\xbf"a"', 1, "not JSON"),
        (b"[1e999]", 2, "infinity"),
    ],
)
def test_unusable_line_is_an_entry_that_names_line_and_column(line, column, why):
    good, bad, after = read(b'"good"\n' + line + b'\n"after"\n')
    assert (good.value, after.value) == ("good", "after")
    assert bad.error is not None
    assert bad.error.startswith(f"line 2 column {column}: ")
    assert why in bad.error
    assert bad.value is None
    assert bad.digest == line


@pytest.mark.parametrize("depth", [501, 1000, 1023, 1024, 1025, 100_000])
@pytest.mark.parametrize("leaf", [b"", b"123456789012345678901234567890"])
def test_line_nested_too_deep_is_an_entry_even_when_it_is_the_only_one(depth, leaf):
    (entry,) = read(b"[" * depth + leaf + b"]" * depth)
    assert entry.error == "line 1: nested deeper than 500 levels"
    assert entry.digest


def test_nesting_up_to_the_limit_is_fine():
    for line in (b"[" * 500 + b"]" * 500, b'{"a":' * 500 + b"1" + b"}" * 500, b'[["' + b"[" * 2000 + b'"]]'):
        assert read(line)[0].error is None


@pytest.mark.parametrize("max_line", [10, 100])
@given(places=st.lists(st.integers(0, 10**6), max_size=6), excess=st.integers(1, 300))
def test_line_that_is_too_long_is_one_entry_and_the_next_is_read(max_line, places, excess):
    long = b'"' + b"x" * (max_line + excess - 2) + b'"'
    good, bad, after = read(*cut(b'"good"\n' + long + b"\n" + b'"after"\n', places), max_line=max_line)
    assert (good.value, after.value) == ("good", "after")
    assert bad.error is not None
    assert bad.error.startswith(f"line 2 column {max_line + 1}: {len(long)} bytes")
    assert bad.digest == long + b":%d" % len(long)


def test_line_of_just_the_longest_length_is_read():
    assert [entry.value for entry in read(b'"12345678"\n"12345678"', max_line=10)] == ["12345678"] * 2


def test_endless_line_does_not_grow_memory():
    class Endless:
        bytes_read, left = 0, 400

        def read(self) -> bytes:
            self.left -= 1
            return b"x" * (1 << 18) if self.left >= 0 else b""

    reader = JsonLines(Lines(cast(ByteStream, Endless()), 1 << 20), name="in", prefix="line ")
    tracemalloc.start()
    try:
        (entry,) = drain(reader)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert f"{400 << 18:,} bytes" in (entry.error or "")
    assert len(entry.digest) < 70_000
    assert peak < 4 << 20


def test_input_without_json_among_ten_lines_names_the_text_format():
    content = b"".join(b"line of text %d\n\n" % number for number in range(12))
    for pieces in ([content], cut(content, [5, 50, 100])):
        with pytest.raises(InputError, match="none of its first 10 lines") as caught:
            read(*pieces)
        assert "--input-format text" in (caught.value.hint or "")
        assert "line 1 column 1" in caught.value.message


def test_short_input_without_json_is_recognised_at_its_end():
    with pytest.raises(InputError, match="none of its first 2 lines"):
        read(b"hello\nworld")
    with pytest.raises(InputError, match="its only line"):
        read(b"hello")


@pytest.mark.parametrize("limit", [1, 4, 64])
@pytest.mark.parametrize("bad", [1, 5, 9])
def test_lines_before_the_first_json_are_delivered_once_it_comes(bad, limit):
    entries = read(*[b"bad\n"] * bad, b'"good"\nbad\n', limit=limit)
    assert [entry.error is None for entry in entries] == [False] * bad + [True, False]
    assert [entry.where for entry in entries] == [f"line {number}" for number in range(1, bad + 3)]


def test_later_lines_that_are_not_json_do_not_change_the_format():
    assert len(read(b'"good"\n' + b"bad\n" * 30)) == 31


def test_lines_that_are_only_too_long_do_not_speak_for_another_format():
    assert len(read(b"x" * 50 + b"\n", max_line=10)) == 1


def test_text_lines_are_prompts():
    reader = TextLines(
        lines(b"\xef\xbb\xbf one \r\n\n{two}\nb\xffd\n", b"x" * 40, b"\nlast", max_line=20), prefix="line "
    )
    entries = drain(reader)
    assert [entry.value for entry in entries] == [
        {"prompt": " one "},
        {"prompt": "{two}"},
        None,
        None,
        {"prompt": "last"},
    ]
    assert [entry.error for entry in entries if entry.error] == [
        "line 4 column 2: not UTF-8 (byte 0xff)",
        "line 5 column 21: 40 bytes are more than --max-line 20",
    ]


def test_end_of_a_terminal_is_asked_for_once():
    class Terminal:
        bytes_read = 0
        answers = [b'"a"', b"", b'"b"\n']  # noqa: RUF012

        def read(self) -> bytes:
            return self.answers.pop(0)

    assert [entry.value for entry in drain(JsonLines(Lines(cast(ByteStream, Terminal()), 99), name="", prefix=""))] == [
        "a"
    ]


def test_one_line_that_is_an_array_of_records_is_refused_with_the_flag_that_reads_it() -> None:
    for content in (b'[{"prompt":"a"},{"prompt":"b"}]\n', b'\n["a","b"]'):
        with pytest.raises(InputError, match="only line is a JSON array") as refused:
            read(content)
        assert "--input-format json " in (refused.value.hint or "")
    assert len(read(b'["a"]\n{"prompt":"b"}\n')) == 2


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'[\n  {"prompt": "a"},\n  {"prompt": "b"}\n]\n', "--input-format json "),
        (b'{\n  "prompt": "a"\n}\n', "jq -c ."),
        (b"id,prompt\n1,a\n", "--input-format text"),
    ],
)
def test_what_is_not_json_lines_names_what_it_looks_like(content: bytes, word: str) -> None:
    with pytest.raises(InputError) as refused:
        read(content)
    assert word in (refused.value.hint or "")
