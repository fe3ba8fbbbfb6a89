"""What a wall allows: how many requests in flight, or how many a minute, as its refusals show. Pure.

A wall is a limit that nobody announced (see `refusal_pattern`). It may lie in the requests in flight, in a rate, or in
both.
"""

import math

from llmbatch.pacing.circuit_breaker import CircuitBreaker
from llmbatch.pacing.concurrency_limit import ConcurrencyLimit
from llmbatch.pacing.rate_estimator import RateEstimator
from llmbatch.pacing.token_bucket import TokenBucket

__all__ = ["QUICK", "STEP", "Wall", "in_flight_for"]

QUICK, PATIENT = 0.1, 1.0
"""Seconds to wait after a refusal that names no time; less if the limit adapts, since it is cut too."""
STEP = 0.9
"""A refusal lowers a rate that was right until then to no less than this part of it."""
MINUTE = 60.0
ROOM = 1.25
"""How much more may be in flight than a rate needs on average."""
HALF = 0.5
"""A probe that is refused beside less than this part of what was in flight at the first refusal shows that it was not
too much."""
FAR = 0.2
"""What is in flight was not the reason of a refusal when it was less than this part of what was allowed to be."""
AS_MANY = 0.8
"""A refusal at this part of what was refused before is explained by what is in flight, and shows no rate."""


def in_flight_for(rate: float, round_trip: float) -> float:
    """Return how many requests in flight a rate per minute needs."""
    return ROOM * rate / MINUTE * round_trip


class Wall:
    """The wall of one route, whose gate owns the limit, the bucket of requests and the breaker that learn from it."""

    def __init__(self, limit: ConcurrencyLimit, requests: TokenBucket, breaker: CircuitBreaker) -> None:
        self._limit = limit
        self._requests = requests
        self._breaker = breaker
        self.rate = RateEstimator()
        self.load = 0
        """How many were in flight when it was found last, or when the last trial began."""
        self._load_rate = 0.0
        """How many a second were admitted when it was found last."""
        self._crowd, self._before, self._started = 0, 0, False
        """How many were in flight at the first of the last refusals in a row, how many were allowed to be, and whether
        that grew."""
        self._rate_limited = False
        """Whether the last refusal named a rate as its reason."""
        self._paced_at = -math.inf
        self._paused = False
        """Whether there was a pause with refused probes that was long enough to show a rate."""

    @property
    def level(self) -> float:
        """What may be sent now as a part of what had passed when the wall was found."""
        if not self._limit.adaptive or not self.load:
            return 1.0
        level = self._limit.now / self.load
        if self._requests.guessed and self._load_rate:
            level = min(level, self._requests.rate / MINUTE / self._load_rate)
        return level

    @property
    def pause(self) -> float:
        """The seconds to wait after a first refusal that names no time."""
        if not self._limit.adaptive:
            return PATIENT
        pause = QUICK * 2.0 ** min(self.rate.repeated, 3)
        return max(pause, 120.0 / self._requests.rate) if self._requests.guessed else pause

    def found(self, now: float, in_flight: int, admitted: int) -> None:
        """Note that it was found, while so many were in flight and so many had been admitted."""
        self.load = in_flight
        self._load_rate = self.rate.recent(now, admitted)

    def refused(
        self,
        now: float,
        sent: int,
        refusals: int,
        others: int,
        price: float = 0.0,
        *,
        rate_limited: bool,
        cuts: bool = True,
    ) -> None:
        """Find out what was too much, the requests in flight or the rate, and send less of it.

        `others` were in flight beside the refused one, which waits for `price` seconds too long for this run.
        `cuts` says that fewer in flight may help.
        """
        self._rate_limited = rate_limited
        limit = self._limit
        alone = self._breaker.refusals_in_row > 1
        if not limit.adaptive:
            if rate_limited:
                self._learn_rate(now, sent, refusals, others, alone=alone)
            return
        if not alone:
            self._crowd, self._before, self._started = others, limit.now, limit.starting
        paced = self._requests.guessed and others < limit.now - 1
        if rate_limited:
            self._learn_rate(now, sent, refusals, others, alone=alone)
        if alone:
            if others < HALF * self._crowd:
                limit.resume(self._before, clear=self._started)  # so few cannot be too many
            elif rate_limited and not self._requests.guessed and self._crowd >= FAR * self._before:
                limit.refused_alone(others)
        elif cuts and not paced:
            limit.refused(now, max(QUICK, self._breaker.closed_until - now, price), others)

    def reopened(self, now: float) -> None:
        """Learn from a pause with refused probes, which is over now.

        The first pause shows no rate: it may be an outage, or the end of a window that had begun before the run.
        """
        rate = self.rate.reopened(now) if self._rate_limited and self._limit.adaptive else None
        if rate is not None and not self._paused:
            self._paused = True
        else:
            self._keep_to(rate, now)

    def _learn_rate(self, now: float, sent: int, refusals: int, others: int, *, alone: bool) -> None:
        limit, requests, breaker = self._limit, self._requests, self._breaker
        rate = self.rate.refused(now, sent, refusals)
        if breaker.named_wait and 0 < AS_MANY * limit.plateau <= others and not requests.guessed:
            rate = None  # it would count the pause that was asked for
        if requests.guessed:
            before, settled = requests.rate, now - self._paced_at > max(2.0, limit.round_trip)
            rate = min(before, max(STEP * before, rate or 0.0)) if settled and not alone else None
        breaker.slowdown = 2.0 ** min(self.rate.repeated, 2)
        self._keep_to(rate, now, lowered=requests.guessed)
        if alone:
            breaker.probe_no_later_than(self.rate.window_ends(), now)

    def _keep_to(self, rate: float | None, now: float, *, lowered: bool = False) -> None:
        if rate is not None:
            self._paced_at = now
            self._requests.guess(rate, now, lowered=lowered)
            self._limit.at_least(in_flight_for(self._requests.rate, self._limit.round_trip))
