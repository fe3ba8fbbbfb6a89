"""Decides what a refusal asks of a route: a pause, less in flight, a slower rate, a trial, or nothing. Pure.

What the refusals have in common (`refusal_pattern`) decides that. Behind a wall all requests wait, and one probe goes
first. After scattered refusals the others go on, and only the refused requests wait.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from llmbatch.core.exchange import Request
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.pacing.circuit_breaker import CircuitBreaker
from llmbatch.pacing.concurrency_limit import ConcurrencyLimit
from llmbatch.pacing.rate_search import RateSearch
from llmbatch.pacing.refusal_pattern import Pattern, RefusalPattern
from llmbatch.pacing.token_bucket import TokenBucket
from llmbatch.pacing.trials import Trials
from llmbatch.pacing.wall import QUICK, Wall

__all__ = ["Refusal", "RefusalPolicy"]

LONG, LONG_TRIPS, FREE = 1.5, 2.0, 0.5
"""A wait of more seconds and more round trips is long; the part of what was in flight that must have been answered
before it is tried whether all have to wait."""
REFUSAL, LAG = 1.5, 0.02
"""After so many times as long as a refusal took, and seconds, others that left with it would be refused too."""


class Refusal(NamedTuple):
    """A refusal for pace or overload, and the traffic of its route when it came."""

    request: Request
    fault: Fault
    now: float
    took: float
    """Seconds."""
    sent: int
    """How many requests left so far, this one included."""
    refusals: int
    """How many of them were refused, this one included."""
    in_flight: int
    """This one included."""
    answered: bool
    """Whether any was answered."""


class RefusalPolicy:
    """The policy of one route, whose gate owns the limit, the buckets and the breaker that it changes."""

    def __init__(
        self, limit: ConcurrencyLimit, requests: TokenBucket, tokens: TokenBucket, breaker: CircuitBreaker
    ) -> None:
        self._limit = limit
        self._requests = requests
        self._tokens = tokens
        self._breaker = breaker
        self.pattern = RefusalPattern()
        self.wall = Wall(limit, requests, breaker)
        self.trials = Trials(limit, requests, self.wall, self.pattern)
        self.search: RateSearch | None = None
        """Spaces departures out, after several were refused before any was answered."""
        self._searched = False
        """Whether there was such a search: another one would find nothing else."""
        self._asked: deque[float] = deque(maxlen=2)
        """The seconds that the last two refusals asked to wait: a service that refuses all asks all for about as much,
        while one that was refused at random may be asked for more."""
        self._cut_at = 0
        """How many had been sent when the limit was last cut: what left before says nothing about the time after."""

    def refused(self, refusal: Refusal, random: Callable[[], float]) -> float | None:
        """Note a refusal.

        Behind a wall the gate closes; returns by how many seconds that delays its opening. Refusals of requests that
        left before the last one belong together and count as one. A single refusal among departures that were not
        refused only lowers the limit. Returns None when only the refused jobs wait.
        """
        request, fault, now = refusal.request, refusal.fault, refusal.now
        if fault.kind is Kind.RATE_LIMITED and self._requests.explains(request.taken[0]):
            return None
        self._asked.append(fault.wait or 0.0)
        limit, pattern = self._limit, self.pattern
        limit.bad_news()
        # A connection that is refused may be one too many, which only a lower limit can show.
        common = _is_lost(fault) and not (fault.kind is Kind.CONNECTION and limit.adaptive)
        before, growing = pattern.pattern, limit.adaptive and limit.starting
        if self.search is not None and not self.search.refused(
            now, request.departure, refusal.sent, refusal.in_flight - 1, refusal.took
        ):
            self.end_search(refusal.in_flight)
        found = pattern.refused(
            request.departure,
            refusal.sent,
            refusal.in_flight,
            common=common,
            growing=growing,
            answered=refusal.answered,
            early=self.search is not None or (growing and not refusal.answered and not self._searched),
            level=self.wall.level,
            held=self._requests.held,
        )
        if found is not Pattern.WALL:
            self._go_on(refusal, before, growing=growing)
            return None
        self.end_search(refusal.in_flight)
        limit.tolerant = False
        adapts = limit.adaptive and not self._requests.guessed
        # What left together with a refusal for the load is refused with it, and a rate refuses what follows as well.
        alone = pattern.is_single or (fault.kind is not Kind.RATE_LIMITED and request.departure < self._cut_at)
        if before is Pattern.WALL and adapts and not common and alone and self._breaker.is_open:
            if self._must_cut(refusal):
                # Where others were admitted at more load, less would not help.
                self._learn(refusal, cuts=not pattern.no_slots(refusal.sent))
            return None
        return self._close(refusal, random(), first=before is not Pattern.WALL)

    def end_search(self, in_flight: int) -> None:
        """End the search for a rate, if there is one, and let no more be in flight than are."""
        if self.search is not None:
            self.search = None
            self._limit.resume_at(in_flight)

    def forget(self, sent: int, in_flight: int) -> None:
        """Forget why requests were refused, since an announced limit explains it."""
        self.pattern.forget(sent)
        self.trials.current = None
        self.end_search(in_flight)

    def reopened(self, now: float, sent: int, *, walled: bool) -> None:
        """Note that a pause is over; `walled` says that probes were refused in it."""
        if walled:
            self.wall.reopened(now)
        self.pattern.reopened(sent)

    def answered(self, now: float, in_flight: int) -> None:
        """Note an answer behind a breaker that is active: it may have made room long before a named wait ends."""
        if self._may_be_slots(now, in_flight):
            self._breaker.probe_early(now)

    def _may_be_slots(self, now: float, in_flight: int) -> bool:
        """Tell whether a probe may find that slots are free again, long before the time that a refusal named.

        That time holds for the refused request, while answers of others may have made room.
        """
        return (
            self._limit.adaptive
            and self._breaker.may_probe_early
            and self._breaker.closed_until - now > max(LONG, LONG_TRIPS * self._limit.round_trip)
            and in_flight - 1 <= (1.0 - FREE) * self.wall.load
        )

    def _go_on(self, refusal: Refusal, before: Pattern, *, growing: bool) -> None:
        """Let the others go on after a refusal that shows no wall, as many as what was found allows."""
        now, found = refusal.now, self.pattern.pattern
        if before is Pattern.TRIAL:
            self.trials.end(now)
        elif found is Pattern.TRIAL or before is Pattern.WALL:
            self.trials.begin(now, refusal.in_flight, refusal.sent - refusal.refusals)
            self._breaker.reset(now)
        elif found is Pattern.UNKNOWN:
            if growing and self.search is None:
                self._hold_back(refusal)
        elif before is Pattern.UNKNOWN:
            self._limit.tolerate(now)
        elif not growing and self._must_cut(refusal):
            self._limit.refused(now, 0.0, refusal.in_flight - 1)

    def _hold_back(self, refusal: Refusal) -> None:
        """Send no more for a moment after a refusal during growth, or search for the rate that is admitted."""
        others = refusal.in_flight - 1
        if refusal.answered or self._searched or not others:
            self._limit.freeze(others)
        elif not self.pattern.is_single:
            self._searched = True
            self.search = RateSearch(refusal.now, refusal.sent, others)
            self._limit.suspend()
        else:
            self._limit.grow_later(refusal.now + REFUSAL * refusal.took + LAG, others)

    def _must_cut(self, refusal: Refusal) -> bool:
        """Tell whether a refusal asks for less in flight: not of what left before the last cut, nor a usual one."""
        if refusal.request.departure < self._cut_at or not self.pattern.exceeds_share(refusal.sent, refusal.in_flight):
            return False
        self._cut_at = refusal.sent
        return True

    def _close(self, refusal: Refusal, draw: float, *, first: bool) -> float:
        """Close at a wall; return by how many seconds that delays the opening. `first` says that it was just found."""
        request, fault, now = refusal.request, refusal.fault, refusal.now
        lost, limited = _is_lost(fault), fault.kind is Kind.RATE_LIMITED
        if first:
            trial = self.trials.current
            load = trial.load if trial is not None and trial.raises else refusal.in_flight - 1
            self.wall.found(now, load, refusal.sent - refusal.refusals)
            self.trials.end_at_wall(now)
        before = self._breaker.closed_for(now)
        base = QUICK if lost else self.wall.pause
        if self._breaker.refused(request, now, refusal.took, min(self._asked), base, draw, lost=lost, quick=limited):
            self.pattern.closed(request.departure, refusal.sent, refusal.in_flight)
            if limited:
                self._requests.refused(now)
                self._tokens.refused(now)
            self._learn(refusal)
        elif limited and self._breaker.refusals_in_row == 1 and not self._breaker.probed_early:
            self._limit.refused_too()
        return max(0.0, self._breaker.closed_for(now) - before)

    def _learn(self, refusal: Refusal, *, cuts: bool = True) -> None:
        fault = refusal.fault
        limited = fault.kind is Kind.RATE_LIMITED and (self._limit.adaptive or self.pattern.no_slots(refusal.sent))
        price = (fault.wait or 0.0) - LONG_TRIPS * self._limit.round_trip
        others = refusal.in_flight - 1
        self.wall.refused(refusal.now, refusal.sent, refusal.refusals, others, price, rate_limited=limited, cuts=cuts)


def _is_lost(fault: Fault) -> bool:
    """Tell whether the server could not be asked: it was not there, or took no request with this key."""
    return fault.billing not in (Billing.THROTTLED, Billing.DOUBTFUL)
