"""Parquet in: rows as records, by row groups, whatever their columns hold."""

import datetime as dt
import sys
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmbatch.core.errors import InputError, UsageError
from llmbatch.input.entry import Entry
from llmbatch.input.source import open_source


def drain(*paths: Path, limit: int = 64) -> list[Entry]:
    entries: list[Entry] = []
    with closing(open_source([str(path) for path in paths], format=None, max_line=1 << 20)) as source:
        while batch := source.read(limit):
            assert len(batch) <= limit
            entries += batch
    return entries


def put(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def test_rows_come_in_order_over_row_groups_and_files(tmp_path: Path) -> None:
    rows = [{"id": number, "prompt": f"question {number}"} for number in range(1000)]
    one = put(tmp_path / "one.parquet", rows[:700], row_group_size=37)
    two = put(tmp_path / "two.parquet", rows[700:])
    entries = drain(one, two, limit=50)
    assert [entry.value for entry in entries] == rows
    assert entries[0].where.endswith("one.parquet row 1") and entries[700].where.endswith("two.parquet row 1")


def test_values_are_what_json_has(tmp_path: Path) -> None:
    row = {
        "text": "x",
        "count": 2**62,
        "share": 0.5,
        "none": None,
        "nan": float("nan"),
        "when": dt.datetime(2026, 11, 22, 10, 0, 0, 123000),
        "day": dt.date(2026, 11, 22),
        "long": dt.timedelta(seconds=90),
        "price": Decimal("1.10"),
        "bytes": b"caf\xc3\xa9",
        "list": [1, None, 3],
        "nested": {"a": [{"b": Decimal("2.5")}]},
    }
    (entry,) = drain(put(tmp_path / "a.parquet", [row]))
    assert entry.value == {
        **row,
        "nan": None,
        "when": "2026-11-22T10:00:00.123000",
        "day": "2026-11-22",
        "long": "0:01:30",
        "price": "1.10",
        "bytes": "café",
        "nested": {"a": [{"b": "2.5"}]},
    }


def test_bytes_that_are_no_text_are_one_unusable_row(tmp_path: Path) -> None:
    entries = drain(put(tmp_path / "a.parquet", [{"image": b"\xff\xd8"}, {"image": b"fine"}]))
    assert entries[0].error == "row 1: column 'image' holds bytes that are not text"
    assert entries[1].value == {"image": "fine"}


def test_progress_is_known(tmp_path: Path) -> None:
    path = put(tmp_path / "a.parquet", [{"n": n} for n in range(1000)])
    with closing(open_source([str(path)], format=None, max_line=1 << 20)) as source:
        seen = []
        while source.read(250):
            seen.append(source.fraction)
    assert seen == sorted(seen) and seen[0] == pytest.approx(0.25, abs=0.01) and seen[-1] == 1.0


@pytest.mark.parametrize("content", [b"", b"not parquet at all", b"PAR1 cut short PAR1"])
def test_what_is_no_parquet_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match="as Parquet"):
        drain(path)


def test_a_file_cut_in_a_row_group_is_an_input_error_after_the_rows_before(tmp_path: Path) -> None:
    path = put(tmp_path / "a.parquet", [{"id": n, "x": f"{n}" * 50} for n in range(2000)], row_group_size=1000)
    broken = bytearray(path.read_bytes())
    middle = len(broken) // 2
    broken[middle + 200 : middle + 600] = b"\xff" * 400
    path.write_bytes(broken)
    with closing(open_source([str(path)], format=None, max_line=1 << 20)) as source:
        read = iter(lambda: len(source.read(64)), 0)
        rows = []
        with pytest.raises(InputError, match="as Parquet"):
            rows.extend(read)
    assert sum(rows) >= 500


def test_a_pipe_a_missing_file_and_a_missing_extra_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="plain file"):
        open_source(["-"], format="parquet", max_line=99)
    with pytest.raises(InputError, match="No such file"):
        open_source([str(tmp_path / "a.parquet")], format=None, max_line=99)
    path = put(tmp_path / "a.parquet", [{"x": 1}])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError) as caught:
        open_source([str(path)], format=None, max_line=99)
    assert caught.value.hint == "pip install 'llmbatch[parquet]'"
