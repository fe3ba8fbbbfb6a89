"""Kinds of services that people meet, modelled: what a job on each is, and which fixed numbers suit it."""

import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

from llmbatch.core.exchange import Reply, Request
from llmbatch.core.fault import Fault

from .clients import Model, llmbatch_takes, semaphore_takes
from .scripted import UNREACHABLE, Attempt, error
from .services import (
    BurstBucket,
    Concurrency,
    FixedWindow,
    Limiter,
    Outage,
    Queue,
    Service,
    SlidingWindow,
    log_normal,
)

__all__ = ["KINDS", "OTHERS", "SLOWER", "STRETCHES", "Kind", "best_time", "times_the_best"]

STRETCHES = (0.33, 1.0, 3.0)
"""How many times the usual latencies."""
NUMBERS = {6, 12, 16, 24, 32, 48, 64, 96, 128, 256}
"""Fixed numbers that are tried where the best one is searched for."""
HOPELESS = 1.3
"""A number that takes so many times longer than the best one so far, with one seed, is not tried with the others."""
AT_ONCE = 0.05
"""Seconds after which a request is refused."""


class Kind(NamedTuple):
    """A kind of service, and a job for it."""

    records: int
    service: Callable[[int, float], Model]
    """Makes it for a seed and so many times the usual latency."""
    best: tuple[int, ...]
    """Numbers among which the best one is. A deep run tries many others too."""


def plain(
    records: int,
    latency: float,
    *limiters: Callable[[], Limiter],
    best: tuple[int, ...],
    sigma: float = 0.3,
    **how: object,
) -> Kind:
    """Make a kind that answers after log-normal latencies and refuses what its limiters do not admit."""

    def service(seed: int, stretch: float) -> Model:
        made = [limiter() for limiter in limiters]
        return Service(*made, latency=log_normal(latency * stretch, sigma), seed=seed, **how)  # type: ignore[arg-type]

    return Kind(records, service, best)


class Unlucky:
    """Refuses a share of all requests at random, whatever the load of the service behind it is."""

    def __init__(self, service: Model, share: float, seed: int, status: int = 429, **headers: str) -> None:
        self._service, self._share = service, share
        self._refusal, self._random = error(status, **headers), random.Random(seed)

    def attempt(self, now: float, request: Request) -> Attempt:
        if self._random.random() < self._share:
            return AT_ONCE, self._refusal
        return self._service.attempt(now, request)


class InTurn:
    """Sends requests to services in turn, however busy they are."""

    def __init__(self, *services: Model) -> None:
        self._services, self._turn = services, 0

    def attempt(self, now: float, request: Request) -> Attempt:
        self._turn += 1
        return self._services[self._turn % len(self._services)].attempt(now, request)


def unlucky(
    records: int,
    latency: float,
    share: float,
    best: tuple[int, ...],
    *limiters: Callable[[], Limiter],
    status: int = 429,
    **headers: str,
) -> Kind:
    behind = plain(records, latency, *limiters, best=best)
    return behind._replace(service=lambda seed, x: Unlucky(behind.service(seed, x), share, seed, status, **headers))


