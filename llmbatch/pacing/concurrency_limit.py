"""Finds how many requests may be in flight on a route. Pure.

One canary, then slow start, then cubic growth around the last limit that was refused (CUBIC, RFC 9438), with one cut
per round trip. Refusals come faster than answers, so slow start goes on while nothing is refused, up to a bound, since
servers that queue instead of refusing are silent too. Answers that are as quick as the first ones show that there is no
queue: they double the bound. Where more in flight brings fewer answers a second, less is tried.
"""

import math

from llmbatch.core.settings import PatienceSettings
from llmbatch.core.snapshot import Cause
from llmbatch.pacing.latency_baseline import LatencyBaseline
from llmbatch.pacing.latency_guard import LatencyGuard

__all__ = ["CUT", "DOUBLING", "FEW_SLOTS", "SILENT", "ConcurrencyLimit"]

START = 12.0
"""The limit after the canary came back."""
CANARY, DOUBLING = 0.2, 0.12
"""Seconds without bad news after which the canary has company, and in which the limit doubles later on."""
SPACING, SPACED = 0.05, 9
"""Seconds after which one more may follow until so many are in flight. These are reached about as soon as by doubling,
but few more leave beyond a small limit while its first refusal is on its way."""
SILENT, FEW_SLOTS = 64, 8
"""The most that may be in flight before answers show that more in flight brings more of them; fewer at a server that
queues requests beyond its few slots."""
FEW = 5
"""The answers that others are compared with left with at most this part of that bound in flight."""
PROOFS = 8
"""So many answers to requests that left with half of the bound in flight, as quick as the first ones, double it."""
FOLLOW = 2
"""In slow start each quick answer lets so many more follow, whatever the load at which its request left: the limit
triples per round trip."""
PATIENCE, UNQUEUED, AT_MOST = 0.5, 1.5, 0.9
"""The part of the time-out that a queue in the server may take; or so many times as long as answers take without one,
but no more than the last part."""
LEFT = 0.25
"""The part of the time-out that it may need for what was given up when more is sent."""
RECENT = 0.3
"""The weight of the last answer in how long the last few took."""
LOOK = 16
"""Answers over which their rate is measured, after the first few."""
CUT = 0.9
CUBIC = 0.4
"""CUBIC's own are 0.7 and 0.4; a gentler cut wastes less where a refusal is cheap (tests/engine/test_pace)."""
FIRST, LEAST, MOST = 20, 10, 40
"""Answers between two tries to exceed a limit that was refused, so that refusals stay rare: at first, and bounds. A
refusal at about the same limit confirms it, and doubles them; one elsewhere shows that it moves, and halves them."""
ALIKE = 1.25
"""Limits that differ by no more than this factor are about the same."""
SOON = 2.0
"""The unit of time of growth after a cut is a round trip, but no more than so many seconds: a refusal comes long before
a slow answer."""
DEAR = 30.0
"""Beyond a limit that was refused it is so many times the pause that a refusal costs, if that is longer, or twice as
many times as were in flight, if that is less: one more beside a few brings much, one beside many little."""
USED = 0.8
"""The share of the limit that must have been in flight for a success to prove that more would do."""


