"""Lets equal requests wait for one answer, under `--dedupe`. Pure."""

from enum import Enum, auto

from llmbatch.core.job import Job
from llmbatch.core.outcome import CopiedAnswer, Outcome

__all__ = ["Dedupe", "Entry"]


class Entry(Enum):
    """Why a new job is not sent."""

    WAIT = auto()
    """An equal request is queued or in flight; it is kept until that one ends."""
    COPY = auto()
    """There is an answer, or a paid failure, that it shares."""
    HOLD = auto()
    """An equal one is held in doubt: to send this one could pay for the same answer twice."""


class Dedupe:
    """Knows the keys of the jobs of a run. For each job that is sent, one of the three methods says how it ended."""

    def __init__(self) -> None:
        self._followers: dict[str, list[Job] | None] = {}
        """Jobs that wait for the answer to an equal request, by its key; None while there are none."""
        self._paid: set[int] = set()
        """The hashes of the keys that were paid for in this run: a set of the keys would take too much memory."""
        self._held: set[str] = set()
        self.waiting = 0
        """How many jobs wait for the answer to an equal request."""

    def __repr__(self) -> str:
        """Show how many keys are on their way, paid and held, and how many jobs wait."""
        sent, paid, held = len(self._followers), len(self._paid), len(self._held)
        return f"<Dedupe {sent} keys sent, {paid} paid, {held} held, {self.waiting} jobs waiting>"

    def enter(self, job: Job) -> Entry | None:
        """Enter a new job; None says that it is to be sent: it is the first, or the others ended unpaid."""
        key = job.answer_key
        if hash(key) in self._paid:
            return Entry.COPY
        if key in self._held:
            return Entry.HOLD
        if key not in self._followers:
            self._followers[key] = None
            return None
        followers = self._followers[key]
        if followers is None:
            self._followers[key] = followers = []
        followers.append(job)
        self.waiting += 1
        return Entry.WAIT

    def paid(self, job: Job) -> list[Outcome]:
        """Note an answer, or a failure that was paid; return the outcomes of the jobs that share it."""
        key = job.answer_key
        self._paid.add(hash(key))
        return [Outcome(follower, CopiedAnswer()) for follower in self._pop(key)]

    def held(self, job: Job) -> list[Job]:
        """Note that a job is held in doubt; return the jobs that are held with it."""
        key = job.answer_key
        self._held.add(key)
        return self._pop(key)

    def released(self, job: Job) -> list[Job]:
        """Note that a job ended unpaid, and no other is sent; return the jobs that waited for it."""
        return self._pop(job.answer_key)

    def successor(self, job: Job) -> Job | None:
        """Note that a job ended unpaid; return the job that is sent instead, for which the others wait."""
        key = job.answer_key
        followers = self._pop(key)
        if not followers:
            return None
        self._followers[key] = followers[1:]
        self.waiting -= 1 - len(followers)
        return followers[0]

    def forget(self) -> int:
        """Let no job wait any more; return how many did."""
        waiting, self.waiting = self.waiting, 0
        self._followers.clear()
        return waiting

    def _pop(self, key: str) -> list[Job]:
        followers = self._followers.pop(key, None)
        if followers is None:
            return []
        self.waiting -= len(followers)
        return followers
