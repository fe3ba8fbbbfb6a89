"""How often something was there before, in 12 to 24 bytes for each thing remembered."""

from array import array

__all__ = ["Occurrences", "RecentOccurrences"]

_PARTS = 64
_SMALLEST = 256


class Occurrences:
    """Counts 64-bit fingerprints: open addressing with linear probing.

    The table is cut into parts by the topmost bits, each of which grows alone: no insert has to move everything.
    A zero is an empty slot, so the fingerprint zero lives among the repeated ones.
    """

    __slots__ = ("_fill", "_parts", "repeats")

    def __init__(self) -> None:
        self._parts = [array("Q", bytes(8 * _SMALLEST)) for _ in range(_PARTS)]
        self._fill = [0] * _PARTS
        self.repeats: dict[int, int] = {}

    def add(self, fingerprint: int) -> int:
        """Return how many times a fingerprint was added before, and add it."""
        part = fingerprint >> 58
        slots = self._parts[part]
        mask = len(slots) - 1
        slot = fingerprint & mask
        while held := slots[slot]:
            if held == fingerprint:
                return self._repeat(fingerprint, 1)
            slot = (slot + 1) & mask
        if not fingerprint:
            return self._repeat(fingerprint, 0)
        slots[slot] = fingerprint
        fill = self._fill[part] = self._fill[part] + 1
        if 3 * fill > 2 * len(slots):
            self._parts[part] = _doubled(slots)
        return 0

    def count(self, fingerprint: int) -> int:
        """Return how many times a fingerprint was added."""
        slots = self._parts[fingerprint >> 58]
        mask = len(slots) - 1
        slot = fingerprint & mask
        while held := slots[slot]:
            if held == fingerprint:
                return self.repeats.get(fingerprint, 1)
            slot = (slot + 1) & mask
        return self.repeats.get(fingerprint, 0)

    def _repeat(self, fingerprint: int, once: int) -> int:
        before = self.repeats.get(fingerprint, once)
        self.repeats[fingerprint] = before + 1
        return before


class RecentOccurrences:
    """Counts as `Seen` does, but remembers only the latest: at least `limit` of them and at most twice as many.

    A generation is forgotten when the next is full.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._young, self._old = Occurrences(), Occurrences()
        self._new = 0
        """Fingerprints in the young generation."""

    def add(self, fingerprint: int) -> int:
        """Return how many times a fingerprint was added before, as far as that is remembered, and add it."""
        before = self._young.add(fingerprint)
        if before:
            return before
        before = self._old.count(fingerprint)
        if before:
            self._young.repeats[fingerprint] = before + 1
        self._new += 1
        if self._new >= self._limit:
            self._young, self._old, self._new = Occurrences(), self._young, 0
        return before


def _doubled(slots: "array[int]") -> "array[int]":
    larger = array("Q", bytes(16 * len(slots)))
    mask = len(larger) - 1
    for fingerprint in slots:
        if fingerprint:
            slot = fingerprint & mask
            while larger[slot]:
                slot = (slot + 1) & mask
            larger[slot] = fingerprint
    return larger
