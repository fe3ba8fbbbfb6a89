"""Records from a Python program: one value each, as it would be on a line of JSON."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from llmbatch.codec import json
from llmbatch.core.errors import InputError, UsageError
from llmbatch.core.thread import start_thread
from llmbatch.input.arrow import array_values, batch_rows
from llmbatch.input.entry import Entry
from llmbatch.input.plain import Described, plain_entry

__all__ = ["Awaited", "Collected", "Iterated", "table_rows"]

AHEAD = 256
"""So many records are read ahead."""


def table_rows(table: Any) -> Iterator[Any] | None:
    """Return the rows of a table (pyarrow, pandas, polars, datasets and the like); None for anything else.

    To iterate over a table itself would give its columns. The rows of an array of pyarrow are its values. Raises
    UsageError for two columns of one name, for names that are not text, and for a query that has no rows yet.
    """
    if isinstance(table, Mapping):
        return None
    if type(table).__module__.startswith("pyarrow"):
        return _arrow_rows(table)
    if hasattr(table, "collect_schema") and hasattr(table, "collect"):
        raise UsageError(f"a {type(table).__name__} has no rows yet", "Pass what its collect() returns.")
    if hasattr(table, "column_names") and hasattr(table, "features"):  # a data set of Hugging Face
        return (dict(row) for row in table)
    columns, rows = getattr(table, "columns", None), None
    if callable(polars := getattr(table, "iter_rows", None)):
        rows = polars
    elif callable(pandas := getattr(table, "itertuples", None)):
        rows = partial(pandas, index=False, name=None)
    if columns is None or rows is None:
        return None
    names = list(columns)
    _check_names(names)
    return (dict(zip(names, row, strict=True)) for row in rows())


def _arrow_rows(table: Any) -> Iterator[Any] | None:
    if hasattr(table, "schema"):
        _check_names(table.schema.names)
        # A reader is an iterator of batches; a batch is not made of others.
        batches = (
            table.to_batches() if hasattr(table, "to_batches") else table if hasattr(table, "read_all") else [table]
        )
        return (row for batch in batches for row in batch_rows(batch))
    return array_values(table) if hasattr(table, "to_pylist") else None


def _check_names(names: Sequence[Any]) -> None:
    """Raise UsageError for column names that no field can have."""
    for name in names:
        if not isinstance(name, str):
            raise UsageError(f"a column is named {name!r}, which is no text", "Rename the columns.")
        if names.count(name) > 1:
            raise UsageError(f"two columns are named {name!r}", "Rename one of them.")


class Collected:
    """The records of a collection. With `rows` they are those of a table, whose values may be of any type."""

    def __init__(self, records: Iterable[Any], size: int, *, rows: bool = False) -> None:
        self._size = size
        self._records = iter(records)
        self._entry = _row if rows else _entry
        self._number = 0
        self._failure: InputError | None = None

    @property
    def fraction(self) -> float | None:
        """How much has been read."""
        return min(1.0, self._number / self._size) if self._size else 1.0

    def read(self, limit: int) -> list[Entry]:
        """Return at least one entry and at most `limit`; none at the end. Raises InputError for an error of theirs."""
        entries: list[Entry] = []
        if self._failure is not None:
            raise self._failure
        try:
            for value in self._records:
                self._number += 1
                entries.append(self._entry(self._number, value))
                if len(entries) == limit:
                    break
        except Exception as error:
            self._failure = _broken_off(self._number, error)
            if not entries:
                raise self._failure from error
        return entries

    def interrupt(self) -> None:
        """Read no more."""
        self._records = iter(())

    def close(self) -> None:
        """Release the records."""
        self.interrupt()


class _ReadAhead:
    """Entries that a thread or a task reads ahead, as many as AHEAD."""

    fraction = None

    def __init__(self, *, rows: bool = False) -> None:
        self._entry = _row if rows else _entry
        self._ready: deque[Entry] = deque()
        self._failure: InputError | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._number = 0

    def read(self, limit: int) -> list[Entry]:
        """Return what is there, at least one entry and at most `limit`; none at the end.

        Raises InputError, with its cause, when all entries before the failure have been returned.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended)
            entries = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
            self._changed.notify_all()
        if not entries and self._failure is not None:
            raise self._failure
        return entries

    def interrupt(self) -> None:
        """Take no more records; those that were taken can still be read."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Release the records that were read ahead."""
        self.interrupt()
        self._ready.clear()

    def _put(self, value: Any) -> None:
        self._number += 1
        entry = self._entry(self._number, value)
        with self._changed:
            self._ready.append(entry)
            self._changed.notify_all()

    def _break_off(self, error: BaseException) -> None:
        self._failure = _broken_off(self._number, error)


class Iterated(_ReadAhead):
    """The records of an iterator, which may be slow: a thread of its own takes them, and is never joined."""

    def __init__(self, records: Iterable[Any], *, rows: bool = False) -> None:
        super().__init__(rows=rows)
        self._records = records
        start_thread(self._take)

    def _take(self) -> None:
        try:
            for value in self._records:
                self._put(value)
                with self._changed:
                    self._changed.wait_for(lambda: len(self._ready) < AHEAD or self._ended)
                if self._ended:
                    break
        except BaseException as error:  # SystemExit, too, is not the end of the records
            self._break_off(error)
        finally:
            self.interrupt()


class Awaited(_ReadAhead):
    """The records of an asynchronous iterable: `pump` takes them, on the loop and in one task.

    With `rows` they are those of a table, whose values may be of any type.
    """

    def __init__(self, records: AsyncIterable[Any], *, rows: bool = False) -> None:
        super().__init__(rows=rows)
        self._records = records
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room = asyncio.Event()

    async def pump(self) -> None:
        """Take the records as they come; return at their end."""
        self._loop = asyncio.get_running_loop()
        try:
            async for value in self._records:
                self._put(value)
                while len(self._ready) >= AHEAD and not self._ended:
                    self._room.clear()
                    await self._room.wait()
                if self._ended:
                    break
        except Exception as error:
            self._break_off(error)
        except asyncio.CancelledError as error:
            self._break_off(error)
            task = asyncio.current_task()
            if task is None or task.cancelling():  # otherwise a task was cancelled that the records wait for
                raise
        finally:
            self.interrupt()

    def read(self, limit: int) -> list[Entry]:
        """Return what is there, at least one entry and at most `limit`; none at the end. Raises InputError."""
        entries = super().read(limit)
        self._make_room()
        return entries

    def interrupt(self) -> None:
        """Take no more records; those that were taken can still be read."""
        super().interrupt()
        self._make_room()

    def _make_room(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._room.set)


def _broken_off(number: int, error: BaseException) -> InputError:
    """Return the failure of a run for an error that the caller's own code raised."""
    failure = InputError(f"the records broke off after {number}: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _row(number: int, value: Any) -> Entry:
    if isinstance(value, dict):
        return plain_entry(f"record {number}", value)
    if isinstance(value, Described):
        return Entry(f"record {number}", None, f"record {number} {value.flaw}", value.text.encode())
    return _entry(number, value)


def _entry(number: int, value: Any) -> Entry:
    """Make an entry of a value, detached from it: the caller may change the original."""
    where = f"record {number}"
    try:
        written = json.dumps(value)
    except ValueError as error:
        return Entry(where, None, f"{where}: {error}", f"{type(value).__name__} {number}".encode())
    try:
        return Entry(where, json.loads_shallow(written))
    except ValueError as error:
        return Entry(where, None, f"{where}: {error}", written)
