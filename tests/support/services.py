"""Modelled services for runs in virtual time: what they admit, how long they take, and when they are down."""

import asyncio
import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from llmbatch.core.exchange import Reply, Request
from llmbatch.core.fault import Fault

from .scripted import Attempt, answer, error

__all__ = [
    "Announcing",
    "BurstBucket",
    "Concurrency",
    "FixedWindow",
    "Latency",
    "Outage",
    "Queue",
    "Service",
    "SlidingWindow",
    "constant",
    "log_normal",
]

MINUTE = 60.0

Latency = Callable[[random.Random], float]


def log_normal(median: float, sigma: float = 0.6) -> Latency:
    """Draw latencies as models have them: seconds, with a long tail."""
    return lambda source: median * math.exp(source.gauss(0.0, sigma))


def constant(seconds: float) -> Latency:
    """Take equally long every time, as mocks do: what leaves together comes back together."""
    return lambda source: seconds


class Limiter(Protocol):
    """One limit of a service. `admits` may be asked without `take` following."""

    def admits(self, now: float, in_flight: int, units: float) -> bool: ...

    def take(self, now: float, units: float) -> None: ...


class SlidingWindow:
    """So many units in any minute."""

    def __init__(self, per_minute: float) -> None:
        self._limit, self._sum = per_minute, 0.0
        self._taken: deque[tuple[float, float]] = deque()

    def announces(self, now: float) -> tuple[float, float, float]:
        """Return the limit, what remains of it, and the seconds until the oldest units are out of it."""
        return self._limit, self._limit - self._sum, self._taken[0][0] + MINUTE - now

    def admits(self, now: float, in_flight: int, units: float) -> bool:
        while self._taken and self._taken[0][0] <= now - MINUTE:
            self._sum -= self._taken.popleft()[1]
        return self._sum + units <= self._limit + 1e-9

    def take(self, now: float, units: float) -> None:
        self._taken.append((now, units))
        self._sum += units


class FixedWindow:
    """So many units in each period of a clock that struck `phase` seconds after the run began."""

    def __init__(self, limit: float, phase: float, period: float = MINUTE) -> None:
        self._limit, self._phase, self._period = limit, phase, period
        self._window, self._sum = -1, 0.0

    def announces(self, now: float) -> tuple[float, float, float]:
        """Return the limit, what remains of it, and the seconds until the window ends."""
        return self._limit, self._limit - self._sum, self._period - (now - self._phase) % self._period

    def admits(self, now: float, in_flight: int, units: float) -> bool:
        window = math.floor((now - self._phase) / self._period)
        if window != self._window:
            self._window, self._sum = window, 0.0
        return self._sum + units <= self._limit + 1e-9

    def take(self, now: float, units: float) -> None:
        self._sum += units


class BurstBucket:
    """A bucket of `burst` units that fills evenly."""

    def __init__(self, per_minute: float, burst: float) -> None:
        self._rate, self._burst = per_minute / MINUTE, burst
        self.level, self._at = burst, 0.0

    def admits(self, now: float, in_flight: int, units: float) -> bool:
        self.level = min(self._burst, self.level + (now - self._at) * self._rate)
        self._at = now
        return self.level >= units - 1e-9

    def announces(self, now: float) -> tuple[float, float, float]:
        """Return the limit, what remains, and the seconds until the whole limit could have come back."""
        limit, left = MINUTE * self._rate, math.floor(self.level + 1e-9)
        return limit, left, (limit - left) / self._rate

    def take(self, now: float, units: float) -> None:
        self.level -= units


class Concurrency:
    """So many at once; `limit` may change with time."""

    def __init__(self, limit: Callable[[float], int] | int) -> None:
        self._limit = limit

    def admits(self, now: float, in_flight: int, units: float) -> bool:
        return in_flight < (self._limit if isinstance(self._limit, int) else self._limit(now))

    def take(self, now: float, units: float) -> None:
        pass


class Outage:
    """From `since` to `until` every attempt ends in `result` after `takes` seconds."""

    def __init__(self, since: float, until: float, result: Reply | Fault, takes: float = 0.05) -> None:
        self.since, self.until, self.result, self.takes = since, until, result, takes


