"""Writes Parquet: a first pass finds the types of the columns, a second one writes row groups."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from llmbatch.codec import json
from llmbatch.results.csv import META, Columns

__all__ = ["Survey", "parquet_pieces"]

_ROW_GROUP = 8192
_EXACT = 2**53
"""Doubles hold all integers up to here."""
_HOLDS = {
    "bool": {"bool"},
    "int64": {"int64", "beyond double"},
    "double": {"int64", "double"},
}
"""The kinds of values that a type of column holds exactly."""
_KINDS = {
    "sample": "int64",
    "input_tokens": "int64",
    "output_tokens": "int64",
    "attempts": "int64",
    "cost_usd": "double",
    "latency_s": "double",
}


class Survey:
    """Collects the columns of a results table and their types, in a pass over the lines."""

    def __init__(self, meta: Sequence[str] | None) -> None:
        self._wanted = meta
        self._kinds: dict[str, set[str]] = {"id": set()}
        self.meta: dict[str, None] = dict.fromkeys(meta or ())
        self.sampled = False
        self.has_json = False
        self.has_embedding = False

    def add(self, line: dict[str, Any]) -> None:
        """Note one line."""
        self._note("id", line.get("id"))
        self.sampled = self.sampled or "sample" in line
        self.has_json = self.has_json or "json" in line
        self.has_embedding = self.has_embedding or _vector(line.get("embedding")) is not None
        meta = line.get("meta")
        if isinstance(meta, dict):
            for name, value in meta.items():
                if self._wanted is None or name in self.meta:
                    self.meta[name] = None
                    self._note(META + name, value)

    def kind(self, column: str) -> str:
        """Return the type of a column: `int64`, `double`, `bool`, or `string` for several types or nested values."""
        kinds = self._kinds.get(column, set())
        for kind, held in _HOLDS.items():
            if kinds and kinds <= held:
                return kind
        return "string"

    def _note(self, column: str, value: Any) -> None:
        if value is not None:
            self._kinds.setdefault(column, set()).add(_kind(value))


def parquet_pieces(lines: Iterable[dict[str, Any]], survey: Survey) -> Iterator[bytes]:
    """Yield a Parquet file of the lines in pieces, one for each row group. Its columns are those of the CSV.

    There are also `json`, as text, and `embedding`, if a line has one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = Columns(list(survey.meta), sampled=survey.sampled)
    named = {name: _KINDS.get(name, "string") for name in table.names()} | {"id": survey.kind("id")}
    named |= {META + name: survey.kind(META + name) for name in table.meta}
    columns = [pa.field(name, pa.type_for_alias(kind)) for name, kind in named.items()]
    casts = [_CASTS[kind] for kind in named.values()]
    if survey.has_json:
        columns.append(pa.field("json", pa.string()))
    if survey.has_embedding:
        columns.append(pa.field("embedding", pa.list_(pa.float32())))
    schema = pa.schema(columns)

    def row(line: dict[str, Any]) -> list[Any]:
        values = [cast(value) for cast, value in zip(casts, table.row(line), strict=True)]
        if survey.has_json:
            values.append(json.dumps(line["json"]).decode() if "json" in line else None)
        if survey.has_embedding:
            values.append(_vector(line.get("embedding")))
        return values

    sink = _Pieces()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        for group in _groups(map(row, lines)):
            arrays = [
                pa.array(values, field.type) for values, field in zip(zip(*group, strict=True), schema, strict=True)
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            yield sink.take()
    yield sink.take()


def _groups(rows: Iterator[list[Any]]) -> Iterator[list[list[Any]]]:
    while group := list(islice(rows, _ROW_GROUP)):
        yield group


class _Pieces:
    """A file object that keeps what is written until `take` returns it."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        if -_EXACT <= value <= _EXACT:
            return "int64"
        return "beyond double" if -(2**63) <= value < 2**63 else "string"
    if isinstance(value, float):
        return "double"
    return "string"


def _vector(value: Any) -> list[float] | None:
    """Return a list of numbers as floats; None for any other value."""
    if not isinstance(value, list) or not all(isinstance(number, int | float) for number in value):
        return None
    return [*map(float, value)]


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else value.encode("utf-8", "replace").decode()
    return json.dumps(value).decode()


def _number(value: Any) -> int | float | None:
    counted = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if counted else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63 else None


_CASTS: dict[str, Callable[[Any], Any]] = {
    "string": _text,
    "int64": _count,
    "double": _number,
    "bool": lambda value: value,
}