class ConcurrencyLimit:
    """The limit of one route. Fixed at `ceiling` unless `adaptive`. `why` says what moved it last, for people."""

    def __init__(
        self,
        ceiling: int,
        *,
        adaptive: bool,
        silent: int = SILENT,
        timeout: float = PatienceSettings().timeout,
        start: float = 0.0,
    ) -> None:
        self._ceiling = float(ceiling)
        self.adaptive = adaptive
        self._bound = self._silent = float(min(silent, ceiling))
        """The most that may be in flight without an answer that was as quick; and now, since bad news ends it."""
        self._baseline = LatencyBaseline(max(1, silent // FEW))
        self._quick = True
        """Whether the last answer was as quick as the first ones."""
        self._proofs = 0
        """Quick answers with more than half of the bound in flight."""
        self._timeout = self._named_timeout = timeout
        self._longest = 0.0
        """The longest that an answer took: no gateway gave up sooner."""
        self._lately = 0.0
        """How long the last few answers took."""
        self._start = max(min(START, self._silent), start)
        """The limit after the first answer: what a run before this one found, if it found more."""
        self._pace = math.inf
        """Answers a second."""
        self._queue_bound = math.inf
        """The most that the server answers within a good part of the time-out."""
        self._computes_until = -math.inf
        """When the server has computed what was given up."""
        self.opens = -math.inf
        """When it has computed enough of that for more to be sent."""
        self.grows_at = math.inf
        """When silence allows one more in flight."""
        self._early = True
        """Whether every answer counts, because there were few."""
        self._counted = 0
        """Answers since `_counted_from`."""
        self._counted_from = 0.0
        self._move(1.0 if adaptive else self._ceiling)
        self._canary = adaptive
        self._suspended = False
        """Whether the rate of departures is limited for now, and not what is in flight."""
        self._slow_start = True
        self._plateau: float | None = None
        """The limit at the last cut: cubic growth rests there."""
        self._from = START
        self._since = 0.0
        self._round_trip = 0.0
        self._last_cut = -math.inf
        self._proof = FIRST
        """Answers before the next try to exceed it."""
        self._answers = 0
        """Answers to requests that left after the last cut."""
        self._beyond = 0
        """Answers since more was in flight than what was refused."""
        self._unit = 1.0
        """Seconds that growth counts in."""
        self._guard = LatencyGuard()
        self.tolerant = False
        """Whether refusals are usual, whatever the load: they cost no pause, and growth need not wait for proof."""
        self.why = "trying one request first" if adaptive else "as asked"

    def __repr__(self) -> str:
        """Show the limit and what moved it."""
        kind = "adaptive" if self.adaptive else "fixed"
        return f"<ConcurrencyLimit {self.now} of {self._ceiling:g}, {kind}, {self.why}>"

    @property
    def round_trip(self) -> float:
        """How long answers take, in seconds."""
        return self._round_trip

    @property
    def plateau(self) -> int:
        """The limit that was refused last, 0 if none was."""
        return int(self._plateau or 0.0)

    @property
    def bound(self) -> float:
        """The most that may be in flight before answers show that more in flight brings more of them."""
        return self._bound

    @property
    def starting(self) -> bool:
        """Whether it is in slow start still."""
        return self._slow_start and self._limit < self._ceiling

    @property
    def cause(self) -> Cause:
        """What keeps the limit from being higher."""
        if self._limit >= self._ceiling:
            return Cause.CEILING
        queues = self._guard.holds or self._queue_bound <= self._limit or (self._slow_start and not self._quick)
        if queues or self._guard.last_cut > self._last_cut:
            return Cause.LATENCY
        return Cause.GROWING if self._plateau is None else Cause.WALL

    def succeeded(
        self, now: float, round_trip: float, output_tokens: int, in_flight: int, load: int, departure: int
    ) -> None:
        """Learn from an answer to the departure of this number, if adaptive.

        `in_flight` counts the requests when it came, `load` those when its request left, itself included.
        """
        if self._slow_start:
            self._quick = self._baseline.is_as_quick(round_trip, output_tokens, load)
            if self._quick and 2 * load > self._bound:
                self._prove()
        if self._canary:
            self._canary = False
            if self._slow_start and not self._suspended:
                self._move(max(self._limit, min(self._start, self._ceiling)))
                self.grows_at = now
                self.why = "slow start"
            self._round_trip = self._lately = round_trip
            self._since = self._counted_from = now
            return
        self._round_trip += 0.1 * (round_trip - self._round_trip)
        self._lately += RECENT * (round_trip - self._lately)
        if round_trip > self._longest:
            self._longest = round_trip
            if round_trip > self._timeout:
                self._timeout = self._named_timeout
        self._counted += 1
        if now - round_trip < self.opens:
            self._counted, self._counted_from = 0, now  # little left while the server was busy with what was given up
        if self._early or self._counted >= LOOK:
            self._watch_queue(now, in_flight)
        self._watch_pace(now, self._guard.answered(now, round_trip, output_tokens, departure, load, self._limit))
        if now - round_trip < self._last_cut:
            return  # it left before the cut, and says nothing about the time after it
        self._answers += 1
        if self._guard.holds or self._suspended or in_flight < USED * self.now:
            return
        self._grow(now)

    def refused(self, now: float, pause: float, in_flight: int) -> None:
        """Learn from a 429, a 503 or a 529, after which the route pauses for `pause` seconds.

        `in_flight` counts the requests that were not refused. All refusals within a round trip are one event. The
        longer the pause is, the more seldom the limit risks a refusal.
        """
        self.grows_at = math.inf
        if not self.adaptive or self._canary:
            return
        self._slow_start = False
        if now - self._last_cut < self._round_trip:
            return
        before, self._plateau = self._plateau, max(1.0, min(self._limit, max(in_flight, self._limit / 2)))
        if before is not None:
            same = before <= ALIKE * self._plateau and self._plateau <= ALIKE * before
            self._proof = min(MOST, 2 * self._proof) if same else max(LEAST, self._proof // 2)
        self._move(max(1.0, self._plateau * CUT))
        self._answers = self._beyond = 0
        self._from, self._since, self._last_cut = self._limit, now, now
        self._unit = max(min(self._round_trip, SOON), min(DEAR, 2.0 * self._plateau) * pause)
        self.why = "cut after a refusal"

    def departed(self, now: float) -> None:
        """Note the first departure: the canary's."""
        if self._canary and self.grows_at == math.inf and self._silent:
            self.grows_at = now + CANARY

    def grow_on_silence(self, now: float) -> None:
        """Allow one more in flight: some time has passed without bad news."""
        if self._limit + 1.0 > self._silent or not self._slow_start:
            self.grows_at = math.inf
            return
        self._move(self._limit + 1.0)
        self.grows_at = now + (SPACING if self._limit < SPACED else DOUBLING / (math.log(2.0) * self._limit))
        self.why = "slow start"

    def bad_news(self) -> None:
        """Note a fault or a refusal: from now on silence is no good news."""
        if not self.tolerant:
            self.grows_at = math.inf
            self._silent = 0.0

    def tolerate(self, now: float) -> None:
        """Learn that a usual share of refusals is no bad news: silence is good news again."""
        self.tolerant = True
        if self.adaptive:
            self._silent = self._bound
            if self._slow_start and not self._canary:
                self.grows_at = now

    def grow_later(self, moment: float, in_flight: int) -> None:
        """Let silence be good news again from this moment on, with no more in flight until then."""
        self._silent, self.grows_at = self._bound, moment
        self._move(max(1.0, min(self._limit, float(in_flight))))

    def suspend(self) -> None:
        """Allow as many as silence may ever allow, while the rate of departures is limited."""
        self._suspended = True
        self._move(self._bound)

    def resume_at(self, in_flight: int) -> None:
        """Limit what is in flight again, to so many."""
        self._suspended = False
        self._move(max(1.0, float(in_flight)))

    def freeze(self, in_flight: int) -> None:
        """Allow no more than what is in flight, until answers come."""
        if in_flight >= USED * self._limit:
            self._move(max(1.0, min(self._limit, float(in_flight))))

    def resume(self, in_flight: float, *, clear: bool = False) -> None:
        """Allow so many again; with `clear` grow as if nothing had been refused, since the limit was not the reason."""
        if self.adaptive:
            if clear:
                self._plateau, self._slow_start = None, True
            self._move(max(self._limit, min(in_flight, self._ceiling)))

    def timed_out(self, now: float, in_flight: int, after: float) -> None:
        """Learn that a request was given up after so many seconds, by us or by a gateway before the server.

        If it stood in a queue, the server may go on computing it. What is sent next waits behind it, so that nothing
        is, until a small part of the time-out is enough for the rest. Behind a gateway there is one only if answers
        take much longer by now than the first ones.
        """
        if self._longest < after < self._timeout and self._lately > UNQUEUED * self._baseline.alone:
            self._timeout = after
            self._bound_queue()
        if self.adaptive and (in_flight > self._queue_bound or self._computes_until > now):
            self._computes_until = max(self._computes_until, now) + 1.0 / self._pace
            self.opens = self._computes_until - LEFT * self._timeout
            self._slow_start = False
            # Half of what may queue leaves room for what is still computed.
            self._plateau = max(1.0, self._queue_bound / 2)
            self._from, self._since, self._last_cut = self._plateau, now, now
            self._move(self._plateau)
            self.why = "waiting for a queue in the server"

    def refused_too(self) -> None:
        """Learn that one of the requests in flight at the last refusal was refused as well."""
        if self.adaptive and self._plateau is not None:
            self._plateau = max(1.0, self._plateau - 1.0)
            self._move(max(1.0, min(self._limit, self._plateau * CUT)))
            self._from = self._limit

    def refused_alone(self, in_flight: int) -> None:
        """Learn from a probe that was refused while so many others were in flight."""
        if self.adaptive and in_flight:
            self._plateau = min(self._plateau or self._limit, max(in_flight, self._limit / 2))
            self._move(max(1.0, min(self._limit, self._plateau * CUT)))
            self._from = self._limit

    def at_least(self, in_flight: float) -> None:
        """Raise the limit to what a rate needs."""
        if self._limit < in_flight:
            self._move(min(in_flight, self._ceiling))
            self._plateau = max(self._plateau or 1.0, self._limit)

    def _move(self, limit: float) -> None:
        self._limit = limit
        self.now = int(min(limit, self._queue_bound) + 0.5)
        """The limit in force, at least 1."""

    def _grow(self, now: float) -> None:
        if self._limit == self._ceiling:
            self.why = "at its ceiling"
            return
        if self._slow_start:
            if not self._quick:
                self.why = "more in flight makes answers slower"
                return
            grown = self._limit + FOLLOW
            self.why = "slow start"
        elif self._plateau is None:
            grown = self._limit + 1.0 / self._limit
            self.why = "growing slowly"
        else:
            # Back to the limit that was not refused in a few units; beyond it, more slowly after longer pauses.
            elapsed, quick = now - self._since, min(self._round_trip, SOON)
            knee = math.cbrt(max(0.0, self._plateau - self._from) / CUBIC) * quick
            unit = quick if elapsed < knee or self.tolerant else self._unit
            target = self._plateau + CUBIC * ((elapsed - knee) / unit) ** 3 if unit > 0 else self._plateau
            if self._answers < (min(self._proof, self._plateau) if self.tolerant else self._proof):
                target = min(target, self._plateau)
            grown = max(self._limit, min(self._limit + 1.0, target))
            self.why = "probing for more"
            if self._limit >= max(self._plateau + 2.0, 1.2 * self._plateau):
                self._beyond += 1
                if self._beyond > self._limit:
                    self._plateau, self._slow_start = None, True
        self._move(min(grown, self._ceiling))
        if self._limit == self._ceiling:
            self.why = "at its ceiling"

    def _prove(self) -> None:
        """Note that an answer was quick although so many were in flight that it might have stood in a queue."""
        self._proofs += 1
        if self._proofs >= PROOFS and self._bound < self._ceiling:
            self._proofs = 0
            self._bound = min(2.0 * self._bound, self._ceiling)
            if self._suspended:
                self._move(self._bound)
            elif self._silent:
                self._silent, self.grows_at = self._bound, -math.inf

    def _watch_queue(self, now: float, in_flight: int) -> None:
        """Keep what is in flight to what the server answers in time, as its last answers show."""
        if in_flight >= USED * self.now and now > self._counted_from:
            self._pace = self._counted / (now - self._counted_from)
            self._bound_queue()
        if self._counted >= LOOK:
            self._counted, self._counted_from = 0, now
            self._early = False

    def _bound_queue(self) -> None:
        seconds = max(PATIENCE * self._timeout, min(UNQUEUED * self._baseline.alone, AT_MOST * self._timeout))
        self._queue_bound = max(1.0, seconds * self._pace)
        self._move(self._limit)

    def _watch_pace(self, now: float, limit: float | None) -> None:
        """Try less in flight when that may bring more answers a second."""
        if self._guard.holds:
            self._slow_start = False
            self._from, self._since = self._limit, now
        if limit is None:
            return
        self.why = "answers come no faster with less in flight" if limit > self._limit else "answers got slower"
        self._plateau = None
        self._move(limit)
