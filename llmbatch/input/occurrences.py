"""Counts how often a name occurred before, in a packed table: a dict of millions would take too much memory."""

from array import array
from collections.abc import Iterator

from llmbatch.codec.digest import FINGERPRINT, SCATTER

__all__ = ["Occurrences", "RecentOccurrences", "Recounted", "Repeats"]

_PARTS = 64
_SMALLEST = 256


class Occurrences:
    """Counts names (`codec.digest.record_name`): open addressing with linear probing.

    The table is cut into parts, each of which grows alone: no insert has to move everything. A zero is an empty slot,
    so the fingerprint zero lives among the repeated ones.
    """

    __slots__ = ("_checks", "_fill", "_parts", "repeats")

    def __init__(self) -> None:
        self._parts = [array("Q", bytes(8 * _SMALLEST)) for _ in range(_PARTS)]
        self._checks = [array("I", bytes(4 * _SMALLEST)) for _ in range(_PARTS)]
        """The bits of each name above its fingerprint."""
        self._fill = [0] * _PARTS
        self.repeats: dict[int, int] = {}

    def add(self, name: int) -> int:
        """Return how many times a name was added before, and add it."""
        fingerprint, check = name & FINGERPRINT, name >> 64
        scattered = fingerprint * SCATTER & FINGERPRINT
        part = scattered >> 58
        slots, checks = self._parts[part], self._checks[part]
        mask = len(slots) - 1
        slot = scattered >> 20 & mask
        while occupant := slots[slot]:
            if occupant == fingerprint and checks[slot] == check:
                return self._repeat(name, 1)
            slot = (slot + 1) & mask
        if not fingerprint:
            return self._repeat(name, 0)
        slots[slot], checks[slot] = fingerprint, check
        fill = self._fill[part] = self._fill[part] + 1
        if 3 * fill > 2 * len(slots):
            self._parts[part], self._checks[part] = _doubled(slots, checks)
        return 0

    def count(self, name: int) -> int:
        """Return how many times a name was added."""
        fingerprint, check = name & FINGERPRINT, name >> 64
        scattered = fingerprint * SCATTER & FINGERPRINT
        slots, checks = self._parts[scattered >> 58], self._checks[scattered >> 58]
        mask = len(slots) - 1
        slot = scattered >> 20 & mask
        while occupant := slots[slot]:
            if occupant == fingerprint and checks[slot] == check:
                return self.repeats.get(name, 1)
            slot = (slot + 1) & mask
        return self.repeats.get(name, 0)

    def _repeat(self, name: int, once: int) -> int:
        before = self.repeats.get(name, once)
        self.repeats[name] = before + 1
        return before


class RecentOccurrences:
    """Counts as `Occurrences` does, but remembers only the latest: at least `limit` of them and at most twice as many.

    A generation is forgotten when the next is full.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._young, self._old = Occurrences(), Occurrences()
        self._new = 0
        """Names in the young generation."""

    def add(self, name: int) -> int:
        """Return how many times a name was added before, as far as that is remembered, and add it."""
        before = self._young.add(name)
        if before:
            return before
        before = self._old.count(name)
        if before:
            self._young.repeats[name] = before + 1
        self._new += 1
        if self._new >= self._limit:
            self._young, self._old, self._new = Occurrences(), self._young, 0
        return before


class Repeats:
    """How often the records of a sequence were there before, kept where that is not never."""

    def __init__(self) -> None:
        self._length = 0
        self._places, self._counts = array("Q"), array("Q")

    def append(self, before: int) -> None:
        """Add the next record of the sequence."""
        if before:
            self._places.append(self._length)
            self._counts.append(before)
        self._length += 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the places of the records that were there before, and how often."""
        return zip(self._places, self._counts, strict=True)


class Recounted:
    """Counts the records of a sequence, each of which was counted in an earlier pass."""

    def __init__(self, repeats: Repeats) -> None:
        self._repeats = iter(repeats)
        self._place = -1
        self._next = next(self._repeats, None)

    def add(self, name: int) -> int:
        """Return how many times the next record of the sequence was there before, whatever its name."""
        self._place += 1
        if self._next is None or self._next[0] != self._place:
            return 0
        before = self._next[1]
        self._next = next(self._repeats, None)
        return before


def _doubled(slots: "array[int]", checks: "array[int]") -> "tuple[array[int], array[int]]":
    larger, their_checks = array("Q", bytes(16 * len(slots))), array("I", bytes(8 * len(slots)))
    mask = len(larger) - 1
    for index, fingerprint in enumerate(slots):
        if fingerprint:
            slot = (fingerprint * SCATTER & FINGERPRINT) >> 20 & mask
            while larger[slot]:
                slot = (slot + 1) & mask
            larger[slot], their_checks[slot] = fingerprint, checks[index]
    return larger, their_checks
