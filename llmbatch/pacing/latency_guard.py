"""Tries fewer requests in flight where more of them bring fewer answers a second. Pure.

Requests that leave one after another are a crowd. By Little's law the answers a second at its load are that load
divided by how long its answers take. A crowd is judged by its first answers, which are its quickest ones; as that is so
of each, crowds compare. Servers that share their power among all answers make earlier ones slow as well, and others
are slow for another reason, so that what a crowd tells is no more than a reason to try less for a moment.
"""

import math
from typing import NamedTuple

__all__ = ["CROWD", "LatencyGuard"]

CROWD, ENOUGH = 32, 20
"""Requests of a crowd, and its first answers, which tell how long they take."""
SLOWER = 2.0
"""Answers are slow where all but a quick quarter of them take so many times longer than in the best crowd, or more than
in proportion to the load, if that is more."""
LESS = 0.5
"""The part of the load of a slow crowd that is tried."""
OLD = 256
"""After so many younger crowds no answers are expected any more."""


class Crowd(NamedTuple):
    """What the first answers of a crowd tell."""

    load: float
    """How many were in flight when its requests left."""
    latency: float
    quick: float
    """The latency that only a quarter of the answers stayed below."""

    @property
    def pace(self) -> float:
        """Answers a second, as far as answers are equally long."""
        return self.load / self.latency if self.latency else math.inf


class LatencyGuard:
    """The latencies of one route, each divided by the length of its answer."""

    def __init__(self) -> None:
        self.last_cut = -math.inf
        """When the limit was lowered, unless it came back."""
        self._crowds: dict[int, list[tuple[float, int, float]]] = {}
        """The latencies, loads and departures of those that have not enough answers, by their numbers."""
        self._judged = -1
        """The last crowd that was judged; older ones no longer matter."""
        self._best: Crowd | None = None
        """The crowd that brought most answers a second."""
        self._before: Crowd | None = None
        """The best crowd of those that left before a trial with less in flight, while that lasts."""
        self._back, self._tried = 0.0, 0.0
        """The limit before that trial, and while it lasts."""

    @property
    def holds(self) -> bool:
        """Whether less is tried."""
        return self._before is not None

    def answered(
        self, now: float, latency: float, output_tokens: int, departure: int, load: int, limit: float
    ) -> float | None:
        """Note an answer to the departure of this number; return another limit where there should be one.

        `load` is how many were in flight when its request left, `limit` is how many may be.
        """
        if limit < self._tried:
            self._before, self._tried = None, 0.0  # refusals have lowered it since: there is no way back to more
        number = departure // CROWD
        if number <= self._judged:
            return None
        if number not in self._crowds:
            self._crowds.pop(number - OLD, None)
        answers = self._crowds.setdefault(number, [])
        answers.append((latency / max(1, output_tokens), load, now - latency))
        if len(answers) < ENOUGH:
            return None
        self._judged = number
        self._crowds = {other: answers for other, answers in self._crowds.items() if other > number}
        latencies, loads, departures = zip(*answers, strict=True)
        crowd = Crowd(sum(loads) / ENOUGH, sum(latencies) / ENOUGH, sorted(latencies)[ENOUGH // 4])
        return self._judge(now, crowd, min(departures), limit)

    def _judge(self, now: float, crowd: Crowd, since: float, limit: float) -> float | None:
        before, best = self._before, self._best
        if before is not None:
            if since < self.last_cut:
                self._before = max(before, crowd, key=lambda its: its.pace)
                return None
            self._before, self._tried = None, 0.0
            if crowd.pace >= before.pace:
                self._best = crowd
                return None
            self._best, self.last_cut = before, -math.inf
            return self._back
        if best is None or crowd.pace > best.pace:
            self._best = crowd
        elif crowd.quick > best.latency * max(SLOWER, crowd.load / best.load):
            self._before, self.last_cut = crowd, now
            self._back, self._tried = limit, max(1.0, min(limit, LESS * crowd.load))
            return self._tried
        return None
