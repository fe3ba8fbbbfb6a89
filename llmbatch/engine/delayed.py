"""The jobs that wait for a time of their own, as after a fault, ordered by it. Pure."""

import heapq
import itertools
import math
from collections.abc import Iterator

from llmbatch.core.job import Job, Route

__all__ = ["Delayed"]


class Delayed:
    """Jobs by the time at which each is due; those of equal time come in the order in which they were added."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self.next = math.inf
        """When the first of them is due; infinity while there is none."""

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Job]:
        return (job for _, _, job in self._heap)

    def add(self, at: float, job: Job) -> None:
        """Let a job wait until `at`."""
        heapq.heappush(self._heap, (at, next(self._order), job))
        self.next = self._heap[0][0]

    def take(self, now: float) -> Iterator[Job]:
        """Take the jobs that are due, one after the other."""
        while self.next <= now:
            job = heapq.heappop(self._heap)[2]
            self.next = self._heap[0][0] if self._heap else math.inf
            yield job

    def take_of(self, route: Route) -> list[Job]:
        """Take the jobs of one route, whatever their time."""
        found = [job for job in self if job.route == route]
        if found:
            self._heap = [entry for entry in self._heap if entry[2].route != route]
            heapq.heapify(self._heap)
            self.next = self._heap[0][0] if self._heap else math.inf
        return found

    def first(self, most: int) -> list[tuple[float, Job]]:
        """Return the jobs that are due next, each with its time."""
        return [(at, job) for at, _, job in heapq.nsmallest(most, tuple(self._heap))]

    def clear(self) -> None:
        """Drop them all."""
        self._heap.clear()
        self.next = math.inf
