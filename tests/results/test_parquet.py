"""Results as Parquet: typed columns, whatever the lines hold."""

import io
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmbatch.app.convert import Shape, convert
from llmbatch.core.errors import UsageError
from llmbatch.results import parquet
from tests.support.result_lines import failed, ok, put


def table(*names: str, output: Path | None = None, **shape: Any) -> pa.Table:
    written = io.BytesIO()
    convert(
        names,
        Shape(to="parquet", **shape),
        output=output,
        error_file=None,
        stdout=written.write,
        notice=lambda text: None,
    )
    return pq.read_table(output or io.BytesIO(written.getvalue()))


def test_columns_have_the_types_of_their_values(tmp_path: Path) -> None:
    lines = [
        ok(1, 0, "one", cost_usd=0.25, meta={"n": 1, "b": True, "s": "x", "f": 1, "m": 1, "o": {"a": 1}}),
        ok(2, 1, None, meta={"n": 2, "b": None, "f": 0.5, "m": "x", "wide": 2**70}),
        failed(3, 2),
    ]
    found = table(put(tmp_path / "r.jsonl", lines))
    types = {field.name: str(field.type) for field in found.schema}
    assert types["id"] == types["attempts"] == types["input_tokens"] == types["meta.n"] == "int64"
    assert types["cost_usd"] == types["latency_s"] == types["meta.f"] == "double"
    assert (types["meta.b"], types["meta.s"], types["meta.m"], types["meta.o"]) == (
        "bool",
        "string",
        "string",
        "string",
    )
    rows = found.to_pylist()
    assert [row["text"] for row in rows] == ["one", None, None]
    assert [row["error_kind"] for row in rows] == [None, None, "bad_request"]
    assert [row["meta.m"] for row in rows] == ["1", "x", None] and rows[0]["meta.o"] == '{"a":1}'
    assert rows[1]["meta.wide"] == str(2**70)
    assert "json" not in types and "embedding" not in types


def test_json_and_embeddings_have_columns_where_there_are_any(tmp_path: Path) -> None:
    lines = [ok("a", 0, json={"stars": 4}), ok(7, 1, embedding=[0.5, -1])]
    rows = table(put(tmp_path / "r.jsonl", lines)).to_pylist()
    assert [row["json"] for row in rows] == ['{"stars":4}', None]
    assert [row["embedding"] for row in rows] == [None, [0.5, -1.0]]
    assert [row["id"] for row in rows] == ["a", "7"]


def test_meta_columns_are_those_asked_for(tmp_path: Path) -> None:
    name = put(tmp_path / "r.jsonl", [ok("a", 0, meta={"x": 1, "y": 2})])
    assert [n for n in table(name, meta=("y", "z")).column_names if n.startswith("meta.")] == ["meta.y", "meta.z"]
    assert not [n for n in table(name, meta=()).column_names if n.startswith("meta.")]


def test_hostile_values_cost_a_cell_and_not_the_file(tmp_path: Path) -> None:
    odd: list[Any] = [{"input_tokens": "many"}, {"input_tokens": 2**80}, {"input_tokens": True}, 7]
    lines = [ok(str(n), n, latency_s="slow", text={"no": "text"}, usage=usage) for n, usage in enumerate(odd)]
    rows = table(put(tmp_path / "r.jsonl", lines)).to_pylist()
    assert [row["input_tokens"] for row in rows] == [None] * 4
    assert rows[0]["latency_s"] is None and rows[0]["text"] == '{"no":"text"}'


def test_numbers_that_a_type_cannot_hold_exactly_are_kept_as_text(tmp_path: Path) -> None:
    lines = [
        ok(1, 0, meta={"n": 2**53 + 1, "wide": 2**53 + 1}, embedding=[2**24 + 1, True]),
        ok(2, 1, meta={"n": 0.5, "wide": 1}, embedding=[2**80]),
    ]
    rows = table(put(tmp_path / "r.jsonl", lines)).to_pylist()
    assert [row["meta.n"] for row in rows] == [str(2**53 + 1), "0.5"]
    assert [row["meta.wide"] for row in rows] == [2**53 + 1, 1]
    assert [row["embedding"] for row in rows] == [[2.0**24, 1.0], [2.0**80]]


def test_it_is_written_by_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ROW_GROUP", 10)
    name = put(tmp_path / "r.jsonl", [ok(n, n) for n in range(25)])
    output = tmp_path / "out.parquet"
    assert table(name, output=output).column("id").to_pylist() == list(range(25))
    assert pq.ParquetFile(output).metadata.num_row_groups == 3
    empty = table(put(tmp_path / "e.jsonl", []))
    assert empty.num_rows == 0 and empty.column_names[0] == "id"


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = put(tmp_path / "r.jsonl", [ok("a", 0)])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError) as caught:
        table(name)
    assert caught.value.hint == "pip install 'llmbatch[parquet]'"
