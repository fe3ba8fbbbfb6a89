"""Finds the line of a record in a packed table, since a dict of millions would take too much memory.

It is an open-addressing table of line numbers over four arrays.
"""

from array import array
from typing import Any

from llmbatch.codec.digest import FINGERPRINT, SCATTER
from llmbatch.core.fault import Kind

__all__ = ["LineFlags", "ResultIndex", "flags_of", "kind_of"]

_FLAGS = 4
_TRAITS = _FLAGS + 6
"""Bits for the traits of a line: its flags, and above them the number of its failure's kind."""

_KINDS: tuple[str | None, ...] = (None, *map(str, Kind))
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}


class LineFlags:
    """Traits of a line in the index: bits of an integer, because enum flags are slow."""

    OK = 1
    BILLED = 2
    INVALID = 4
    """It was never sent: the record was invalid."""
    DOUBTS = 8
    """Its `possibly_billed` is not 0."""


def flags_of(fields: dict[str, Any]) -> int:
    """Return the traits of a line with these fields."""
    traits = LineFlags.OK if fields["status"] == "ok" else 0
    if fields.get("billed"):
        traits |= LineFlags.BILLED
    if fields.get("key") is None:
        traits |= LineFlags.INVALID
    if fields.get("possibly_billed"):
        traits |= LineFlags.DOUBTS
    if not traits & LineFlags.OK:
        error = fields.get("error")
        kind = error.get("kind") if isinstance(error, dict) else None
        traits |= _NUMBERS.get(kind if isinstance(kind, str) else None, 0) << _FLAGS
    return traits


def kind_of(traits: int) -> str | None:
    """Return the kind of a failure from the traits of its line."""
    return _KINDS[traits >> _FLAGS]


def packed_place(offset: int, traits: int) -> int:
    """Return where a line begins and what kind of line it is, in one number."""
    return offset << _TRAITS | traits


class Entries:
    """Lines that are not in an index yet, in its own form. Those of one number belong together."""

    __slots__ = ("checks", "identities", "keys", "places")

    def __init__(self) -> None:
        self.identities, self.checks = array("Q"), array("I")
        self.keys, self.places = array("Q"), array("Q")


class ResultIndex:
    """Lines by name (`codec.digest.record_name`). Each has a number, from 0 in the order in which they were added."""

    # The walk along the slots is written out in `add` and in `find`: they run for each record, and a call would take
    # longer than the few steps that it is for.

    def __init__(self) -> None:
        self._identities = array("Q")
        self._checks = array("I")
        self._keys = array("Q")
        self._places = array("Q")
        self._slots = array("I", bytes(4 * 64))
        self.matched = bytearray()
        """1 for each line whose record was found in the input."""

    def __len__(self) -> int:
        return len(self._identities)

    def add(self, name: int, key: int, offset: int, traits: int) -> int | None:
        """Add a line; if there is one of that name already, return the number of that instead."""
        slots, identities, checks = self._slots, self._identities, self._checks
        identity, check = name & FINGERPRINT, name >> 64
        mask = len(slots) - 1  # of at most 32 bits, so that nothing beyond 64 bits counts
        slot = identity * SCATTER >> 32 & mask
        while held := slots[slot]:
            if identities[held - 1] == identity and checks[held - 1] == check:
                return held - 1
            slot = (slot + 1) & mask
        identities.append(identity)
        checks.append(check)
        self._keys.append(key)
        self._places.append(offset << _TRAITS | traits)
        self.matched.append(0)
        slots[slot] = count = len(identities)
        if 3 * count > 2 * len(slots):
            self._slots = array("I", bytes(8 * len(slots)))
            self._enter(0)
        return None

    def extend(self, entries: Entries) -> bool:
        """Add many lines, faster than one by one; False as soon as one has a name that another has."""
        start = len(self._identities)
        self._identities += entries.identities
        self._checks += entries.checks
        self._keys += entries.keys
        self._places += entries.places
        self.matched += bytes(len(entries.identities))
        if 3 * len(self._identities) > 2 * len(self._slots):
            size = len(self._slots)
            while 3 * len(self._identities) > 2 * size:
                size *= 2
            self._slots, start = array("I", bytes(4 * size)), 0
        return self._enter(start)

    def find(self, name: int) -> int | None:
        """Return the number of the line with a name; for a fingerprint alone, as in intents, the first that has it."""
        slots, identities, checks = self._slots, self._identities, self._checks
        identity, check = name & FINGERPRINT, name >> 64
        mask = len(slots) - 1
        slot = identity * SCATTER >> 32 & mask
        while held := slots[slot]:
            if identities[held - 1] == identity and (not check or checks[held - 1] == check):
                return held - 1
            slot = (slot + 1) & mask
        return None

    def name(self, place: int) -> int:
        """Return the name of the record that a line is of."""
        return self._checks[place] << 64 | self._identities[place]

    def fingerprint(self, place: int) -> int:
        """Return the fingerprint of the record that a line is of."""
        return self._identities[place]

    def key(self, place: int) -> int:
        """Return the fingerprint of a line's key."""
        return self._keys[place]

    def offset(self, place: int) -> int:
        """Return where in the file a line begins."""
        return self._places[place] >> _TRAITS

    def replace(self, place: int, key: int, offset: int, traits: int) -> None:
        """Replace a line by another one of the same record."""
        self._keys[place] = key
        self._places[place] = offset << _TRAITS | traits

    def traits(self, place: int) -> int:
        """Return the traits of a line."""
        return self._places[place] & (1 << _TRAITS) - 1

    def count(self, flags: int) -> int:
        """Count the lines that have these flags."""
        return sum(1 for place in self._places if place & flags == flags)

    def _enter(self, start: int) -> bool:
        """Enter the lines from a number on in the slots; False as soon as one has a name that another has."""
        slots, identities, checks = self._slots, self._identities, self._checks
        mask, scatter = len(slots) - 1, SCATTER
        place = start
        for identity in identities[start:] if start else identities:
            slot = identity * scatter >> 32 & mask
            while held := slots[slot]:
                if identities[held - 1] == identity and checks[held - 1] == checks[place]:
                    return False
                slot = (slot + 1) & mask
            slots[slot] = place = place + 1
        return True
