"""The jobs that wait before they are sent again: for a time, for an answer of their server, or for all others. Pure."""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator

from llmbatch.core.job import Job, Route

__all__ = ["Delayed"]

FIRST = 3.0
"""Seconds after the first fault until one job is sent to see whether the server answers again; doubled each time."""
PATIENCE = 12.0
"""Seconds after which no job waits for an answer any more: the faults may be those of the jobs."""


class Delayed:
    """Jobs by the time at which each is due; those of equal time come in the order in which they were added.

    A job that may be billed twice has few attempts. It waits longer, while nothing is answered on its route, so that
    a short outage does not take them all. `has_others` tells whether a route has jobs that were not sent yet: they show
    as well whether the server answers. A job that is set `apart`, since it alone is refused, comes after all others: a
    large one finds no room where small ones take it as soon as there is some.
    """

    def __init__(self, has_others: Callable[[Route], bool] = lambda route: False) -> None:
        self._has_others = has_others
        self._heap: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._silences: dict[Route, _Silence] = {}
        self.apart: list[Job] = []
        """Those that are due when nothing else is sent."""
        self.next = math.inf
        """When the first of them is due; infinity while there is none."""

    def __len__(self) -> int:
        return len(self._heap) + len(self.apart) + sum(len(silence.jobs) for silence in self._silences.values())

    def __iter__(self) -> Iterator[Job]:
        yield from (job for _, _, job in self._heap)
        for silence in self._silences.values():
            yield from silence.jobs
        yield from self.apart

    def add(self, at: float, job: Job) -> None:
        """Let a job wait until `at`."""
        heapq.heappush(self._heap, (at, next(self._order), job))
        self.next = min(self.next, at)

    def take(self, now: float) -> Iterator[Job]:
        """Take the jobs that are due, one after the other."""
        while self._heap and self._heap[0][0] <= now:
            job = heapq.heappop(self._heap)[2]
            if job.attempts.apart is not None:
                self.apart.append(job)
                continue
            silence = self._silences.get(job.route) if job.attempts.in_doubt else None
            if silence is None or now > silence.ends:
                yield job
            else:
                silence.jobs.append(job)
        for route, silence in self._silences.items():
            if silence.jobs and now >= silence.next:
                yield from silence.take(now, ask=not self._has_others(route))
        self._see_next()

    def take_apart(self) -> list[Job]:
        """Take the jobs that wait until nothing else is sent."""
        jobs, self.apart = self.apart, []
        return jobs

    def failed(self, job: Job, now: float) -> None:
        """Note that an attempt of a job may have been billed, but brought no answer.

        A second one of the same job may be the fault of the job.
        """
        if job.attempts.in_doubt == 1 and job.route not in self._silences:
            self._silences[job.route] = _Silence(now, job.attempts.latency)

    def answered(self, job: Job, now: float) -> None:
        """Note an answer: if it came to a request that left later than those that failed, the others need not wait."""
        silence = self._silences.get(job.route)
        if silence is not None and now - job.attempts.latency > silence.left:
            del self._silences[job.route]
            for waiting in silence.jobs:
                self.add(now, waiting)

    def take_of(self, route: Route) -> list[Job]:
        """Take the jobs of one route, whatever their time."""
        found = [job for job in self if job.route == route]
        if found:
            self._heap = [entry for entry in self._heap if entry[2].route != route]
            heapq.heapify(self._heap)
            self.apart = [job for job in self.apart if job.route != route]
            self._silences.pop(route, None)
            self._see_next()
        return found

    def first(self, most: int) -> list[tuple[float, Job]]:
        """Return the jobs that are due next, each with its time; infinity stands for "after all others"."""
        held = [(silence.next, math.inf, job) for silence in self._silences.values() for job in silence.jobs]
        held += [(math.inf, math.inf, job) for job in self.apart]
        return [(at, job) for at, _, job in heapq.nsmallest(most, (*self._heap, *held), key=lambda entry: entry[:2])]

    def clear(self) -> None:
        """Drop them all."""
        self._heap.clear()
        self._silences.clear()
        self.apart.clear()
        self.next = math.inf

    def _see_next(self) -> None:
        times = (silence.next for silence in self._silences.values() if silence.jobs)
        self.next = min(self._heap[0][0] if self._heap else math.inf, *times, math.inf)


class _Silence:
    """A time in which requests of a route fail and none is answered that left later."""

    def __init__(self, now: float, took: float) -> None:
        self.since, self.left = now, now - took
        self.next, self.ends = now + FIRST, now + PATIENCE
        self.jobs: deque[Job] = deque()
        """Those that are due, and wait."""

    def take(self, now: float, *, ask: bool) -> Iterator[Job]:
        """Take all jobs when it is too long, before that one, if a job must `ask` whether the server answers."""
        if now >= self.ends:
            yield from self.jobs
            self.jobs.clear()
            return
        if ask:
            yield self.jobs.popleft()
        self.next = min(self.ends, now + (max(FIRST, now - self.since) if ask else FIRST))
