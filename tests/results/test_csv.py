"""CSV that readers split alike and spreadsheets do not run."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.results.csv import COLUMNS, Columns, cell, row
from tests.support.result_lines import failed, ok

FORMULA = "=+-@\t\r\0"
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8) | st.text(FORMULA + "\"',; \na", max_size=8)
VALUES = TEXT | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


def parsed(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))


@given(st.lists(st.lists(VALUES, min_size=2, max_size=5), min_size=1, max_size=5))
def test_the_csv_module_reads_back_what_was_written(rows: list[list[Any]]) -> None:
    assert parsed(b"".join(map(row, rows))) == [[cell(value) for value in values] for values in rows]


@given(TEXT)
def test_text_never_begins_like_a_formula_and_is_otherwise_left_alone(text: str) -> None:
    written = cell(text)
    assert not written.startswith(tuple(FORMULA))
    assert written == (f"'{text}" if text.startswith(tuple(FORMULA)) else text)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (-5, "-5"),
        (-0.25, "-0.25"),
        ("-5", "'-5"),
        ("=1+1", "'=1+1"),
        ("'=1", "'=1"),
        (True, "true"),
        (None, ""),
        ({"a": [1]}, '{"a":[1]}'),
        (2**70, str(2**70)),
    ],
)
def test_numbers_stay_numbers_and_nested_values_become_json(value: Any, written: str) -> None:
    assert cell(value) == written


def test_a_lone_surrogate_does_not_stop_the_file() -> None:
    assert row(["a\ud800", 1]) == b"a?,1\n"


def test_a_line_fills_the_columns() -> None:
    (good,) = parsed(row(Columns(["n", "t", "none"]).row(ok("a", 0, cost_usd=0.5, meta={"n": -1, "t": "@x"}))))
    assert dict(zip([*COLUMNS, "n", "t", "none"], good, strict=True)) == {
        "id": "a",
        "status": "ok",
        "text": "yes",
        "finish_reason": "stop",
        "model": "m-1",
        "input_tokens": "3",
        "output_tokens": "5",
        "cost_usd": "0.5",
        "error_kind": "",
        "error_message": "",
        "attempts": "1",
        "latency_s": "0.5",
        "n": "-1",
        "t": "'@x",
        "none": "",
    }
    (bad,) = parsed(row(Columns([]).row(failed(7, 1))))
    assert bad[:3] == ["7", "failed", ""] and bad[8:10] == ["bad_request", "no"]


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("usage", "error", "meta", "text", "model"), VALUES)))
def test_no_field_is_trusted(more: dict[str, Any]) -> None:
    (read,) = parsed(row(Columns(["x"]).row(ok("a", 0) | more)))
    assert len(read) == len(COLUMNS) + 1
