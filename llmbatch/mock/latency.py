"""Computes how long an answer takes: a latency that varies, and slots with a queue. Pure, the clock passed in."""

import heapq
from math import exp
from random import Random

from llmbatch.mock.settings import MockSettings

__all__ = ["Latency"]


class Latency:
    """Tells the delay of each answer. With slots, only so many requests are worked on at once; the others queue."""

    def __init__(self, settings: MockSettings) -> None:
        self._settings = settings
        self._free = [0.0] * (settings.slots or 0)
        """When each slot is free, as a heap."""

    def delay(self, now: float, seed: str) -> float:
        """Return the seconds until the answer to a request that arrived `now`; equal seeds take equally long."""
        settings, random = self._settings, Random(f"{seed}:delay")
        work = settings.latency
        if settings.jitter:
            work += random.uniform(0, settings.jitter)
        if settings.sigma:
            work *= exp(random.gauss(0, settings.sigma))
        if not self._free:
            return work
        done = max(now, self._free[0]) + work
        heapq.heapreplace(self._free, done)
        return done - now
