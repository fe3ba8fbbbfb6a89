"""`--dedupe` in batches: records whose request is in a batch already wait for its answer. Pure."""

from collections.abc import Iterable

from llmbatch.core.fault import Fault
from llmbatch.core.job import Job
from llmbatch.core.outcome import Completion, CopiedAnswer, Outcome

__all__ = ["Copies"]


class Copies:
    """Records by the key of their request, cut to 64 bits; `running` are the keys in batches of earlier runs."""

    def __init__(self, running: Iterable[int], *, dedupe: bool) -> None:
        self.is_on = dedupe
        self._waiting: dict[int, list[Job]] = {key: [] for key in running} if dedupe else {}
        self._answered: set[int] = set()

    def enter(self, job: Job) -> None:
        """Note that a record's request goes into a batch."""
        if self.is_on:
            self._waiting[_name(job)] = []

    def take(self, job: Job) -> Outcome | bool:
        """Return a copy of the answer to an equal request; True when the record waits for that, False without one."""
        if not self.is_on:
            return False
        if _name(job) in self._answered:
            return Outcome(job, CopiedAnswer())
        waiting = self._waiting.get(_name(job))
        if waiting is not None:
            waiting.append(job)
        return waiting is not None

    def answered(self, job: Job, verdict: Completion | Fault) -> tuple[list[Outcome], list[Job]]:
        """Return the copies of an answer; without one, the records that have to ask for themselves."""
        if not self.is_on:
            return [], []
        waiting = self._waiting.pop(_name(job), [])
        if isinstance(verdict, Completion):
            self._answered.add(_name(job))
            return [Outcome(one, CopiedAnswer()) for one in waiting], []
        return [], waiting

    def release(self, job: Job) -> list[Job]:
        """Return the records that waited for a request which leaves batches."""
        return self._waiting.pop(_name(job), [])

    def drop(self) -> int:
        """Forget the records that wait; return how many there were."""
        count = sum(map(len, self._waiting.values()))
        self._waiting.clear()
        return count


def _name(job: Job) -> int:
    return int(job.answer_key[:16], 16)