class Queue:
    """A server of one's own: `slots` are worked on at once, the others wait in line and nobody is refused."""

    def __init__(self, slots: int) -> None:
        self._free = [0.0] * slots

    def takes(self, now: float, work: float) -> float:
        self._free.sort()
        begins = max(now, self._free[0])
        self._free[0] = begins + work
        return begins + work - now


class Service:
    """Admits what its limits allow and answers after a while; the rest is refused at once with a 429.

    A script for `play`. `headers` go with every refusal, or it is the whole of `refusal`; `reply` makes the answers,
    `units` tells what a request weighs to the limiters in `weighing`; the others count requests. `slows` tells how many
    times longer an answer takes at a time with so many in flight.
    """

    def __init__(
        self,
        *limiters: Limiter,
        latency: Latency,
        seed: int = 5,
        headers: dict[str, str] | None = None,
        refusal: Reply | Fault | None = None,
        refusal_takes: float = 0.05,
        counts_refused: bool = False,
        outages: Sequence[Outage] = (),
        queue: Queue | None = None,
        weighing: Sequence[Limiter] = (),
        units: Callable[[Request], float] = lambda request: 1.0,
        reply: Callable[[Request], Reply] = lambda request: answer(),
        slows: Callable[[float, int], float] = lambda now, in_flight: 1.0,
    ) -> None:
        self._limiters, self._weighing, self._units = limiters, weighing, units
        self._latency, self._refusal_takes, self._slows = latency, refusal_takes, slows
        self._refusal = refusal or error(429, "rate_limit_exceeded", **headers or {})
        self._counts_refused, self._outages, self._queue, self._reply = counts_refused, outages, queue, reply
        self._random = random.Random(seed)
        self._ends: list[float] = []
        self.arrivals: list[float] = []
        """When requests came, refused ones too."""
        self.refusals: list[float] = []
        self.failed: list[float] = []
        """When requests came that met an outage."""
        self.admitted: list[float] = []
        self.answered: list[float] = []

    def __call__(self, request: Request, number: int) -> Attempt:
        return self.attempt(asyncio.get_running_loop().time(), request)

    def attempt(self, now: float, request: Request) -> Attempt:
        """Return what becomes of a request that leaves at a time."""
        self.arrivals.append(now)
        for outage in self._outages:
            if outage.since <= now < outage.until:
                self.failed.append(now)
                return outage.takes, outage.result
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        units = self._units(request)
        limits = [(limiter, 1.0) for limiter in self._limiters] + [(limiter, units) for limiter in self._weighing]
        admitted = all(limiter.admits(now, len(self._ends), amount) for limiter, amount in limits)
        if admitted or self._counts_refused:
            for limiter, amount in limits:
                limiter.take(now, amount)
        if not admitted:
            self.refusals.append(now)
            return self._refusal_takes, self._refusal
        took = self._latency(self._random) * self._slows(now, len(self._ends))
        if self._queue is not None:
            took = self._queue.takes(now, took)
        heapq.heappush(self._ends, now + took)
        self.admitted.append(now)
        self.answered.append(now + took)
        return took, self._reply(request)

    @property
    def refused_share(self) -> float:
        """Of all requests, those refused."""
        return len(self.refusals) / max(1, len(self.arrivals))

    def admitted_in(self, since: float, until: float) -> int:
        """Count the admitted requests of a span of time."""
        return sum(since <= moment < until for moment in self.admitted)


class Announcing:
    """Tells with every reply of a service what its limiter announces, in headers of OpenAI's names or of others."""

    def __init__(
        self,
        service: Service,
        limiter: FixedWindow | SlidingWindow | BurstBucket,
        *,
        names: str = "x-ratelimit-{}-requests",
        reset: Callable[[float], str] = lambda seconds: f"{seconds:.3f}s",
    ) -> None:
        self._service, self._limiter, self._names, self._reset = service, limiter, names, reset

    def attempt(self, now: float, request: Request) -> Attempt:
        took, reply = self._service.attempt(now, request)
        assert isinstance(reply, Reply)
        limit, left, reset = self._limiter.announces(now)
        told = {"limit": f"{limit:.0f}", "remaining": f"{left:.0f}", "reset": self._reset(reset)}
        headers = {self._names.format(name): value for name, value in told.items()}
        return took, Reply(reply.status, {**reply.headers, **headers}, reply.body)
