"""Rows of Parquet files as objects, streamed by row groups."""

import os
from contextlib import closing
from typing import Any

from llmbatch.core.errors import InputError, UsageError
from llmbatch.input.address import is_remote, shown
from llmbatch.input.arrow import batch_rows
from llmbatch.input.byte_stream import Span
from llmbatch.input.entry import Entry
from llmbatch.input.plain import plain_entry
from llmbatch.input.unchanged import Watch

__all__ = ["ParquetRows", "check_parquet", "rows_of_groups"]

_BATCH = 256


def check_parquet() -> None:
    """Raise UsageError if pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401  # only whether it is there
    except ImportError:
        raise UsageError("Parquet needs an extra", "pip install 'llmbatch[parquet]'") from None


class ParquetRows:
    """Reads the rows of a file, a batch of one row group at a time.

    Dates, times and decimals become text; bytes that are not UTF-8 cannot be used in a prompt; NaN is null. Raises
    InputError for a file that is not Parquet, or has two columns of one name. `watch` is shown which file it is, of
    what size and date, since its bytes are read in no order. Of `groups` the rows are numbered as in the file.
    """

    def __init__(
        self, path: str, *, name: str, prefix: str, watch: Watch | None = None, groups: Span | None = None
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._name, self._prefix, self._number = name, prefix, 0
        self._source: Any = path
        self._broken: tuple[type[Exception], ...] = (OSError, pa.ArrowException)
        try:
            self._source, self._size, version = _located(path)
            self._file = pq.ParquetFile(self._source, pre_buffer=False)
        except self._broken as error:
            raise self._input_error(error) from error
        if watch is not None:
            watch(version)
        names = self._file.schema_arrow.names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            self.close()
            raise InputError(f"{name}: two columns are named {twice!r}", "Rename one of them.")
        metadata = self._file.metadata
        self.rows_of_groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        """How many rows each row group has."""
        wanted = range(len(self.rows_of_groups))
        if groups is not None:
            wanted = wanted[slice(*groups)]
            self._number = sum(self.rows_of_groups[: wanted.start])
        self._before = self._number
        self._rows = sum(self.rows_of_groups[group] for group in wanted)
        self._batches = self._file.iter_batches(batch_size=_BATCH, row_groups=wanted)
        self._ready: list[dict[str, Any]] = []

    @property
    def bytes_read(self) -> int:
        """The share of the file's bytes that the rows read so far stand for."""
        return self._size * (self._number - self._before) // self._rows if self._rows else self._size

    def read(self, limit: int) -> list[Entry]:
        """Return at least one entry and at most `limit`; none at the end. Raises InputError."""
        while not self._ready:
            try:
                batch = next(self._batches, None)
            except self._broken as error:
                raise self._input_error(error) from error
            if batch is None:
                return []
            self._ready = list(batch_rows(batch))
        rows, self._ready = self._ready[:limit], self._ready[limit:]
        return [self._entry(row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if not isinstance(self._source, str):
            self._source.close()

    def _entry(self, row: dict[str, Any]) -> Entry:
        self._number += 1
        return plain_entry(f"{self._prefix}row {self._number}", row)

    def _input_error(self, error: Exception) -> InputError:
        failure: InputError | None = getattr(self._source, "failure", None)
        if failure is not None:
            return failure
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        return InputError(f"cannot read {self._name} as Parquet: {reason}")


def _located(path: str) -> tuple[Any, int, bytes]:
    """Return what pyarrow reads from, its size, and what tells its version. Raises OSError, InputError."""
    if is_remote(path):
        from llmbatch.input.remote import RemoteFile

        file = RemoteFile(path)
        return file, file.facts.size, repr(file.facts).encode()
    status = os.stat(path)
    return path, status.st_size, repr((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)).encode()


def rows_of_groups(path: str) -> list[int]:
    """Return how many rows each row group of a file has. Raises InputError, and UsageError without pyarrow."""
    check_parquet()
    with closing(ParquetRows(path, name=shown(path), prefix="")) as rows:
        return rows.rows_of_groups
