"""Records that a program hands over: one Python value each, as it would stand on a line of JSON."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterable, Collection, Iterable
from typing import Any

from llmbatch.codec import json
from llmbatch.core.errors import InputError
from llmbatch.core.thread import start_thread
from llmbatch.input.entry import Entry

__all__ = ["Awaited", "Collected", "Iterated"]

AHEAD = 256
"""Records that are taken before anybody asks for them."""


class Collected:
    """The records of a list or the like, all there."""

    def __init__(self, records: Collection[Any]) -> None:
        self._size = len(records)
        self._records = iter(records)
        self._number = 0

    @property
    def fraction(self) -> float | None:
        """How much has been read."""
        return min(1.0, self._number / self._size) if self._size else 1.0

    def read(self, limit: int) -> list[Entry]:
        """Return at least one entry and at most `limit`; none at the end."""
        entries: list[Entry] = []
        for value in self._records:
            self._number += 1
            entries.append(_entry(self._number, value))
            if len(entries) == limit:
                break
        return entries

    def interrupt(self) -> None:
        """Read no more."""
        self._records = iter(())

    def close(self) -> None:
        """Let go of the records."""
        self.interrupt()


class _Ahead:
    """Entries that somebody else takes, a few ahead of who reads them."""

    fraction = None

    def __init__(self) -> None:
        self._ready: deque[Entry] = deque()
        self._failure: InputError | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._number = 0

    def read(self, limit: int) -> list[Entry]:
        """Return what is there, at least one entry and at most `limit`; none at the end.

        Raises InputError, with its cause, once what came before the records broke off has been returned.
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
        """Let go of what was taken."""
        self.interrupt()
        self._ready.clear()

    def _put(self, value: Any) -> None:
        self._number += 1
        entry = _entry(self._number, value)
        with self._changed:
            self._ready.append(entry)
            self._changed.notify_all()

    def _break_off(self, error: Exception) -> None:
        """Note what the caller's own code raised."""
        what = f"{type(error).__name__}: {error}"
        self._failure = InputError(f"the records broke off after {self._number}: {what}")
        self._failure.__cause__ = error


class Iterated(_Ahead):
    """The records of an iterator, which may be long in coming: taken on a thread of its own, that nobody waits for."""

    def __init__(self, records: Iterable[Any]) -> None:
        super().__init__()
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
        except Exception as error:
            self._break_off(error)
        finally:
            self.interrupt()


class Awaited(_Ahead):
    """The records of an asynchronous iterable: `pump` takes them, on the loop and in one task."""

    def __init__(self, records: AsyncIterable[Any]) -> None:
        super().__init__()
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
        finally:
            self.interrupt()

    def read(self, limit: int) -> list[Entry]:
        """Return what is there, as any other source."""
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


def _entry(number: int, value: Any) -> Entry:
    """Make an entry of a value, detached from it: the caller may change what is his."""
    where = f"record {number}"
    try:
        written = json.dumps(value)
    except ValueError as error:
        return Entry(where, None, f"{where}: {error}", f"{type(value).__name__} {number}".encode())
    try:
        return Entry(where, json.loads_shallow(written))
    except ValueError as error:
        return Entry(where, None, f"{where}: {error}", written)
