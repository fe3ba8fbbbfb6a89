"""Sources of chosen records: some of the input, picked by a seed, and each record several times."""

import heapq
from random import Random

from llmbatch.input.entry import Entry, RecordSource
from llmbatch.input.source import Source
from llmbatch.input.unchanged import Contents

__all__ = ["Derived", "Repeated", "Sampled", "derived"]

_BATCH = 256


class Derived:
    """A source made of the entries of another one."""

    def __init__(self, source: RecordSource) -> None:
        self._source = source

    @property
    def _files(self) -> "Source | Derived":
        assert isinstance(self._source, Source | Derived)  # a program's records are never gone through twice
        return self._source

    def record(self) -> Contents:
        """Take note of all bytes that are read from here on."""
        return self._files.record()

    def expect(self, contents: Contents) -> None:
        """Raise InputError where the inputs are not what they were in an earlier pass."""
        self._files.expect(contents)

    def read(self, limit: int) -> list[Entry]:
        """Return the next entries, at least one and at most `limit`; an empty list at the end. Raises InputError."""
        raise NotImplementedError

    def skip(self, limit: int) -> int:
        """Pass over at most `limit` entries; return how many, none at the end. Raises InputError."""
        return len(self.read(limit))

    def interrupt(self) -> None:
        """Make a blocked `read` return an empty list, and every later one."""
        self._source.interrupt()

    def close(self) -> None:
        """Close what is open."""
        self._source.close()


class Sampled(Derived):
    """`count` entries of a source, chosen by a seed, in the order of the input.

    The same seed chooses the same ones of as many on any machine. The source is read whole first, so `count` entries
    are kept in memory.
    """

    def __init__(self, source: RecordSource, count: int, seed: int) -> None:
        super().__init__(source)
        self._count, self._seed = count, seed
        self._chosen: list[Entry] | None = None
        self._place = 0
        self._interrupted = False

    @property
    def fraction(self) -> float | None:
        """How much has been read, from 0 to 1."""
        if self._chosen is None:
            return 0.0
        return self._place / len(self._chosen) if self._chosen else 1.0

    def read(self, limit: int) -> list[Entry]:
        """Return the next entries; an empty list at the end. Raises InputError."""
        if self._chosen is None:
            self._chosen = self._choose()
        if self._interrupted:
            return []
        entries = self._chosen[self._place : self._place + limit]
        self._place += len(entries)
        return entries

    def interrupt(self) -> None:
        """Make a blocked `read` return an empty list, and every later one."""
        self._interrupted = True
        super().interrupt()

    def _choose(self) -> list[Entry]:
        """Give each entry a number by lot, and keep those with the smallest."""
        draw = Random(self._seed).random  # the same numbers in every version of Python
        chosen: list[tuple[float, int, Entry]] = []
        index = 0
        while entries := self._source.read(_BATCH):
            for entry in entries:
                lot = (-draw(), index, entry)
                if len(chosen) < self._count:
                    heapq.heappush(chosen, lot)
                elif lot > chosen[0]:
                    heapq.heapreplace(chosen, lot)
                index += 1
        return [entry for _, _, entry in sorted(chosen, key=lambda lot: lot[1])]


class Repeated(Derived):
    """Each entry of a source `times` times, one after the other."""

    def __init__(self, source: RecordSource, times: int) -> None:
        super().__init__(source)
        self._times = times
        self._ahead: list[Entry] = []

    @property
    def fraction(self) -> float | None:
        """How much has been read, from 0 to 1; None when that cannot be known."""
        return self._source.fraction

    def read(self, limit: int) -> list[Entry]:
        """Return the next entries; an empty list at the end. Raises InputError."""
        if not self._ahead:
            entries = self._source.read(max(1, limit // self._times))
            self._ahead = [entry for entry in entries for _ in range(self._times)]
        entries, self._ahead = self._ahead[:limit], self._ahead[limit:]
        return entries

    def skip(self, limit: int) -> int:
        """Pass over at most `limit` entries; return how many, none at the end. Raises InputError."""
        if self._ahead or limit < self._times:
            return len(self.read(limit))
        source, times = self._source, limit // self._times
        passed = source.skip(times) if isinstance(source, Source | Derived) else len(source.read(times))
        return passed * self._times

    def interrupt(self) -> None:
        """Make a blocked `read` return an empty list, and every later one."""
        self._ahead = []
        super().interrupt()


def derived(source: RecordSource, *, sample: int | None, seed: int, repeat: int | None) -> RecordSource:
    """Return the source of a run: of what is sampled, each entry as often as it is repeated."""
    found = source if sample is None else Sampled(source, sample, seed)
    return found if repeat is None else Repeated(found, repeat)
