"""What a first pass over the input found: what to do with each record of a run that is continued."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import AlreadyDone, InvalidRecord, Outcome
from llmbatch.input.occurrences import Repeats
from llmbatch.input.unchanged import Contents
from llmbatch.results.resume_policy import KEPT, Action, Decision

__all__ = ["NAMED", "AllKept", "Survey"]

NAMED = 3
"""So many records in doubt are named in the plan of a run."""

_FATES = [
    (Decision(action, redo=bool(bits & 1), edited=bool(bits & 2), in_doubt=bool(bits & 4)), bool(bits & 8))
    for action in Action
    for bits in range(16)
]
"""All that can be decided about a record: the decision, and whether it is invalid."""
_CODES = {fate: code for code, fate in enumerate(_FATES)}
_KEPT = _CODES[KEPT, False]
_ELSEWHERE = len(_FATES)
"""The code of a record of another shard."""
_KEEP = {Action.KEEP_OK: AlreadyDone.OK, Action.KEEP_FAILED: AlreadyDone.FAILED}
_SKIPPED = bytes(code == _ELSEWHERE or (code < _ELSEWHERE and _FATES[code][0].action in _KEEP) for code in range(256))
"""For each code, whether its records need not be read again: they keep their lines, or are of another shard."""


class Survey:
    """What a first pass over the input found. Counts are of records."""

    def __init__(self) -> None:
        self.codes = bytearray()
        """What to do with each record, in the order of the input."""
        self.contents = Contents()
        """Checksums of the bytes that were read."""
        self.repeats = Repeats()
        """For the records that do not keep their lines: how often each occurred before."""
        self.worked: set[Route] = set()
        """The routes that have answers."""
        self.ids_in_doubt: list[Any] = []
        """The first records that are in doubt, by id."""
        self.close()

    def add(self, record: Job | InvalidRecord, decision: Decision) -> None:
        """Add the next record of this shard."""
        index, codes = record.identity.index, self.codes
        if index > len(codes):
            self.fill(index)
        if decision is KEPT and isinstance(record, Job):
            codes.append(_KEPT)
            self.worked.add(record.route)
            return
        codes.append(_CODES[decision._replace(attempts=0), record.key is None])
        if decision.action not in _KEEP:
            self.repeats.append(record.identity.occurrence)
        elif decision.action is Action.KEEP_OK and isinstance(record, Job):
            self.worked.add(record.route)
        if decision.in_doubt and len(self.ids_in_doubt) < NAMED:
            self.ids_in_doubt.append(record.identity.id)

    def fill(self, position: int) -> None:
        """Add records of other shards up to a position in the input."""
        self.codes += bytes((_ELSEWHERE,)) * (position - len(self.codes))

    def count(self, action: Action) -> int:
        """Count the records with this action."""
        return self._sum(lambda decision, invalid: decision.action is action)

    @property
    def edited(self) -> int:
        """Count the records that have changed since they were answered."""
        return self._sum(lambda decision, invalid: decision.edited)

    @property
    def again(self) -> int:
        """Count the records that are sent again although they have not changed."""
        return self._sum(lambda decision, invalid: decision[:3] == (Action.SEND, True, False))

    @property
    def in_doubt(self) -> int:
        """Count the records that are sent again although an earlier request may have been billed."""
        return self._sum(lambda decision, invalid: decision.in_doubt and decision.action is Action.SEND)

    @property
    def invalid(self) -> int:
        """Count the records that get a line because they are invalid."""
        return self._sum(lambda decision, invalid: invalid and decision.action is Action.SEND)

    @property
    def records(self) -> int:
        """Count all records."""
        return self._sum(lambda decision, invalid: True)

    @property
    def is_done(self) -> bool:
        """Whether every record keeps its line."""
        return not self._sum(lambda decision, invalid: decision.action not in _KEEP)

    def kept(self, start: int = 0, end: int | None = None) -> list[AlreadyDone]:
        """Return the records of a part of the input that keep their lines, in no order."""
        codes, counts = self.codes[start:end], Counter[AlreadyDone]()
        for code, (decision, _) in enumerate(_FATES):
            if decision.action in _KEEP:
                counts[_KEEP[decision.action]] += codes.count(code)
        return [*counts.elements()]

    def next_run(self, start: int) -> tuple[int, bool]:
        """Return where the group of records from `start` on ends, and whether they need not be read again."""
        is_skipped = _SKIPPED[self.codes[start]] if start < len(self.codes) else 0
        end = self._skipped.find(not is_skipped, start)
        return end if end >= 0 else len(self.codes), bool(is_skipped)

    def extend(self, other: "Survey", *, joined: bool) -> None:
        """Add what was found of the records behind these, and close; if `joined` they begin in the same file."""
        self.codes += other.codes
        self.contents.add(other.contents, joined=joined)
        self.repeats.extend(other.repeats)
        self.worked |= other.worked
        self.ids_in_doubt = (self.ids_in_doubt + other.ids_in_doubt)[:NAMED]
        self.close()

    def close(self) -> None:
        """Compute the counts, once all records are added."""
        self._counts = {code: self.codes.count(code) for code in {*self.codes} - {_ELSEWHERE}}
        self._skipped = self.codes.translate(_SKIPPED)

    def _sum(self, which: Callable[[Decision, bool], bool]) -> int:
        return sum(count for code, count in self._counts.items() if which(*_FATES[code]))


class AllKept:
    """The input of a run with nothing to do: a survey has read it, and every record keeps its line."""

    def __init__(self, kept: list[AlreadyDone]) -> None:
        self._kept = kept

    def read(self, limit: int) -> list[Job | InvalidRecord | AlreadyDone | Outcome]:
        """Return all records whatever the limit, since each is only a reference."""
        kept, self._kept = self._kept, []
        return [*kept]

    def interrupt(self) -> None:
        """Return nothing more."""
        self._kept = []
