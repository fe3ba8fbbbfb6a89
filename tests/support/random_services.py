"""Services composed at random, so that rules of pace are not tuned to those that somebody thought of.

Each number gives one service and a job for it, always the same ones. Their name says all that was drawn.
"""

import math
import random
from collections.abc import Callable
from typing import TypeVar

from .clients import CEILING, Model
from .scripted import UNREACHABLE, error
from .service_kinds import Kind, Unlucky, away
from .services import BurstBucket, Concurrency, FixedWindow, Limiter, Queue, Service, SlidingWindow, log_normal

__all__ = ["random_service"]

T = TypeVar("T")

LIMITS: tuple[tuple[str, ...], ...] = (
    (),
    (),
    ("bucket",),
    ("bucket",),
    ("sliding window",),
    ("fixed window",),
    ("slots",),
    ("slots",),
    ("bucket", "slots"),
    ("bucket", "bucket"),
    ("fixed window", "slots"),
    ("queue",),
    ("batch",),
)
"""What may limit a service. What people meet more often is here twice."""
AWAY = 0.2
"""The share of services that are away for a while."""
SHARES = (0.0, 0.0, 0.0, 0.0, 0.01, 0.03, 0.05, 0.1, 0.2)
"""The share of its requests that a service refuses at random."""
MOST = 4000
"""The most records of a job, which bounds the seconds that a computer needs for it."""


def random_service(number: int) -> tuple[str, Kind]:
    """Return the name of a service with its job, and its kind."""
    drawn = _Drawn(number)
    return "; ".join(drawn.words), Kind(drawn.records, drawn.service, (8, 32, 64, 256))


class _Drawn:
    """What was drawn for a number."""

    def __init__(self, number: int) -> None:
        self._random = random.Random(number)
        self._latency = round(self._between(0.2, 15.0), 2)
        self._sigma = self._one_of(0.2, 0.3, 0.3, 0.6, 0.9)
        self.words = [f"answers of {self._latency:g} s (sigma {self._sigma:g})"]
        self._rate = CEILING / self._latency
        """The most that it answers in a second."""
        self._limiters: list[Callable[[], Limiter]] = []
        self._queue = 0
        self._how: dict[str, object] = {}
        self._draw_limits()
        seconds = self._between(8.0, 150.0)
        self.records = int(min(MOST, max(20, self._rate * seconds)))
        self.words.insert(0, f"{self.records:,} records")
        if self._random.random() < AWAY:
            self._draw_outage(seconds)
        self._share = self._one_of(*SHARES)
        self._status, self._headers = self._refusal((429, 503, 529), (None, None, "1", "3"))
        if self._share:
            self.words.append(f"{self._share:.0%} refused at random: {_words(self._status, self._headers)}")

    def service(self, seed: int, stretch: float) -> Model:
        """Make the service for a seed and so many times the latency."""
        service = Service(
            *(limiter() for limiter in self._limiters),
            latency=log_normal(self._latency * stretch, self._sigma),
            seed=seed,
            queue=Queue(self._queue) if self._queue else None,
            **self._how,  # type: ignore[arg-type]
        )
        return Unlucky(service, self._share, seed, self._status, **self._headers) if self._share else service

    def _draw_limits(self) -> None:
        for limit in self._one_of(*LIMITS):
            if limit in ("slots", "queue"):
                self._draw_slots(limit)
            elif limit == "batch":
                self._draw_batch()
            else:
                self._draw_rate(limit)
        if self._limiters:
            status, headers = self._refusal((429, 429, 429, 503, 529), (None, None, None, "1", "2", "5", "20"))
            takes = self._one_of(0.02, 0.05, 0.05, 0.1, 0.3)
            self._how.update(refusal=error(status, **headers), refusal_takes=takes)
            self.words.append(f"beyond that {_words(status, headers)} after {takes:g} s")

    def _draw_rate(self, limit: str) -> None:
        """Draw how many a minute it admits: no more than 200 in flight can use."""
        per_minute = max(10, round(60 * min(self._between(0.5, 60.0), 200 / self._latency)))
        self._rate = min(self._rate, per_minute / 60)
        if limit == "bucket":
            burst = max(1, round(per_minute * self._one_of(0, 1 / 60, 1 / 12, 1 / 6, 1)))
            self._limiters.append(lambda: BurstBucket(per_minute, burst))
            self.words.append(f"{per_minute:,} a minute, {burst:,} at once")
        elif limit == "sliding window":
            self._limiters.append(lambda: SlidingWindow(per_minute))
            self.words.append(f"{per_minute:,} in any minute")
        else:
            phase = self._random.uniform(1.0, 60.0)
            self._limiters.append(lambda: FixedWindow(per_minute, phase))
            self.words.append(f"{per_minute:,} in each minute from {phase:.0f} s on")

    def _draw_slots(self, limit: str) -> None:
        """Draw how many it works on at once; a queue before them refuses nobody."""
        slots = round(self._between(2, 200 if limit == "slots" else 100))
        self._rate = min(self._rate, slots / self._latency)
        if limit == "slots":
            self._limiters.append(lambda: Concurrency(slots))
            self.words.append(f"{slots} slots")
        else:
            self._queue = slots
            self.words.append(f"a queue before {slots} slots")

    def _draw_batch(self) -> None:
        """Draw how many more in flight make answers take twice as long as one alone."""
        twice = self._one_of(10, 30, 60)
        self._rate /= 1 + CEILING / twice
        self._how["slows"] = lambda now, in_flight: 1 + in_flight / twice
        self.words.append(f"twice as slow with {twice} in flight")

    def _draw_outage(self, seconds: float) -> None:
        since, takes = self._random.uniform(0.0, seconds), self._one_of(2, 5, 20)
        status = self._one_of(429, 503, 502, None)  # None: nobody is there
        self._how["outages"] = away((since, since + takes), result=error(status) if status else UNREACHABLE)
        self.words.append(f"{status or 'unreachable'} from {since:.1f} s on for {takes} s")

    def _refusal(self, statuses: tuple[int, ...], waits: tuple[str | None, ...]) -> tuple[int, dict[str, str]]:
        status, wait = self._one_of(*statuses), self._one_of(*waits)
        return status, {"retry_after": wait} if wait else {}

    def _one_of(self, *values: T) -> T:
        return self._random.choice(values)

    def _between(self, least: float, most: float) -> float:
        """Draw a number; each order of magnitude is equally likely."""
        return math.exp(self._random.uniform(math.log(least), math.log(most)))


def _words(status: int, headers: dict[str, str]) -> str:
    return f"{status} with Retry-After {headers['retry_after']}" if headers else str(status)
