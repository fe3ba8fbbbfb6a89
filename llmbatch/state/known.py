"""Which records have a line already: a packed table, since a dict of millions breaks the memory bar.

An open-addressing table of line numbers over three arrays: about 30 bytes a line.
"""

from array import array
from enum import IntFlag
from typing import Any

__all__ = ["Known", "Trait", "traits_of"]

_TRAITS = 4


class Trait(IntFlag):
    """What the index must know of a line."""

    OK = 1
    BILLED = 2
    INVALID = 4
    """It was never sent: the record was unusable."""
    DOUBTS = 8
    """Its `possibly_billed` is not 0."""


def traits_of(fields: dict[str, Any]) -> Trait:
    """Return what the index must know of a line with these fields."""
    traits = Trait.OK if fields["status"] == "ok" else Trait(0)
    if fields.get("billed"):
        traits |= Trait.BILLED
    if fields.get("key") is None:
        traits |= Trait.INVALID
    if fields.get("possibly_billed"):
        traits |= Trait.DOUBTS
    return traits


class Known:
    """Lines by identity. A line is named by its place, 0 for the first added."""

    def __init__(self) -> None:
        self._identities = array("Q")
        self._keys = array("Q")
        self._places = array("Q")
        self._slots = array("I", bytes(4 * 64))
        self.met = bytearray()
        """1 for every line whose record was met in the input."""

    def __len__(self) -> int:
        return len(self._identities)

    def add(self, identity: int, key: int, offset: int, traits: Trait) -> int | None:
        """Add a line; return the place of an earlier one with the same identity, which then stands."""
        slot = self._slot(identity)
        if self._slots[slot]:
            return self._slots[slot] - 1
        self._identities.append(identity)
        self._keys.append(key)
        self._places.append(offset << _TRAITS | traits.value)
        self.met.append(0)
        self._slots[slot] = len(self._identities)
        if 3 * len(self._identities) > 2 * len(self._slots):
            self._grow()
        return None

    def find(self, identity: int) -> int | None:
        """Return the place of an identity's line."""
        held = self._slots[self._slot(identity)]
        return held - 1 if held else None

    def key(self, place: int) -> int:
        """Return the fingerprint of a line's key."""
        return self._keys[place]

    def offset(self, place: int) -> int:
        """Return where in the file a line begins."""
        return self._places[place] >> _TRAITS

    def move(self, place: int, offset: int) -> None:
        """Let a line begin elsewhere."""
        self._places[place] = offset << _TRAITS | (self._places[place] & (1 << _TRAITS) - 1)

    def traits(self, place: int) -> Trait:
        """Return what kind of line it is."""
        return Trait(self._places[place] & (1 << _TRAITS) - 1)

    def _slot(self, identity: int) -> int:
        slots, identities = self._slots, self._identities
        mask = len(slots) - 1
        slot = identity & mask
        while (held := slots[slot]) and identities[held - 1] != identity:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        self._slots = array("I", bytes(8 * len(self._slots)))
        slots, mask = self._slots, len(self._slots) - 1
        for place, identity in enumerate(self._identities, 1):
            slot = identity & mask
            while slots[slot]:
                slot = (slot + 1) & mask
            slots[slot] = place
