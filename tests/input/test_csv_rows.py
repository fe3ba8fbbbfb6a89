"""CSV and TSV, streamed."""

import csv
import io
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.errors import InputError
from llmbatch.input.byte_stream import ByteStream
from llmbatch.input.csv_rows import LINE_FIELDS, CsvRows
from llmbatch.input.entry import Entry
from llmbatch.input.lines import Lines

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | st.sampled_from(
    ['"', '""', ",", "\n", "\r\n", " ", "a\nb", 'say "hi"', "\t"]
)


class Chunks:
    """A stream that comes in the pieces it is told."""

    bytes_read = 0

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def read(*pieces: bytes, delimiter: str = ",", max_field: int = 1000, limit: int = 64) -> list[Entry]:
    lines = Lines(cast(ByteStream, Chunks(*pieces)), LINE_FIELDS * max_field)
    table = CsvRows(lines, delimiter=delimiter, max_field=max_field, name="in.csv", prefix="")
    entries: list[Entry] = []
    while batch := table.read(limit):
        assert len(batch) <= limit
        entries += batch
    return entries


def shown(entries: list[Entry]) -> list[object]:
    return [entry.error or entry.value for entry in entries]


@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=8),
    places=st.lists(st.integers(0, 10**6), max_size=6),
    dialect=st.sampled_from(["excel", "excel-tab", "unix"]),
    bom=st.booleans(),
    limit=st.integers(1, 4),
)
def test_rows_come_back_as_they_were_written(rows, places, dialect, bom, limit):
    file = io.StringIO(newline="")
    csv.writer(file, dialect).writerows([("a", "b b", "ç"), *rows])
    content = b"\xef\xbb\xbf" * bom + file.getvalue().encode()
    ends = sorted(place % (len(content) + 1) for place in places)
    pieces = [content[a:b] for a, b in zip([0, *ends], [*ends, len(content)], strict=True)]
    entries = read(*pieces, delimiter="\t" if dialect == "excel-tab" else ",", limit=limit)
    assert shown(entries) == [dict(zip(("a", "b b", "ç"), row, strict=True)) for row in rows]


def test_rows_are_numbered_as_in_a_spreadsheet_beside_their_first_line():
    entries = read(b'q,r\n"a\nb",1\n\nc,2\n')
    assert [entry.where for entry in entries] == ["row 2 (line 2)", "row 4 (line 5)"]


def test_missing_values_are_absent_and_surplus_ones_an_error():
    assert shown(read(b"q,r\na\nb,1,2\nc,3\n")) == [
        {"q": "a"},
        "row 3 (line 3): 3 values, but the header names 2",
        {"q": "c", "r": "3"},
    ]


def test_undecodable_bytes_and_nuls_spoil_only_their_row():
    entries = read("q,r\né,".encode() + b'\xff\n"a\nb\0",1\nc,2\n')
    assert shown(entries) == [
        "row 2 (line 2): line 2 column 3: not UTF-8 (byte 0xff)",
        "row 3 (line 3): line 4 column 2: a NUL character",
        {"q": "c", "r": "2"},
    ]
    assert entries[0].digest == "é,".encode() + b"\xff"
    assert entries[1].digest == b'"a\nb\0",1'


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"a,a\n", "two columns are named 'a'"),
        (b"a,,column_2\n", "two columns are named 'column_2'"),
        (b"\xff,a\n", "not UTF-8"),
        (b'"a', "never closed"),
        (b"a" * 5000, "longer"),
        (b"a\rb\n1\r2\n", "CR alone"),
    ],
)
def test_header_that_is_not_usable_is_an_input_error(header, why):
    with pytest.raises(InputError, match=why):
        read(header + b"1,2,3\n")


def test_broken_quotes_fail_their_row_and_are_never_a_prompt():
    assert shown(read(b'q,r\n"a"b,1\nc,2\n"d,3\ne,4\n')) == [
        "row 2 (line 2): ',' expected after '\"'",
        {"q": "c", "r": "2"},
        "row 4 (line 4): a quote is opened and never closed",
        {"q": "e", "r": "4"},
    ]


@pytest.mark.parametrize("limit", [1, 64])
def test_a_quote_that_never_closes_fails_its_row_and_not_those_behind_it(limit):
    rows = b"".join(b"%d\tfine %d\n" % (n, n) for n in range(4, 400))
    entries = read(b'id\tq\n1\tgood\n2\t"Great, again\n3\t"and so\n', rows, delimiter="\t", limit=limit)
    assert [entry.error is None for entry in entries] == [True, False, False] + [True] * 396
    assert entries[2].error == "row 4 (line 4): a quote is opened and never closed"
    assert entries[2].digest == b'3\t"and so' and entries[-1].where == "row 400 (line 400)"
    assert entries[1].error.startswith("row 3 (line 3): a quote is opened and closed too late")


def test_a_quote_that_never_closes_in_more_than_a_field_may_hold_fails_its_row_alone():
    rows = b"".join(b"%d,fine\n" % n for n in range(500))
    entries = read(b'id,q\n1,"oh\n', rows, max_field=100)
    assert [entry.error for entry in entries] == ["row 2 (line 2): a quote is opened and never closed"] + [None] * 500


def test_a_field_of_several_lines_that_is_cut_off_makes_no_rows_of_its_lines():
    entries = read(b'id,q\n1,"Dear all,\nplease answer\nsoon, and well, all of you\n')
    assert entries and all(entry.error for entry in entries)


def test_every_value_is_text_and_columns_without_a_name_are_numbered():
    (entry,) = read(b",q,\n0,a,\n")
    assert entry.value == {"column_1": "0", "q": "a", "column_3": ""} and entry.all_text


@pytest.mark.parametrize("limit", [1, 64])
def test_field_that_is_too_long_fails_its_row_and_reading_goes_on_after_it(limit):
    long = b'"' + b"x\n" * 400 + b'y ""z"" ,\n",1\n'
    entries = read(b"q,r\na,0\n", long, b"b,2\n", max_field=100, limit=limit)
    assert shown(entries) == [
        {"q": "a", "r": "0"},
        "row 3 (line 3): a field is longer than --max-line 100",
        {"q": "b", "r": "2"},
    ]
    assert entries[2].where.endswith("(line 405)")


@pytest.mark.parametrize("quoted", [True, False])
def test_line_that_is_too_long_fails_its_row_and_reading_goes_on_after_it(quoted):
    quote = b'"' * quoted
    long = quote + b"x" * 500 + b"\n" * quoted + quote + b",1\n"
    good, bad, after = read(b"q,r\na,0\n" + long + b"b,2\n", max_field=100)
    assert (good.value, after.value) == ({"q": "a", "r": "0"}, {"q": "b", "r": "2"})
    assert "longer than 4 times --max-line" in (bad.error or "")


def test_several_long_fields_in_a_row_are_fine():
    assert len(read(b"q,r\n" + b"x" * 100 + b"," + b"y" * 100 + b"\n", max_field=100)[0].value) == 2


def test_stray_quotes_inside_a_field_are_part_of_it():
    assert shown(read(b'q,r\n5" pipe,1\n6" pipe,2\n')) == [
        {"q": '5" pipe', "r": "1"},
        {"q": '6" pipe', "r": "2"},
    ]


def test_quotes_out_of_place_swallow_no_other_row():
    assert shown(read(b'q,r\n"5" pipe",1\nc,2\n"d",3\n')) == [
        "row 2 (line 2): ',' expected after '\"'",
        {"q": "c", "r": "2"},
        {"q": "d", "r": "3"},
    ]
