"""`--dedupe` in batches: records whose request is in a batch already wait for its answer. Pure."""

from collections.abc import Iterable, Sequence

from llmbatch.core.job import Job
from llmbatch.core.outcome import CopiedAnswer, InvalidRecord, Outcome
from llmbatch.engine.dedupe import Entry

__all__ = ["Copies"]


class Copies:
    """Records by the key of their request, cut to 64 bits; `running` are the keys in batches of earlier runs."""

    def __init__(self, running: Iterable[int], *, dedupe: bool) -> None:
        self.is_on = dedupe
        self._waiting: dict[int, list[Job]] = {key: [] for key in running} if dedupe else {}
        self._paid: set[int] = set()
        self._held: set[int] = set()
        self._live: set[int] = set()

    def enter(self, job: Job) -> None:
        """Note that a record's request goes into a batch."""
        if self.is_on:
            self._waiting[_name(job)] = []

    def take(self, job: Job) -> Entry | None:
        """Say why a record is not sent, by what became of equal ones; None if it is. Keep it while it waits."""
        if not self.is_on:
            return None
        name = _name(job)
        if name in self._paid:
            return Entry.COPY
        if name in self._held:
            return Entry.HOLD
        if name in self._waiting:
            self._waiting[name].append(job)
        return Entry.WAIT if name in self._waiting or name in self._live else None

    def is_live(self, job: Job) -> bool:
        """Say whether an equal request left batches: then a record waits among those that are live."""
        return self.is_on and _name(job) in self._live

    def live_ended(self, outcomes: Sequence[Outcome | InvalidRecord]) -> None:
        """Note what was paid for live."""
        if self.is_on:
            self._paid.update(_name(one.job) for one in outcomes if isinstance(one, Outcome) and one.is_paid)

    def ended(self, outcome: Outcome) -> tuple[list[Outcome], list[Job]]:
        """Return the copies of an answer or a paid failure; without one, the records that have to ask themselves."""
        if not self.is_on:
            return [], []
        name = _name(outcome.job)
        waiting = self._waiting.pop(name, [])
        if outcome.is_paid:
            self._paid.add(name)
            return [Outcome(one, CopiedAnswer()) for one in waiting], []
        return [], waiting

    def held(self, job: Job) -> int:
        """Note that a record is held in doubt; return how many are held with it."""
        if not self.is_on:
            return 0
        self._held.add(_name(job))
        return len(self._waiting.pop(_name(job), []))

    def release(self, job: Job) -> list[Job]:
        """Return the records that waited for a request which leaves batches."""
        if not self.is_on:
            return []
        self._live.add(_name(job))
        return self._waiting.pop(_name(job), [])

    def drop(self) -> int:
        """Forget the records that wait; return how many there were."""
        count = sum(map(len, self._waiting.values()))
        self._waiting.clear()
        return count


def _name(job: Job) -> int:
    return int(job.answer_key[:16], 16)
