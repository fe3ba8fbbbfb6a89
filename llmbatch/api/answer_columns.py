"""Results as columns of Arrow tables. Their types are fixed: those of a batch without answers, too."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmbatch.api.result import Result
from llmbatch.codec import json
from llmbatch.core.errors import UsageError

__all__ = ["ANSWER_COLUMNS", "add_columns", "as_table"]

ANSWER_COLUMNS = (
    "status",
    "text",
    "json",
    "embedding",
    "tool_calls",
    "finish_reason",
    "error",
    "usage",
    "cost_usd",
    "attempts",
    "possibly_billed",
    "billed",
    "latency_s",
    "model",
    "request_id",
    "more",
)
"""The names of the columns; `more` has the other fields of a result line as JSON."""
_TOKENS = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")
_OF_THE_LINE = frozenset(("id", "index", "occurrence", "meta", "record", "key", "started_at"))
"""Fields of a result line that say which record it is, or when it was sent: a row is known by its columns."""


def add_columns(table: Any, names: Sequence[str], results: Sequence[Result]) -> Any:
    """Return a pyarrow.Table with a column for each of ANSWER_COLUMNS, under these names."""
    import pyarrow as pa

    types = _types()
    rest: list[dict[str, Any]] = [
        {name: value for name, value in result.items() if name not in _OF_THE_LINE} for result in results
    ]
    for name, column in zip(names[:-1], ANSWER_COLUMNS[:-1], strict=True):
        values = [_FIELDS.get(column, _plain)(fields.pop(column, None)) for fields in rest]
        table = table.append_column(pa.field(name, types[column]), _array(values, types[column], column, rest))
    more = [json.dumps(fields).decode() if fields else None for fields in rest]
    return table.append_column(pa.field(names[-1], types["more"]), pa.array(more, types["more"]))


def as_table(batch: Any) -> Any:
    """Return a batch as a pyarrow.Table. Raises UsageError for what is none."""
    import pyarrow as pa

    try:
        if isinstance(batch, pa.Table | pa.RecordBatch):
            names = batch.schema.names
            if len(set(names)) < len(names):
                raise TypeError("two columns have one name")
            return batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        if isinstance(batch, Mapping):  # of numpy arrays, which may have several dimensions
            columns = {
                name: values.tolist() if getattr(values, "ndim", 1) > 1 else values for name, values in batch.items()
            }
            return pa.table(columns)
        return pa.Table.from_pandas(batch, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, AttributeError, TypeError) as error:
        raise UsageError(f"a batch is no table: {error}", "Use batch_format='pyarrow'.") from error


def _types() -> dict[str, Any]:
    import pyarrow as pa

    text, count = pa.string(), pa.int64()
    failure = pa.struct([("kind", text), ("status", count), ("code", text), ("message", text)])
    special = {
        "embedding": pa.list_(pa.float32()),
        "error": failure,
        "usage": pa.struct([(name, count) for name in _TOKENS]),
        "cost_usd": pa.float64(),
        "attempts": count,
        "possibly_billed": count,
        "billed": pa.bool_(),
        "latency_s": pa.float64(),
    }
    return {column: special.get(column, text) for column in ANSWER_COLUMNS}


def _array(values: list[Any], type: Any, column: str, rest: list[dict[str, Any]]) -> Any:
    """Return the values as an array. A value of another type, as an embedding in base64, is left to `more`."""
    import pyarrow as pa

    try:
        return pa.array(values, type)
    except (pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError):
        for row, value in enumerate(values):
            try:
                pa.array([value], type)
            except (pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError):
                rest[row][column], values[row] = value, None
        return pa.array(values, type)


def _plain(value: Any) -> Any:
    return value


def _as_json(value: Any) -> str | None:
    return None if value is None else json.dumps(value).decode()


def _failure(value: Any) -> Any:
    return value if value is None or value.get("code") is None else {**value, "code": str(value["code"])}


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "json": _as_json,
    "tool_calls": _as_json,
    "error": _failure,
    "attempts": lambda value: value or 0,
    "possibly_billed": lambda value: value or 0,
    "billed": bool,
}
"""How fields become values of their columns."""
