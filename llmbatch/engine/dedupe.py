"""Lets equal requests wait for one answer, under `--dedupe`. Pure."""

from enum import Enum, auto

from llmbatch.core.job import Job
from llmbatch.core.outcome import CopiedAnswer, Outcome

__all__ = ["Dedupe", "Entry"]


class Entry(Enum):
    """What to do with a new job, by what became of equal ones."""

    SEND = auto()
    """It is the first, or the others brought no answer."""
    WAIT = auto()
    """An equal request is queued or in flight; it is kept until that one ends."""
    COPY = auto()
    """There is an answer, or a paid failure, that it shares."""
    HOLD = auto()
    """An equal one is held in doubt: to send this one could pay for the same answer twice."""


class Dedupe:
    """Knows the keys of the jobs of a run. For each job that is sent, one of the three methods says how it ended."""

    def __init__(self) -> None:
        self._followers: dict[str, list[Job]] = {}
        """Jobs that wait for the answer to an equal request, by its key."""
        self._paid: set[int] = set()
        """Keys that were paid for in this run, cut to 64 bits."""
        self._held: set[str] = set()
        self.waiting = 0
        """How many jobs wait for the answer to an equal request."""

    def __repr__(self) -> str:
        """Show how many keys are on their way, paid and held, and how many jobs wait."""
        sent, paid, held = len(self._followers), len(self._paid), len(self._held)
        return f"<Dedupe {sent} keys sent, {paid} paid, {held} held, {self.waiting} jobs waiting>"

    def enter(self, job: Job) -> Entry:
        """Enter a new job."""
        if _short(job) in self._paid:
            return Entry.COPY
        if job.answer_key in self._held:
            return Entry.HOLD
        followers = self._followers.get(job.answer_key)
        if followers is None:
            self._followers[job.answer_key] = []
            return Entry.SEND
        followers.append(job)
        self.waiting += 1
        return Entry.WAIT

    def paid(self, job: Job) -> list[Outcome]:
        """Note an answer, or a failure that was paid; return the outcomes of the jobs that share it."""
        self._paid.add(_short(job))
        return [Outcome(follower, CopiedAnswer()) for follower in self.released(job)]

    def held(self, job: Job) -> list[Job]:
        """Note that a job is held in doubt; return the jobs that are held with it."""
        self._held.add(job.answer_key)
        return self.released(job)

    def released(self, job: Job) -> list[Job]:
        """Note that a job ended unpaid, and no other is sent; return the jobs that waited for it."""
        followers = self._followers.pop(job.answer_key, [])
        self.waiting -= len(followers)
        return followers

    def successor(self, job: Job) -> Job | None:
        """Note that a job ended unpaid; return the job that is sent instead, for which the others wait."""
        followers = self.released(job)
        if not followers:
            return None
        self._followers[job.answer_key] = followers[1:]
        self.waiting -= 1 - len(followers)
        return followers[0]

    def forget(self) -> int:
        """Let no job wait any more; return how many did."""
        waiting, self.waiting = self.waiting, 0
        self._followers.clear()
        return waiting


def _short(job: Job) -> int:
    return int(job.answer_key[:16], 16)
