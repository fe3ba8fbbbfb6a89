"""Admits the requests of one route: how many in flight, how many a minute, and until when none. Pure."""

import math
from collections.abc import Callable, Sequence

from llmbatch.core.events import ServerChange
from llmbatch.core.exchange import RateLimits, Request
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.outcome import Completion
from llmbatch.pacing.circuit_breaker import CircuitBreaker
from llmbatch.pacing.concurrency_limit import ConcurrencyLimit
from llmbatch.pacing.failure_streak import FailureStreak
from llmbatch.pacing.refusal_policy import Refusal, RefusalPolicy
from llmbatch.pacing.token_bucket import TokenBucket
from llmbatch.pacing.wall import in_flight_for

__all__ = ["Gate"]


class Gate:
    """Admits attempts on one route, shared by all workers.

    `requests` and `tokens` are what a minute allows; they may be shared with other gates.
    """

    def __init__(self, limit: ConcurrencyLimit, requests: TokenBucket, tokens: TokenBucket) -> None:
        self.limit = limit
        self.requests = requests
        self.tokens = tokens
        self.breaker = CircuitBreaker(active=limit.adaptive)
        self.in_flight = 0
        self.sent = 0
        self.refusals = 0
        self.answers = 0
        self.failures = FailureStreak()
        self.policy = RefusalPolicy(limit, requests, tokens, self.breaker)

    def __repr__(self) -> str:
        """Show what is in flight, what may be, and why."""
        return f"<Gate {self.in_flight} of {self.now} in flight, {self.why}, {self.policy.pattern!r}>"

    @property
    def now(self) -> int:
        """Return how many may be in flight."""
        limit = self.limit.now if (trial := self.policy.trials.current) is None else min(self.limit.now, trial.most)
        return self.breaker.allowed(limit) if self.breaker.active else limit

    @property
    def why(self) -> str:
        """Say what moved that last, for people."""
        if self.breaker.active and (parked := self.breaker.why) is not None:
            return parked
        if (search := self.policy.search) is not None:
            return f"trying {search.rate:,.1f} requests a second, since faster ones were refused"
        if self.requests.guessed and self.in_flight < self.limit.now:
            return f"at {self.requests.rate:,.0f} a minute, learned from refusals"
        return self.limit.why

    @property
    def gates(self) -> Sequence["Gate"]:
        """Return itself: several servers have several gates, behind a `LoadBalancer`, which is asked the same."""
        return (self,)

    @property
    def in_use(self) -> Sequence["Gate"]:
        """Return itself."""
        return (self,)

    def gate_for(self, request: Request) -> "Gate":
        """Return itself."""
        return self

    def has_alternative(self, request: Request) -> bool:
        """Tell whether another server works: there is none."""
        return False

    def blames_server(self, request: Request, fault: Fault) -> bool:
        """Tell whether another server may answer what this one cannot: there is none."""
        return False

    @property
    def weighs(self) -> bool:
        """Whether a limit of tokens binds, so that the tokens of requests must be estimated."""
        return self.tokens.binds

    @property
    def refusals_in_row(self) -> int:
        """Return how many refusals came one after the other, each of a request that left after the one before."""
        return self.breaker.refusals_in_row

    @property
    def is_recovering(self) -> bool:
        """Tell whether it refuses, or has not answered since."""
        return self.breaker.is_recovering

    @property
    def outage_since(self) -> float | None:
        """Return when the route began to refuse or fail for free, None while it works."""
        return self.breaker.outage_since

    @property
    def closed_until(self) -> float:
        """Return until when no request may pass."""
        return self.breaker.closed_until if self.breaker.active else -math.inf

    def opens(self, now: float, weight: float) -> float:
        """Return when an attempt of so many tokens may start: `now` or earlier for at once.

        Infinity stands for "when another one ends".
        """
        limit = self.limit
        if self.in_flight >= limit.now:
            if limit.grows_at > now:
                return limit.grows_at
            limit.grow_on_silence(now)
            if self.in_flight >= limit.now:
                return limit.grows_at
        opens = max(limit.opens, self.breaker.opens(self.in_flight)) if self.breaker.active else limit.opens
        if (trial := self.policy.trials.current) is not None:
            opens = max(opens, trial.opens(self.in_flight))
        if (search := self.policy.search) is not None:
            opens = max(opens, search.opens(self.in_flight))
        if self.requests.binds:
            opens = max(opens, self.requests.opens(now, 1.0))
        if self.tokens.binds:
            opens = max(opens, self.tokens.opens(now, weight))
        return opens

    def enter(self, now: float, request: Request) -> None:
        """Count an attempt in."""
        policy = self.policy
        if now >= policy.wall.rate.due:
            policy.wall.rate.mark(now, self.sent - self.refusals)
        request.departure = self.sent
        self.sent += 1
        if not self.answers:
            self.limit.departed(now)
        if policy.search is not None and not policy.search.departed(now, self.in_flight):
            policy.end_search(self.in_flight)
        if (trial := policy.trials.current) is not None:
            trial.departed(now)
            if self.sent >= policy.pattern.due:
                policy.pattern.finish(self.sent)
                policy.trials.end(now)
        if self.breaker.active:
            walled = self.breaker.walled
            if self.breaker.departed(now, request, self.in_flight, self.limit.now):
                policy.reopened(now, self.sent, walled=walled)
            elif walled and self.limit.adaptive and self.refusals == self.sent - 1:
                # Nothing was admitted so far, so that no load was refused.
                self.limit.grow_later(self.breaker.closed_until, 1)
        self.in_flight = request.load = self.in_flight + 1
        policy.pattern.departures.departed(now, request.load)
        self.requests.take(now, 1.0)
        request.reserved = self.tokens.take(now, request.weight)
        request.taken = self.requests.taken, self.tokens.taken

    def leave(self, request: Request) -> None:
        """Count an attempt out that has no verdict."""
        self.in_flight -= 1
        if self.breaker.probe is request:
            self.breaker.give_up_probe()

    def settle(
        self, request: Request, verdict: Completion | Fault, now: float, random: Callable[[], float]
    ) -> ServerChange | None:
        """Count an attempt out, by its first verdict. Comes after `succeeded` or `refused`."""
        if isinstance(verdict, Fault):
            if not self.answers and verdict.billing is not Billing.THROTTLED:
                self.limit.bad_news()
            if verdict.kind is Kind.TIMEOUT or verdict.status in (504, 524):  # 524 is Cloudflare's gateway time-out
                self.limit.timed_out(now, self.in_flight, request.jobs[0].attempts.latency)
            if self.breaker.probe is request:
                self._probed(request, verdict, now, random)
        self.leave(request)
        return None

    def _probed(self, request: Request, fault: Fault, now: float, random: Callable[[], float]) -> None:
        """Note that a probe was not refused, but ended in a fault, which shows whether the server is there."""
        works = fault.status is not None and fault.status < 500
        if works or self.failures.loses_patience(fault, self.outage_since, now):
            self._proved(now, request.jobs[0].attempts.latency)
        else:
            self.set_aside(request, now, random)

    def set_aside(self, request: Request, now: float, random: Callable[[], float]) -> float:
        """Close because the server keeps failing; return by how many seconds that delays the opening."""
        took = request.jobs[0].attempts.latency
        before = self.breaker.closed_for(now)
        self.breaker.refused(request, now, took, 0.0, self.policy.wall.pause, random(), lost=True, quick=False)
        return max(0.0, self.breaker.closed_for(now) - before)

    def announced(self, request: Request, limits: RateLimits, now: float) -> float:
        """Learn the limits that a server announced to a request; return the seconds until they let another one pass."""
        age, known = request.jobs[0].attempts.latency, self.requests.binds
        for bucket, rate, left, reset, had in (
            (self.requests, limits.requests, limits.requests_left, limits.requests_reset, request.taken[0]),
            (self.tokens, limits.tokens, limits.tokens_left, limits.tokens_reset, request.taken[1]),
        ):
            bucket.learn(rate, left, now, reset=reset, age=age, since=bucket.taken - had, exact=bucket is self.requests)
        if self.requests.binds and not known and self.refusals:
            # What was refused before was refused for that rate.
            self.policy.forget(self.sent, self.in_flight)
            self.requests.forget()
            self.breaker.reset(now)
            self.limit.resume(min(2.0 * self.limit.now, in_flight_for(self.requests.rate, age)), clear=True)
        return max(self.requests.opens(now, 1.0), self.tokens.opens(now, 1.0)) - now

    def probe_no_later_than(self, moment: float, now: float) -> None:
        """Send the next probe at this moment, unless it is planned for an earlier one."""
        self.breaker.probe_no_later_than(moment, now)

    def counted(self, request: Request, tokens: int, now: float) -> None:
        """Correct what was reserved for a request to the tokens that it had."""
        self.tokens.correct(now, request.reserved, request.weight - tokens)

    def succeeded(self, request: Request, now: float, output_tokens: int) -> None:
        """Note that the server works. Comes before `settle`."""
        round_trip = request.jobs[0].attempts.latency
        self.answers += 1
        self.failures.answered(request)
        policy = self.policy
        if policy.search is not None and not policy.search.answered(round_trip, self.sent):
            policy.end_search(self.in_flight)
        if self.limit.adaptive:
            load, departure = request.load, request.departure
            self.limit.succeeded(now, round_trip, output_tokens, self.in_flight, load, departure)
        if self.breaker.active:
            self._proved(now, round_trip)
            policy.answered(now, self.in_flight)

    def _proved(self, now: float, round_trip: float) -> None:
        """Go on after a pause."""
        walled, limit = self.breaker.walled, self.limit
        if self.breaker.succeeded(now, round_trip, limit.now, adaptive=limit.adaptive, growing=limit.starting):
            self.policy.reopened(now - round_trip, self.sent, walled=walled)

    def refused(
        self, request: Request, fault: Fault, now: float, took: float, random: Callable[[], float]
    ) -> float | None:
        """Note a refusal for pace or overload, which took so many seconds; what it asks of the route is policy.

        Returns by how many seconds that delays the opening of the gate, None when only the refused jobs wait.
        """
        self.refusals += 1
        refusal = Refusal(
            request, fault, now, took, self.sent, self.refusals, in_flight=self.in_flight, answered=self.answers > 0
        )
        return self.policy.refused(refusal, random)
