"""A results file as it is read: the line and the doubts of each record, and what is to be done with the record."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from llmbatch.codec.digest import FINGERPRINT
from llmbatch.core.fault import Fault
from llmbatch.core.job import Identity, Job
from llmbatch.core.outcome import InvalidRecord
from llmbatch.results.doubts import Doubts, unresolved
from llmbatch.results.index import Entries, LineFlags, ResultIndex, flags_of
from llmbatch.results.intents import Intent
from llmbatch.results.lines import key_fingerprint, name_of, name_of_line
from llmbatch.results.pending import Pending
from llmbatch.results.render import paid_failure
from llmbatch.results.resume_policy import KEPT, Action, Before, Decision, ResumePolicy, decide, in_doubt, is_answered
from llmbatch.results.stats import amount

__all__ = ["AGAIN", "MATCHED", "ResultsFile"]

MATCHED, AGAIN = 1, 2
"""What became of a line's record: it was found in the input; it is to be sent again."""
_SEND = Decision(Action.SEND)
_PENDING = Decision(Action.PENDING)
_UNSURE = LineFlags.DOUBTS | LineFlags.OK
"""Of these a failure that may have been billed has only the first."""


class ResultsFile(ABC):
    """The lines of a results file by record, and the requests in doubt. Subclasses read the lines.

    `decide` is the one place where a record of the input is compared with them, for a run and for `--dry-run`.
    """

    def __init__(self) -> None:
        self._lines = ResultIndex()
        self._doubts = Doubts()
        self._unsure_keys: set[int] = set()
        """The keys of failed lines that may have been billed."""
        self._pending = Pending()
        """The records that are in batches."""

    def __repr__(self) -> str:
        """Show how many records have a line, are in doubt and are in batches."""
        return (
            f"<{type(self).__name__} {len(self._lines)} records, {self._lines.count(LineFlags.OK)} ok, "
            f"{len(self._doubts)} in doubt, {len(self._pending)} in batches>"
        )

    @property
    @abstractmethod
    def files(self) -> Sequence[int]:
        """The open files from which lines are read."""

    @abstractmethod
    def _line(self, place: int) -> dict[str, Any]:
        """Read a line again."""

    def _forget(self) -> None:
        """Empty the index."""
        self._lines, self._unsure_keys = ResultIndex(), set()

    def _enter(self, fields: dict[str, Any], offset: int) -> int | None:
        """Add a line, unless its record has one: then return the place of that."""
        flags, key = flags_of(fields), key_fingerprint(fields.get("key"))
        if flags & _UNSURE == LineFlags.DOUBTS:
            self._unsure_keys.add(key)
        return self._lines.add(name_of_line(fields), key, offset, flags)

    def _enter_all(self, entries: Entries) -> bool:
        """Add many lines, faster than one by one; False as soon as a record has another one."""
        for key, place in zip(entries.keys, entries.places, strict=True):
            if place & _UNSURE == LineFlags.DOUBTS:
                self._unsure_keys.add(key)
        return self._lines.extend(entries)

    def _find_doubts(self, planned: Iterable[tuple[Intent, int]], redone: ResultIndex) -> None:
        """Find out what of the intents is in doubt, once the lines are entered."""
        self._doubts = unresolved(planned, self._lines, redone)
        self._doubts.keys |= self._unsure_keys

    @property
    def is_new(self) -> bool:
        """Whether there is nothing to compare records with: no line, no doubt."""
        return not self._lines and not self._doubts and not self._pending

    def known_key(self, job: Job | InvalidRecord) -> str | None:
        """Return the key by which a record's request is known here: a file may have its former one."""
        if job.former_key is None:
            return job.key
        name, former = name_of(job.identity), key_fingerprint(job.former_key)
        place = self._lines.find(name)
        if place is not None and self._lines.key(place) == former:
            return job.former_key
        return job.former_key if self._doubts.attempts(name, former) else job.key

    def decide(self, identity: Identity, key: str | None, policy: ResumePolicy) -> Decision:
        """Decide about one record of the input; `key` is None for one that cannot be sent."""
        lines, name = self._lines, name_of(identity)
        if len(self._pending) and self._pending.has(name):
            return _PENDING
        place = lines.find(name)
        flags, line_key, wanted = None, 0, key_fingerprint(key)
        if place is not None:
            lines.matched[place] = MATCHED
            flags, line_key = lines.traits(place), lines.key(place)
            if is_answered(flags, line_key, wanted) and not policy.is_named(identity.id):
                return KEPT
        if key is None:
            if flags is None:
                return _SEND
            return KEPT if flags & LineFlags.OK else Decision(Action.KEEP_FAILED)
        decision = decide(
            identity,
            wanted,
            Before(flags, line_key, in_doubt(self._doubts, name, wanted, policy)),
            lambda: self._line(place) if place is not None else {},
            policy,
        )
        if place is not None and decision.action is Action.SEND:
            lines.matched[place] = AGAIN
        return decision

    def has_line(self, identity: Identity) -> bool:
        """Say whether a record has a line."""
        return self._lines.find(name_of(identity)) is not None

    @property
    def matched(self) -> bytes:
        """What became of the record of each line: 0 where it was not found."""
        return bytes(self._lines.matched)

    def match(self, others: bytes) -> bool:
        """Add what became of records elsewhere; False, with nothing added, if one of them was found here too."""
        ours = self._lines.matched
        is_found = bytes(1 if value else 0 for value in range(256))
        here, there = (int.from_bytes(one.translate(is_found), "little") for one in (ours, others))
        if here & there:
            return False
        both = int.from_bytes(ours, "little") | int.from_bytes(others, "little")
        ours[:] = both.to_bytes(len(ours), "little")
        return True

    def forget_matched(self) -> None:
        """Start to match records from none."""
        self._lines.matched = bytearray(len(self._lines))

    def orphans(self) -> int:
        """Count the lines whose record was not found in the input."""
        return self._lines.matched.count(0)

    @property
    def is_of_other_records(self) -> bool:
        """Whether no line has its record in the input."""
        return self.orphans() == len(self._lines)

    def prior(self, identity: Identity, key: str) -> int:
        """Count the attempts of unknown outcome that earlier runs made of a record's request."""
        name, wanted = name_of(identity), key_fingerprint(key)
        doubts = self._doubts.attempts(name, wanted)
        place = self._lines.find(name)
        if place is not None and self._lines.key(place) == wanted:
            # Not the sum: a later run counted on from the number in that line.
            doubts = max(doubts, self._possibly_billed(place))
        return doubts

    def claim(self, identity: Identity) -> bool:
        """Note that the input has a record; True when it is in a batch, and may not be sent."""
        if not len(self._pending) or not self._pending.claim(name_of(identity)):
            return False
        place = self._lines.find(name_of(identity))
        if place is not None:
            self._lines.matched[place] = MATCHED
        return True

    def place_in_doubt(self, job: Job) -> int:
        """Return the place of the intent by which a job's request is in doubt, -1 for none."""
        wanted = name_of(job.identity) & FINGERPRINT, key_fingerprint(job.key)
        first = len(self._pending)  # their intents come first
        places = (first + place for place, (intent, _) in enumerate(self._doubts) if intent[:2] == wanted)
        return next(places, -1)

    def paid(self, identity: Identity) -> float | None:
        """Return the cost of the attempts that led to a record's line, None when it is unknown."""
        place = self._lines.find(name_of(identity))
        return amount(self._line(place).get("cost_usd")) if place is not None else None

    def unfit_answer(self, identity: Identity) -> Fault | None:
        """Return the failure of a record's line, with its paid answer; None if that is not as we write it."""
        place = self._lines.find(name_of(identity))
        try:
            return paid_failure(self._line(place)) if place is not None else None
        except (TypeError, ValueError, LookupError):
            return None

    def _possibly_billed(self, place: int) -> int:
        """Return the attempts of unknown outcome that a line reports."""
        if not self._lines.traits(place) & LineFlags.DOUBTS:
            return 0
        count = self._line(place).get("possibly_billed", 0)
        return count if isinstance(count, int) and count > 0 else 0
