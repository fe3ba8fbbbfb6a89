"""Counts the requests in doubt, by record and key: they left, and no line tells their outcome."""

from collections.abc import Iterable, Iterator

from llmbatch.codec.digest import FINGERPRINT
from llmbatch.results.index import LineFlags, ResultIndex
from llmbatch.results.intents import SETTLED, Intent

__all__ = ["Doubts", "unresolved"]


class Doubts:
    """How many attempts of each request are in doubt.

    A request is named by the fingerprints of its record and of its key; a key of 0 stands for an unknown request, which
    may be any one of the record.
    """

    def __init__(self, entries: Iterable[tuple[Intent, int]] = ()) -> None:
        self._entries: dict[int, dict[int, tuple[Intent, int]]] = {}
        self.keys: set[int] = set()
        """The keys in doubt of all records: under `--dedupe` one answer serves all that share a key."""
        for intent, attempts in entries:
            self.add(intent, attempts)

    def __len__(self) -> int:
        """Count the records that have a request in doubt."""
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[Intent, int]]:
        """Yield the intents in doubt, each with its attempts."""
        for requests in self._entries.values():
            yield from requests.values()

    def __contains__(self, name: int) -> bool:
        """Say whether a request of a record is in doubt."""
        return name & FINGERPRINT in self._entries

    def add(self, intent: Intent, attempts: int) -> None:
        """Add a request, or replace its count of attempts."""
        self._entries.setdefault(intent.identity, {})[intent.key] = intent, attempts
        if intent.key:
            self.keys.add(intent.key)

    def attempts(self, name: int, key: int) -> int:
        """Count the attempts in doubt that may have been of this request."""
        requests = self._entries.get(name & FINGERPRINT)
        if requests is None:
            return 0
        return sum(attempts for _, attempts in (requests[k] for k in {0, key} if k in requests))


def unresolved(planned: Iterable[tuple[Intent, int]], lines: ResultIndex, redone: ResultIndex) -> Doubts:
    """Return which of the planned requests are in doubt, by the lines and by those that redo older ones.

    A mark may be older than the line, because they are not synced together, and newer after a merge.
    """
    return Doubts(
        (intent, 1 if mark == SETTLED else mark)
        for intent, mark in planned
        if mark and not _has_line(intent, mark, lines, redone)
    )


def _has_line(intent: Intent, mark: int, lines: ResultIndex, redone: ResultIndex) -> bool:
    """Say whether the outcome of an intent is written."""
    place = lines.find(intent.identity)
    if place is not None and not intent.key:
        return True
    if not intent.redo:
        return place is not None and lines.key(place) == intent.key
    # A line of this request may be the one that it was to replace.
    again = redone.find(intent.identity)
    if mark == SETTLED or again is None or redone.key(again) != intent.key:
        return mark == SETTLED
    # A paid answer that is not usable is recorded before another is asked for: then that one is in doubt.
    return not redone.traits(again) & LineFlags.BILLED