def growing_slots(now: float) -> int:
    """Start with 16 slots, and twice as many every 15 seconds up to 64."""
    return int(min(64, 16 * 2 ** (now // 15)))


def queue(seed: int, stretch: float) -> Model:
    """Sixteen slots, and a queue before them that refuses nobody."""
    return Service(latency=log_normal(stretch, 0.3), seed=seed, queue=Queue(16))


def preempted(now: float, in_flight: int) -> float:
    """Answer a little more slowly with more in flight, and much more beyond 48, where some give up their memory."""
    return 1 + 0.01 * min(in_flight, 48) + 0.06 * max(0, in_flight - 48)


def replicas(seed: int, stretch: float) -> Model:
    """Four replicas with sixteen slots each, asked in turn; one of them takes five times as long."""
    latencies = (1.0, 1.0, 1.0, 5.0)
    return InTurn(
        *(
            Service(Concurrency(16), latency=log_normal(latency * stretch, 0.3), seed=seed + number)
            for number, latency in enumerate(latencies)
        )
    )


class Deploys:
    """Each of four replicas in turn is away for a second, every forty seconds."""

    def __init__(self, latency: float, seed: int) -> None:
        self._service, self._random = Service(latency=log_normal(latency, 0.4), seed=seed), random.Random(seed + 1)

    def attempt(self, now: float, request: Request) -> Attempt:
        away = int(now % 40.0 - 15.0) if now % 40.0 >= 15.0 else -1
        return (0.02, error(503)) if self._random.randrange(4) == away else self._service.attempt(now, request)


def from_nothing(seed: int, stretch: float) -> Model:
    """No slot for ten seconds, then eight, and twice as many every twelve seconds up to 64."""

    def slots(now: float) -> int:
        return 0 if now < 10.0 else int(min(64, 8 * 2 ** ((now - 10.0) // 12)))

    return Service(Concurrency(slots), latency=log_normal(0.8 * stretch, 0.3), seed=seed, refusal=error(503))


def away(*spans: tuple[float, float], result: Reply | Fault) -> list[Outage]:
    return [Outage(since, until, result, AT_ONCE) for since, until in spans]


KINDS = {
    "thirty answers of 10 s": plain(30, 10.0, best=(32,)),
    "a thousand of 5 s": plain(1000, 5.0, best=(256,)),
    "a thousand of 1 s": plain(1000, 1.0, best=(256,)),
    "50 slots": plain(1000, 1.0, lambda: Concurrency(50), best=(48,), refusal=error(503)),
    "64 slots that name twenty seconds": plain(
        1500, 6.0, lambda: Concurrency(64), best=(48, 64), refusal=error(503, retry_after="20"), refusal_takes=0.3
    ),
    "4 slots": plain(150, 2.0, lambda: Concurrency(4), best=(4,)),
    "200 slots": plain(2000, 0.5, lambda: Concurrency(200), best=(192,)),
    "40 slots and 5 % refused at random": unlucky(1500, 0.5, 0.05, (40, 48), lambda: Concurrency(40)),
    "slots that grow": plain(1500, 1.0, lambda: Concurrency(growing_slots), best=(64, 256), refusal=error(503)),
    "slots that shrink": plain(1500, 1.0, lambda: Concurrency(lambda now: 64 if now < 15 else 32), best=(64, 80)),
    "five a second": plain(300, 0.5, lambda: BurstBucket(300, 30), best=(4, 6)),
    "one a second": plain(60, 5.0, lambda: BurstBucket(60, 5), best=(2, 20, 40)),
    "one a second, and answers of 15 s": plain(60, 15.0, lambda: BurstBucket(60, 1), best=(20, 40)),
    "eight a second, and answers of 15 s": plain(500, 15.0, lambda: BurstBucket(480, 1), best=(128, 256)),
    "fifty a second": plain(1000, 0.5, lambda: BurstBucket(3000, 20), best=(32, 40)),
    "ten a second and 5 % refused at random": unlucky(500, 1.0, 0.05, (12, 16), lambda: BurstBucket(600, 60)),
    "25 a second, and latencies that differ widely": plain(
        1600, 1.0, lambda: BurstBucket(1500, 130), sigma=0.9, best=(48, 64), refusal=error(429, retry_after="2")
    ),
    "a hundred in any minute": plain(300, 2.0, lambda: SlidingWindow(100), best=(16, 48)),
    "a queue before 16 slots": Kind(600, queue, (20, 256)),
    "batches that fill up": plain(1000, 1.0, best=(192, 256), slows=lambda now, in_flight: 1 + in_flight / 40),
    "answers that slow down more than they gain": plain(
        800, 1.0, best=(32,), slows=lambda now, in_flight: 1 + (in_flight / 32) ** 2
    ),
    "a cache that is full with 48 answers": plain(1500, 5.0, best=(48,), slows=preempted),
    "a slow replica of four": Kind(800, replicas, (64, 80)),
    "connections refused beyond fifty": plain(1000, 1.0, lambda: Concurrency(50), best=(48,), refusal=UNREACHABLE),
    "a pause of twenty seconds": plain(1500, 1.0, best=(256,), outages=away((10, 30), result=error(429))),
    "an outage of twenty seconds": plain(1500, 1.0, best=(256,), outages=away((10, 30), result=error(503))),
    "two seconds away in fifteen": plain(
        2000, 1.0, best=(256,), outages=away(*((15 * n + 8, 15 * n + 10) for n in range(200)), result=error(503))
    ),
    "5 % refused at random": unlucky(1500, 0.5, 0.05, (192, 256)),
    "5 % overloaded at random": unlucky(1500, 0.5, 0.05, (192, 256), status=503),
    "5 % refused at random, named 1 s": unlucky(1500, 0.5, 0.05, (192, 256), retry_after="1"),
    "15 % overloaded at random": unlucky(1500, 0.5, 0.15, (256,), status=529),
    "a cold start": plain(500, 1.0, best=(32, 256), slows=lambda now, in_flight: 20.0 if now < 20.0 else 1.0),
    "a hundred in each minute": plain(300, 2.0, lambda: FixedWindow(100, 20.0), best=(24, 128, 256)),
}
OTHERS = {
    "20 a second in 25 slots": plain(800, 1.2, lambda: BurstBucket(1200, 10), lambda: Concurrency(25), best=(24,)),
    "a hundred a second": plain(2000, 0.3, lambda: BurstBucket(6000, 20), best=(32,)),
    "200 a minute and 1 % overloaded at random": unlucky(
        400, 3.0, 0.01, (12,), lambda: BurstBucket(200, 20), status=503
    ),
    "a batch of 48 and a queue": plain(
        800, 1.0, best=(64,), slows=lambda now, in_flight: max(1 + in_flight / 48, in_flight / 24)
    ),
    "slots that come from nothing": Kind(800, from_nothing, (64,)),
    "eight a second, one at a time": plain(500, 5.0, lambda: BurstBucket(480, 1), best=(48, 128, 256)),
    "a deploy every forty seconds": Kind(2000, lambda seed, stretch: Deploys(stretch, seed), (256,)),
}
"""Kinds that no rule was tuned on."""


class Loaded:
    """Refuses a share of all requests that rises with those in flight: none up to twenty, four of five at 68."""

    def __init__(self, latency: float, seed: int) -> None:
        self._service, self._random = Service(latency=log_normal(latency, 0.3), seed=seed), random.Random(seed + 1)

    def attempt(self, now: float, request: Request) -> Attempt:
        in_flight = sum(end > now for end in self._service.answered[-300:])
        if self._random.random() < min(0.8, (in_flight - 20) / 60):
            return AT_ONCE, error(429)
        return self._service.attempt(now, request)


class AtRandom:
    """Sends each request to one of four replicas with sixteen slots each; one of them takes five times as long."""

    def __init__(self, latency: float, seed: int) -> None:
        self._random = random.Random(seed)
        self._services = [
            Service(Concurrency(16), latency=log_normal(latency * times, 0.3), seed=seed + number)
            for number, times in enumerate((1.0, 1.0, 1.0, 5.0))
        ]

    def attempt(self, now: float, request: Request) -> Attempt:
        return self._random.choice(self._services).attempt(now, request)


class Block:
    """Blocks for half a minute who sends more than a number of requests in ten seconds, refused ones too."""

    def __init__(self, latency: float, most: int, seed: int) -> None:
        self._service, self._most = Service(latency=log_normal(latency, 0.4), seed=seed), most
        self._until, self._recent = 0.0, deque[float]()

    def attempt(self, now: float, request: Request) -> Attempt:
        if now >= self._until:
            self._recent.append(now)
            while self._recent[0] <= now - 10.0:
                self._recent.popleft()
            if len(self._recent) <= self._most:
                return self._service.attempt(now, request)
            self._until = now + 30.0
        return AT_ONCE, error(429, retry_after=str(math.ceil(self._until - now)))


class Gradual:
    """Refuses more than half as many again (and more than forty) in fifteen seconds as in the fifteen before."""

    def __init__(self, latency: float, seed: int) -> None:
        self._service = Service(latency=log_normal(latency, 0.3), seed=seed)
        self._window, self._count, self._before = 0, 0, 0

    def attempt(self, now: float, request: Request) -> Attempt:
        if (window := int(now / 15.0)) != self._window:
            self._before = self._count if window == self._window + 1 else 0
            self._window, self._count = window, 0
        if self._count >= max(40, 1.5 * self._before):
            return AT_ONCE, error(429)
        self._count += 1
        return self._service.attempt(now, request)


class Spells:
    """Refuses a third of all requests for twelve of 43 seconds, and then nearly all for six, however many there are."""

    def __init__(self, latency: float, seed: int) -> None:
        self._service, self._random = Service(latency=log_normal(latency, 0.5), seed=seed), random.Random(seed + 1)
        self._begins = self._random.uniform(0.0, 43.0)

    def attempt(self, now: float, request: Request) -> Attempt:
        at = (now + self._begins) % 43.0
        if self._random.random() < (0.0 if at < 25.0 else 0.35 if at < 37.0 else 0.85):
            return self._random.uniform(0.1, 0.8), error(529)
        return self._service.attempt(now, request)


SLOWER = {
    "refusals in spells, of a third and of nearly all": Kind(
        800, lambda seed, stretch: Spells(4.0 * stretch, seed), (64, 128, 256)
    ),
    "a hundred of 5 s": plain(100, 5.0, best=(96, 128)),
    "five hundred of 0.33 s": plain(500, 0.33, best=(256,)),
    "sixty of 0.4 s": plain(60, 0.4, best=(64,)),
    "20 % refused at random": unlucky(1500, 0.5, 0.2, (96, 256)),
    "20 % refused at random, named 1 s": unlucky(1500, 0.5, 0.2, (256,), retry_after="1"),
    "30 % overloaded at random": unlucky(1500, 0.5, 0.3, (192, 256), status=503),
    "40 slots and 5 % refused at random, named 1 s": unlucky(
        1500, 0.5, 0.05, (48, 64), lambda: Concurrency(40), retry_after="1"
    ),
    "a share that rises with the load": Kind(1500, lambda seed, stretch: Loaded(stretch, seed), (48, 192, 256)),
    "a slow replica of four, chosen at random": Kind(
        1000, lambda seed, stretch: AtRandom(stretch, seed), (96, 128, 192)
    ),
    "a block of half a minute": Kind(600, lambda seed, stretch: Block(stretch, 120, seed), (4, 8, 32)),
    "a rate that may grow by half in fifteen seconds": Kind(
        2500, lambda seed, stretch: Gradual(2.0 * stretch, seed), (192, 256)
    ),
    "twenty slots that name a minute": plain(
        400, 2.0, lambda: Concurrency(20), best=(20, 24), refusal=error(429, retry_after="60")
    ),
}
"""Kinds on which llmbatch takes longer than that at some latency."""


def times_the_best(kind: Kind, stretch: float, seeds: Sequence[int], *, thorough: bool) -> list[float]:
    """Return for each seed how many times longer llmbatch takes than the openai client at its best fixed number."""
    best = best_time(kind, stretch, seeds, thorough=thorough)
    return [llmbatch_takes(kind.records, kind.service(seed, stretch), seed) / best for seed in seeds]


def best_time(kind: Kind, stretch: float, seeds: Sequence[int], *, thorough: bool) -> float:
    """Return the median over the seeds of the seconds that the openai client takes at the number where that is least.

    All numbers are tried if `thorough`, but those that are much slower with the first seed.
    """

    def takes(number: int, seed: int) -> float:
        return semaphore_takes(kind.records, kind.service(seed, stretch), number, seed)

    best = math.inf
    for number in (*kind.best, *(sorted(NUMBERS - {*kind.best}) if thorough else ())):
        if takes(number, seeds[0]) <= HOPELESS * best:
            best = min(best, median(takes(number, seed) for seed in seeds))
    return best
