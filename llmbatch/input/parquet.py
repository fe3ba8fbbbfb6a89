"""Rows of Parquet files as objects, streamed by row groups."""

import os
from decimal import Decimal
from typing import Any

from llmbatch.codec import json
from llmbatch.core.errors import InputError, UsageError
from llmbatch.input.entry import Entry

__all__ = ["ParquetRows", "check_parquet"]

_BATCH = 256


def check_parquet() -> None:
    """Find out that pyarrow is not there before anything is opened. Raises UsageError."""
    try:
        import pyarrow.parquet  # noqa: F401  # only whether it is there
    except ImportError:
        raise UsageError("Parquet needs an extra", "pip install 'llmbatch[parquet]'") from None


class ParquetRows:
    """Reads the rows of a file, a batch of one row group at a time. Raises InputError for one that is no Parquet.

    Dates and times become text, decimals too; bytes are text in UTF-8 or make the row unusable; what is not a number
    is null.
    """

    def __init__(self, path: str, *, name: str, prefix: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._name, self._prefix, self._number = name, prefix, 0
        self._broken: tuple[type[Exception], ...] = (OSError, pa.ArrowException)
        try:
            self._size = os.stat(path).st_size
            self._file = pq.ParquetFile(path, pre_buffer=False)
        except self._broken as error:
            raise self._refusal(error) from error
        self._rows = self._file.metadata.num_rows
        self._batches = self._file.iter_batches(batch_size=_BATCH)
        self._ready: list[dict[str, Any]] = []

    @property
    def taken(self) -> int:
        """How many bytes the rows read so far stand for."""
        return self._size * self._number // self._rows if self._rows else self._size

    def read(self, limit: int) -> list[Entry]:
        """Return at least one entry and at most `limit`; none at the end. Raises InputError."""
        while not self._ready:
            try:
                batch = next(self._batches, None)
            except self._broken as error:
                raise self._refusal(error) from error
            if batch is None:
                return []
            self._ready = batch.to_pylist()
        rows, self._ready = self._ready[:limit], self._ready[limit:]
        return [self._entry(row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _entry(self, row: dict[str, Any]) -> Entry:
        self._number += 1
        where = f"{self._prefix}row {self._number}"
        try:
            return Entry(where, json.loads_shallow(json.dumps(row)))
        except ValueError:
            pass
        try:
            plain = {name: _plain(value, name) for name, value in row.items()}
            return Entry(where, json.loads_shallow(json.dumps(plain)))
        except ValueError as error:
            return Entry(where, None, f"{where}: {error}", f"{self._name} {self._number}".encode())

    def _refusal(self, error: Exception) -> InputError:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        return InputError(f"cannot read {self._name} as Parquet: {reason}")


def _plain(value: Any, column: str) -> Any:
    """Return a value as JSON has it. Raises ValueError."""
    if isinstance(value, dict):
        return {str(name): _plain(inner, column) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, column) for inner in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ValueError(f"column {column!r} holds bytes that are not text") from None
    if isinstance(value, Decimal):
        return str(value)
    if value is None or isinstance(value, str | int | float) or hasattr(value, "isoformat"):
        return value
    return str(value)
