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
from llmbatch.pacing.rate_search import RateSearch
from llmbatch.pacing.refusal_pattern import Pattern, RefusalPattern
from llmbatch.pacing.token_bucket import TokenBucket
from llmbatch.pacing.trials import Trials
from llmbatch.pacing.wall import QUICK, Wall, in_flight_for

__all__ = ["Gate"]

LONG, LONG_TRIPS, FREE = 10.0, 4.0, 0.5
"""A wait of more seconds and more round trips is long; the part of what was in flight that must have been answered
before it is tried whether all have to wait."""
REFUSAL, LAG = 1.5, 0.02
"""After so many times as long as a refusal took, and seconds, others that left with it would be refused too."""


class Gate:
    """Admits attempts on one route, shared by all workers.

    `requests` and `tokens` are what a minute allows; they may be shared with other gates. `outage_since` is when the
    route began to refuse or fail for free, None while it works.
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
        self.outage_since: float | None = None
        self.lost = False
        """Whether the last refusal behind a wall was that there was no answer at all."""
        self.refusal_pattern = RefusalPattern()
        self.failures = FailureStreak()
        self.wall = Wall(limit, requests, self.breaker)
        self.trials = Trials(limit, requests, self.wall, self.refusal_pattern)
        self.search: RateSearch | None = None
        """Spaces departures out, after several were refused before any was answered."""
        self._searched = False
        """Whether there was such a search: another one would find nothing else."""
        self._asked_until = -math.inf
        """The latest time until which a refusal asked to wait while other requests went on."""
        self._early_probe, self._probes_early = -1, True
        """The last departure that was a probe before its time, and whether there may be another one."""
        self._cut_at = 0
        """How many had been sent when the limit was last cut: what left before says nothing about the time after."""

    def __repr__(self) -> str:
        """Show what is in flight, what may be, and why."""
        return f"<Gate {self.in_flight} of {self.now} in flight, {self.why}, {self.refusal_pattern!r}>"

    @property
    def now(self) -> int:
        """Return how many may be in flight."""
        limit = self.limit.now if (trial := self.trials.current) is None else min(self.limit.now, trial.most)
        return self.breaker.allowed(limit) if self.breaker.active else limit

    @property
    def why(self) -> str:
        """Say what moved that last, for people."""
        if self.breaker.active and (parked := self.breaker.why) is not None:
            return parked
        if self.search is not None:
            return f"trying {self.search.rate:,.1f} requests a second, since faster ones were refused"
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
        if (trial := self.trials.current) is not None:
            opens = max(opens, trial.opens(self.in_flight))
        if self.search is not None:
            opens = max(opens, self.search.opens(self.in_flight))
        if self.requests.binds:
            opens = max(opens, self.requests.opens(now, 1.0))
        if self.tokens.binds:
            opens = max(opens, self.tokens.opens(now, weight))
        return opens

    def enter(self, now: float, request: Request) -> None:
        """Count an attempt in."""
        if now >= self.wall.rate.due:
            self.wall.rate.mark(now, self.sent - self.refusals)
        request.departure = self.sent
        self.sent += 1
        if not self.answers:
            self.limit.departed(now)
        if self.search is not None and not self.search.departed(now, self.in_flight):
            self._end_search()
        if (trial := self.trials.current) is not None:
            trial.departed(now)
            if self.sent >= self.refusal_pattern.due:
                self.refusal_pattern.finish(self.sent)
                self.trials.end(now)
        if self.breaker.active:
            walled = self.breaker.walled
            if self.breaker.departed(now, request, self.in_flight, self.limit.now):
                self._reopened(now, walled=walled)
            elif walled and self.limit.adaptive and self.refusals == self.sent - 1:
                # Nothing was admitted so far, so that no load was refused.
                self.limit.grow_later(self.breaker.closed_until, 1)
        self.in_flight = request.load = self.in_flight + 1
        self.refusal_pattern.departures.departed(now, request.load)
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
        before = max(self.breaker.closed_until, now) if self.breaker.active else now
        if self.breaker.refused(request, now, took, 0.0, self.wall.pause, random(), lost=True, quick=False):
            self.outage_since = now if self.outage_since is None else self.outage_since
            self.lost = True
        return max(0.0, self.breaker.closed_until - before)

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
            self.refusal_pattern.forget(self.sent)
            self.trials.current = None
            self._end_search()
            self.requests.forget()
            self.breaker.reset(now)
            self.outage_since = None
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
        if self.search is not None and not self.search.answered(round_trip, self.sent):
            self._end_search()
        if self.limit.adaptive:
            self.limit.succeeded(now, round_trip, output_tokens, self.in_flight, request.load)
        if self.breaker.active:
            self._proved(now, round_trip)
            if self._may_be_slots(now):
                self._early_probe = self.sent
                self.breaker.probe_early(now)

    def _may_be_slots(self, now: float) -> bool:
        """Tell whether a probe may find that slots are free again, long before the time that a refusal named.

        That time holds for the refused request, while answers of others may have made room. A probe that is refused
        shows that it holds for all, and no other one is sent early.
        """
        return (
            self._probes_early
            and self.limit.adaptive
            and self.breaker.awaits_probe
            and self.breaker.named_wait
            and self.breaker.closed_until - now > max(LONG, LONG_TRIPS * self.limit.round_trip)
            and self.in_flight - 1 <= (1.0 - FREE) * self.wall.load
        )

    def _proved(self, now: float, round_trip: float) -> None:
        """Go on after a pause."""
        walled, limit = self.breaker.walled, self.limit
        if self.breaker.succeeded(now, round_trip, limit.now, adaptive=limit.adaptive, growing=limit.starting):
            self._reopened(now - round_trip, walled=walled)

    def _reopened(self, now: float, *, walled: bool) -> None:
        self.outage_since = None
        if walled:
            self.wall.reopened(now)
        self.refusal_pattern.reopened(self.sent)

    def refused(
        self, request: Request, fault: Fault, now: float, took: float, random: Callable[[], float]
    ) -> float | None:
        """Note a refusal for pace or overload, which took so many seconds.

        Behind a wall the gate closes; returns by how many seconds that delays its opening. Refusals of requests that
        left before the last one belong together and count as one. A single refusal among departures that were not
        refused only lowers the limit. Returns None when only the refused jobs wait.
        """
        self.refusals += 1
        if fault.kind is Kind.RATE_LIMITED and self.requests.explains(request.taken[0]):
            return None
        self.limit.bad_news()
        pattern = self.refusal_pattern
        # A connection that is refused may be one too many, which only a lower limit can show.
        common = _is_lost(fault) and not (fault.kind is Kind.CONNECTION and self.limit.adaptive)
        before, growing, number = pattern.pattern, self.limit.adaptive and self.limit.starting, request.departure
        if self.search is not None and not self.search.refused(now, number, self.sent, self.in_flight - 1, took):
            self._end_search()
        found = pattern.refused(
            number,
            self.sent,
            self.in_flight,
            common=common,
            growing=growing,
            answered=self.answers > 0,
            early=self.search is not None or (growing and not self.answers and not self._searched),
            level=self.wall.level,
        )
        if found is not Pattern.WALL:
            self._asked_until = max(self._asked_until, now + (fault.wait or 0.0))
            self._go_on(request, before, now, took, growing=growing)
            return None
        self._end_search()
        self.limit.tolerant = False
        adapts = self.limit.adaptive and not self.requests.guessed
        if before is Pattern.WALL and adapts and not common and pattern.is_single and self.breaker.is_open:
            self._asked_until = max(self._asked_until, now + (fault.wait or 0.0))
            if self._must_cut(request):
                self._learn(fault, now)
            return None
        return self._close(request, fault, now, took, random(), first=before is not Pattern.WALL)

    def _go_on(self, request: Request, before: Pattern, now: float, took: float, *, growing: bool) -> None:
        """Let the others go on after a refusal that shows no wall, as many as what was found allows."""
        found = self.refusal_pattern.pattern
        if before is Pattern.TRIAL:
            self.trials.end(now)
        elif found is Pattern.TRIAL or before is Pattern.WALL:
            self.trials.begin(now, self.in_flight, self.sent - self.refusals)
            self.breaker.reset(now)
            self.outage_since = None
        elif found is Pattern.UNKNOWN:
            if growing and self.search is None:
                self._hold_back(now, took)
        elif before is Pattern.UNKNOWN:
            self.limit.tolerate(now)
        elif not growing and self._must_cut(request):
            self.limit.refused(now, 0.0, self.in_flight - 1)

    def _hold_back(self, now: float, took: float) -> None:
        """Send no more for a moment after a refusal during growth, or search for the rate that is admitted."""
        others = self.in_flight - 1
        if self.answers or self._searched or not others:
            self.limit.freeze(others)
        elif not self.refusal_pattern.is_single:
            self._searched = True
            self.search = RateSearch(now, self.sent, others)
            self.limit.suspend()
        else:
            self.limit.grow_later(now + REFUSAL * took + LAG, others)

    def _end_search(self) -> None:
        if self.search is not None:
            self.search = None
            self.limit.resume_at(self.in_flight)

    def _must_cut(self, request: Request) -> bool:
        """Tell whether a refusal asks for less in flight: not of what left before the last cut, nor a usual one."""
        if request.departure < self._cut_at or not self.refusal_pattern.exceeds_share(self.sent, self.in_flight):
            return False
        self._cut_at = self.sent
        return True

    def _close(self, request: Request, fault: Fault, now: float, took: float, draw: float, *, first: bool) -> float:
        """Close at a wall; return by how many seconds that delays the opening. `first` says that it was just found."""
        lost, limited = _is_lost(fault), fault.kind is Kind.RATE_LIMITED
        asked = max(fault.wait or 0.0, self._asked_until - now if first else 0.0)
        if first:
            trial = self.trials.current
            load = trial.load if trial is not None and trial.raises else self.in_flight - 1
            self.wall.found(now, load, self.sent - self.refusals)
            self.trials.end_at_wall(now)
        self.lost = lost
        before = max(self.breaker.closed_until, now) if self.breaker.active else now
        base = QUICK if lost else self.wall.pause
        if self.breaker.refused(request, now, took, asked, base, draw, lost=lost, quick=limited):
            self.refusal_pattern.closed(request.departure, self.sent, self.in_flight)
            if limited:
                self.requests.refused(now)
                self.tokens.refused(now)
            if self.outage_since is None:
                self.outage_since = now
            self._learn(fault, now)
        elif request.departure == self._early_probe:
            self._probes_early = False
        elif limited and self.breaker.refusals_in_row == 1:
            self.limit.refused_too()
        return max(0.0, self.breaker.closed_until - before)

    def _learn(self, fault: Fault, now: float) -> None:
        limited = fault.kind is Kind.RATE_LIMITED and (self.limit.adaptive or self.refusal_pattern.no_slots(self.sent))
        asked = (fault.wait or 0.0) - LONG_TRIPS * self.limit.round_trip
        self.wall.refused(now, self.sent, self.refusals, self.in_flight - 1, asked, rate_limited=limited)


def _is_lost(fault: Fault) -> bool:
    """Tell whether the server could not be asked: it was not there, or took no request with this key."""
    return fault.billing not in (Billing.THROTTLED, Billing.DOUBTFUL)
