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
from llmbatch.input.arrow import batch_rows
from llmbatch.input.entry import Entry
from llmbatch.input.plain import plain_entry
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


def test_bytes_that_are_no_text_are_described_and_flawed(tmp_path: Path) -> None:
    entries = drain(put(tmp_path / "a.parquet", [{"image": b"\xff\xd8"}, {"image": b"fine"}]))
    assert entries[0].value == {"image": "\\xff\\xd8"}
    assert entries[0].flaws == {"image": "holds bytes that are not text"}
    assert entries[1].value == {"image": "fine"} and entries[1].flaws is None


FAR, NANO = 10**15, 1_704_067_200_123_456_789
"""Seconds beyond the year 9999, and nanoseconds that no datetime holds."""

STRANGE: dict[str, tuple[Any, list[Any]]] = {
    "nanoseconds": (
        pa.array([NANO, NANO // 10**9 * 10**9, None], pa.timestamp("ns")),
        ["2024-01-01T00:00:00.123456789", "2024-01-01T00:00:00", None],
    ),
    "a far moment": (pa.array([FAR, 0], pa.timestamp("s")), ["31690708-07-05T01:46:40", "1970-01-01T00:00:00"]),
    "before year one": (pa.array([-(10**14), 0], pa.timestamp("ms")), ["-1199-02-15T14:13:20", "1970-01-01T00:00:00"]),
    "no such zone": (pa.array([1_500_000], pa.timestamp("us", "Mars/Phobos")), ["1970-01-01T00:00:01.500000+00:00"]),
    "nanoseconds in a zone": (
        pa.array([NANO], pa.timestamp("ns", "Europe/Berlin")),
        ["2024-01-01T00:00:00.123456789+00:00"],
    ),
    "a far day": (pa.array([10**7, 0], pa.date32()), ["29349-01-26", "1970-01-01"]),
    "a time in nanoseconds": (pa.array([3_723_000_000_001], pa.time64("ns")), ["01:02:03.000000001"]),
    "a duration": (
        pa.array([90_000_000_001, -(10**9)], pa.duration("ns")),
        ["0:01:30.000000001", "-1 day, 23:59:59"],
    ),
    "a far duration": (pa.array([FAR], pa.duration("s")), ["11574074074 days, 1:46:40"]),
    "a map": (pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int32())), [[["a", 1]], None]),
    "a struct": (
        pa.array([{"t": NANO}], pa.struct([("t", pa.timestamp("ns"))])),
        [{"t": "2024-01-01T00:00:00.123456789"}],
    ),
    "a list": (pa.array([[FAR, None]], pa.list_(pa.timestamp("s"))), [["31690708-07-05T01:46:40", None]]),
    "a dictionary": (pa.array([NANO], pa.timestamp("ns")).dictionary_encode(), ["2024-01-01T00:00:00.123456789"]),
    "a wide decimal": (pa.array([Decimal("1" * 60)], pa.decimal256(70, 2)), ["1" * 60 + ".00"]),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_python_has_no_type_for_is_text(name: str, tmp_path: Path) -> None:
    column, expected = STRANGE[name]
    ids = list(range(len(column)))
    pq.write_table(pa.table({"id": ids, "x": column}), tmp_path / "a.parquet")
    entries = drain(tmp_path / "a.parquet")
    assert [entry.value for entry in entries] == [
        {"id": id, "x": value} for id, value in zip(ids, expected, strict=True)
    ]
    assert not any(entry.error or entry.flaws for entry in entries)


@pytest.mark.parametrize(
    "type", [pa.timestamp("ms"), pa.timestamp("us", "UTC"), pa.date32(), pa.time32("s"), pa.duration("us")]
)
def test_a_value_reads_the_same_whatever_stands_beside_it(type: Any) -> None:
    usual = [0, 1, 86_399] if not pa.types.is_date(type) else [0, 1, 20_000]
    wide = [*usual, 2**31 - 1] if type.bit_width == 32 else [*usual, 2**62]

    def texts(numbers: list[int]) -> list[Any]:
        width = pa.int32() if type.bit_width == 32 else pa.int64()
        batch = pa.record_batch({"x": pa.array(numbers, width).cast(type)})
        return [plain_entry("", row).value["x"] for row in batch_rows(batch)]

    assert texts(usual) == texts(wide)[: len(usual)]


def test_text_that_is_not_utf_8_is_flawed_and_the_rest_of_its_column_is_not(tmp_path: Path) -> None:
    text = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0"), pa.py_buffer(b"\xffok"))
    pq.write_table(pa.table({"x": text}), tmp_path / "a.parquet")
    bad, good = drain(tmp_path / "a.parquet")
    assert (bad.value, bad.flaws) == ({"x": "\\xff"}, {"x": "holds bytes that are not text"})
    assert (good.value, good.flaws) == ({"x": "ok"}, None)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array(["a"])], names=["prompt", "prompt"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="two columns are named 'prompt'"):
        drain(tmp_path / "a.parquet")


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
