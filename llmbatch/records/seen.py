"""How often something was there before, in 12 to 24 bytes for each thing remembered."""

from array import array

__all__ = ["Seen"]

_PARTS = 64
_SMALLEST = 16


class Seen:
    """Counts 64-bit fingerprints.

    With a `limit`, at least that many of the latest are remembered and at most twice as many: a generation
    is forgotten when the next is full.
    """

    def __init__(self, *, limit: int | None = None) -> None:
        self._limit = limit
        self._young = _Table()
        self._old: _Table | None = None

    def add(self, fingerprint: int) -> int:
        """Return how many times a fingerprint was added before, and add it."""
        before = self._young.add(fingerprint)
        if self._limit is None:
            return before
        if before == 0 and self._old is not None and (before := self._old.count(fingerprint)):
            self._young.repeats[fingerprint] = before + 1
        if self._young.size >= self._limit:
            self._young, self._old = _Table(), self._young
        return before


class _Table:
    """Open addressing with linear probing.

    It is cut into parts by the topmost bits, each of which grows alone: no insert has to move everything.
    A zero is an empty slot, so the fingerprint zero lives among the repeated ones.
    """

    __slots__ = ("_fill", "_parts", "repeats", "size")

    def __init__(self) -> None:
        self._parts = [array("Q", bytes(8 * _SMALLEST)) for _ in range(_PARTS)]
        self._fill = [0] * _PARTS
        self.repeats: dict[int, int] = {}
        self.size = 0

    def add(self, fingerprint: int) -> int:
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
        self.size += 1
        fill = self._fill[part] = self._fill[part] + 1
        if 3 * fill > 2 * len(slots):
            self._parts[part] = _doubled(slots)
        return 0

    def count(self, fingerprint: int) -> int:
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
