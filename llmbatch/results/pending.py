"""The records in batches of earlier runs: which of them the input has, and which have ended.

The reader of the input and the writer of results both ask, from threads of their own.
"""

import threading
from array import array

from llmbatch.results.index import ResultIndex

__all__ = ["Pending"]

_SEEN, _DONE, _FREE = 1, 2, 4


class Pending:
    """A table of names (`codec.digest.record_name`), each with the place of its intent."""

    def __init__(self) -> None:
        self._index = ResultIndex()
        self._answer_keys = array("Q")
        self._lock = threading.Lock()
        self.resolved = 0
        """Records found in the input that have their line now, or were given back."""
        self.others = 0
        """Lines written for records that were not found in the input."""

    def __len__(self) -> int:
        return len(self._index)

    def add(self, name: int, key: int, slot: int, answer_key: int) -> bool:
        """Add a record; False when it is there already. Its answer is that of all records with this `answer_key`."""
        if self._index.add(name, key, slot, 0) is not None:
            return False
        self._answer_keys.append(answer_key)
        return True

    def has(self, name: int) -> bool:
        """Say whether a record may not be sent."""
        place = self._index.find(name)
        return place is not None and not self._index.matched[place] & _FREE

    def find(self, name: int) -> int | None:
        """Return the place of a record by its name or fingerprint."""
        return self._index.find(name)

    def key(self, place: int) -> int:
        """Return the fingerprint of a record's key."""
        return self._index.key(place)

    def answer_keys(self) -> set[int]:
        """Return the fingerprints of the keys by which equal records share an answer."""
        return set(self._answer_keys)

    def slot(self, name: int) -> int | None:
        """Return the place of a record's intent, None for a record of no earlier batch."""
        place = self._index.find(name)
        return None if place is None else self._index.offset(place)

    def claim(self, name: int) -> bool:
        """Note that the input has a record; True when it may not be sent."""
        place = self._index.find(name)
        if place is None:
            return False
        with self._lock:
            flags = self._index.matched[place]
            if flags & _FREE:
                return False
            self._index.matched[place] = flags | _SEEN
            if flags & _DONE and not flags & _SEEN:
                self.others -= 1
                self.resolved += 1
        return True

    def settle(self, name: int) -> None:
        """Note that a record has its line."""
        place = self._index.find(name)
        if place is None:
            return
        with self._lock:
            flags = self._index.matched[place]
            self._index.matched[place] = flags | _DONE
            if flags & _DONE:
                return
            if flags & _SEEN:
                self.resolved += 1
            else:
                self.others += 1

    def release(self, name: int) -> bool:
        """Note that a batch gave a record back; False when the input has not shown it, so that it is not to be sent."""
        place = self._index.find(name)
        if place is None:
            return True
        with self._lock:
            flags = self._index.matched[place]
            self._index.matched[place] = flags | _FREE
            if not flags & _SEEN:
                return False
            if not flags & (_DONE | _FREE):
                self.resolved += 1
        return True
