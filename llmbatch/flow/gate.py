"""One route's gate: how many requests may be in flight, how many a minute, and until when nobody may pass. Pure."""

import math
from collections.abc import Callable

from llmbatch.core.fault import Fault
from llmbatch.flow.announced import Announced
from llmbatch.flow.bucket import Admitted, Bucket
from llmbatch.flow.limit import Limit
from llmbatch.flow.retry import backoff

__all__ = ["Gate"]

STUBBORN = 3
"""Refusals in a row, each after a wait of its own, that no answer to a later request interrupted."""


class Gate:
    """Admits attempts on one route, shared by all workers.

    `requests` and `tokens` are what a minute allows; they may be shared with other gates. `outage_since` is when the
    route began to refuse or fail for free, None while it works.
    """

    def __init__(self, limit: Limit, requests: Bucket, tokens: Bucket) -> None:
        self.limit = limit
        self.requests = requests
        self.tokens = tokens
        self.in_flight = 0
        self.closed_until = -math.inf
        self.outage_since: float | None = None
        self._refusals = 0
        self._last_refusal = -math.inf
        self._admitted = Admitted()

    def opens(self, now: float, weight: float) -> float:
        """Return when an attempt of so many tokens may start: `now` or earlier for at once.

        Infinity stands for "when another one ends".
        """
        if self.in_flight >= self.limit.now:
            return math.inf
        opens = self.closed_until
        if self.requests.binds:
            opens = max(opens, self.requests.opens(now, 1.0))
        if self.tokens.binds:
            opens = max(opens, self.tokens.opens(now, weight))
        return opens

    def enter(self, now: float, weight: float) -> None:
        """Count an attempt in."""
        self.in_flight += 1
        self._admitted.add(now)
        if self.requests.binds:
            self.requests.take(now, 1.0)
        if self.tokens.binds:
            self.tokens.take(now, weight)

    def leave(self) -> None:
        """Count an attempt out."""
        self.in_flight -= 1

    def hear(self, said: Announced, now: float) -> None:
        """Learn the limits a server announces, where the user named none."""
        for bucket, rate, left in (
            (self.requests, said.requests, said.requests_left),
            (self.tokens, said.tokens, said.tokens_left),
        ):
            bucket.learn(rate, left, now)

    def succeeded(self, now: float, round_trip: float, output_tokens: int) -> None:
        """Note that the service works. Comes before `leave`."""
        if now - round_trip > self._last_refusal:  # what left before says nothing of the time after
            self._refusals = 0
        self.outage_since = None
        self.limit.succeeded(now, round_trip, output_tokens, self.in_flight)

    def refused(self, fault: Fault, now: float, random: Callable[[], float]) -> float:
        """Close after a refusal for pace or overload; return by how many seconds that puts the opening off.

        Refusals that come while the gate is closed belong to the crowd that closed it, and count as one. Where the
        limit adapts, it is the answer to a refusal that names no time: the gate closes for a moment only.
        """
        if self.outage_since is None:
            self.outage_since = now
        self._admitted.take_back()
        if now >= self.closed_until:
            self._refusals += 1
            if self._refusals >= STUBBORN and self.limit.adaptive:
                # Fewer in flight did not help: it is the rate that is refused, so send at the rate that was not.
                self.requests.guess(self._admitted.per_minute(now), now)
        self._last_refusal = now
        base = 0.25 if self.limit.adaptive else 1.0
        asked = fault.wait if fault.wait is not None else 0.0
        until = (
            now + max(asked, backoff(self._refusals, base, random)) + random() * min(10.0, 0.1 * asked + 0.25 * base)
        )
        self.limit.refused(now, until - now)
        before = max(self.closed_until, now)
        self.closed_until = max(self.closed_until, until)
        return max(0.0, until - before)
