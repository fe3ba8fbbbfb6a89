"""Which records have a line already: a packed table, since a dict of millions breaks the memory bar.

An open-addressing table of line numbers over four arrays: about 35 bytes a line.
"""

from array import array
from typing import Any

from llmbatch.codec.digest import FINGERPRINT, SCATTER
from llmbatch.core.fault import Kind

__all__ = ["LineFlags", "ResultIndex", "flags_of", "kind_of"]

_FLAGS = 4
_TRAITS = _FLAGS + 6
"""How many bits hold what is known of a line: its flags, and above them the number of its failure's kind."""

_KINDS: tuple[str | None, ...] = (None, *map(str, Kind))
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}


class LineFlags:
    """What the index must know of a line: bits of an integer, since enum flags would be a quarter of its time."""

    OK = 1
    BILLED = 2
    INVALID = 4
    """It was never sent: the record was unusable."""
    DOUBTS = 8
    """Its `possibly_billed` is not 0."""


def flags_of(fields: dict[str, Any]) -> int:
    """Return what the index must know of a line with these fields."""
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
    """Return the kind of a failure from what `flags_of` returned for its line."""
    return _KINDS[traits >> _FLAGS]


class ResultIndex:
    """Lines by name (`codec.digest.record_name`). A line is referred to by its place, 0 for the first added."""

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
        """Add a line, unless there is one of that name: then return the place of that."""
        slots, identities, checks = self._slots, self._identities, self._checks
        identity, check = name & FINGERPRINT, name >> 64
        mask = len(slots) - 1
        slot = (identity * SCATTER & FINGERPRINT) >> 32 & mask
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
            self._grow()
        return None

    def find(self, name: int) -> int | None:
        """Return the place of the line with a name; a mere fingerprint, as intents have it, finds the first with it."""
        slots, identities, checks = self._slots, self._identities, self._checks
        identity, check = name & FINGERPRINT, name >> 64
        mask = len(slots) - 1
        slot = (identity * SCATTER & FINGERPRINT) >> 32 & mask
        while held := slots[slot]:
            if identities[held - 1] == identity and (not check or checks[held - 1] == check):
                return held - 1
            slot = (slot + 1) & mask
        return None

    def key(self, place: int) -> int:
        """Return the fingerprint of a line's key."""
        return self._keys[place]

    def offset(self, place: int) -> int:
        """Return where in the file a line begins."""
        return self._places[place] >> _TRAITS

    def replace(self, place: int, key: int, offset: int, traits: int) -> None:
        """Let another line of the same record stand there."""
        self._keys[place] = key
        self._places[place] = offset << _TRAITS | traits

    def traits(self, place: int) -> int:
        """Return what kind of line it is, as `flags_of` has it."""
        return self._places[place] & (1 << _TRAITS) - 1

    def _grow(self) -> None:
        self._slots = array("I", bytes(8 * len(self._slots)))
        slots, mask = self._slots, len(self._slots) - 1
        for place, identity in enumerate(self._identities, 1):
            slot = (identity * SCATTER & FINGERPRINT) >> 32 & mask
            while slots[slot]:
                slot = (slot + 1) & mask
            slots[slot] = place
