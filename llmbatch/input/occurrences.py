"""Counts how often a text occurred before, in a packed table: a dict of millions would take too much memory."""

from array import array
from collections.abc import Iterator

__all__ = ["Occurrences", "RecentOccurrences", "Recounted", "Repeats"]

_PARTS = 64
_SMALLEST = 256


class Occurrences:
    """Counts hashes, as Python's `hash` returns them for texts: open addressing with linear probing.

    Such a hash is keyed at random in each process, so that no one can make texts that share one, or crowd the table.
    The table is cut into parts, each of which grows alone: no insert has to move everything. A zero is an empty slot,
    so the hash zero lives among the repeated ones.
    """

    __slots__ = ("_fill", "_parts", "repeats")

    def __init__(self) -> None:
        self._parts = [array("q", bytes(8 * _SMALLEST)) for _ in range(_PARTS)]
        self._fill = [0] * _PARTS
        self.repeats: dict[int, int] = {}

    def add(self, hashed: int) -> int:
        """Return how many times a hash was added before, and add it."""
        part = hashed & 63
        slots = self._parts[part]
        mask = len(slots) - 1
        slot = hashed >> 6 & mask
        while occupant := slots[slot]:
            if occupant == hashed:
                return self._repeat(hashed, 1)
            slot = (slot + 1) & mask
        if not hashed:
            return self._repeat(hashed, 0)
        slots[slot] = hashed
        fill = self._fill[part] = self._fill[part] + 1
        if 3 * fill > 2 * len(slots):
            self._parts[part] = _doubled(slots)
        return 0

    def count(self, hashed: int) -> int:
        """Return how many times a hash was added."""
        slots = self._parts[hashed & 63]
        mask = len(slots) - 1
        slot = hashed >> 6 & mask
        while occupant := slots[slot]:
            if occupant == hashed:
                return self.repeats.get(hashed, 1)
            slot = (slot + 1) & mask
        return self.repeats.get(hashed, 0)

    def _repeat(self, hashed: int, once: int) -> int:
        before = self.repeats.get(hashed, once)
        self.repeats[hashed] = before + 1
        return before


class RecentOccurrences:
    """Counts as `Occurrences` does, but remembers only the latest: at least `limit` of them and at most twice as many.

    A generation is forgotten when the next is full.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._young, self._old = Occurrences(), Occurrences()
        self._new = 0
        """Hashes in the young generation."""

    def add(self, hashed: int) -> int:
        """Return how many times a hash was added before, as far as that is remembered, and add it."""
        before = self._young.add(hashed)
        if before:
            return before
        before = self._old.count(hashed)
        if before:
            self._young.repeats[hashed] = before + 1
        self._new += 1
        if self._new >= self._limit:
            self._young, self._old, self._new = Occurrences(), self._young, 0
        return before


class Repeats:
    """How often the records of a sequence occurred before; only those that did are kept."""

    def __init__(self) -> None:
        self.length = 0
        self.places, self.counts = array("Q"), array("Q")

    def append(self, before: int) -> None:
        """Add the next record of the sequence."""
        if before:
            self.places.append(self.length)
            self.counts.append(before)
        self.length += 1

    def extend(self, others: "Repeats") -> None:
        """Add another sequence behind this one."""
        self.places.extend(self.length + place for place in others.places)
        self.counts += others.counts
        self.length += others.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the places of the records that were there before, and how often."""
        return zip(self.places, self.counts, strict=True)


class Recounted:
    """Counts the records of a sequence, each of which was counted in an earlier pass."""

    def __init__(self, repeats: Repeats) -> None:
        self._repeats = iter(repeats)
        self._place = -1
        self._next = next(self._repeats, None)

    def add(self, hashed: int) -> int:
        """Return how many times the next record of the sequence occurred before; its hash is not used."""
        self._place += 1
        if self._next is None or self._next[0] != self._place:
            return 0
        before = self._next[1]
        self._next = next(self._repeats, None)
        return before


def _doubled(slots: "array[int]") -> "array[int]":
    larger = array("q", bytes(16 * len(slots)))
    mask = len(larger) - 1
    for hashed in slots:
        if hashed:
            slot = hashed >> 6 & mask
            while larger[slot]:
                slot = (slot + 1) & mask
            larger[slot] = hashed
    return larger
