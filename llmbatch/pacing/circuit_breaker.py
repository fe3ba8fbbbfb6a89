"""The circuit breaker of a route that refuses: a pause, then one probe, then more and more requests. Pure."""

import math

from llmbatch.core.exchange import Request
from llmbatch.pacing import concurrency_limit as slow_start

__all__ = ["CircuitBreaker"]

SHARE, LONGEST = 0.35, 30.0
"""The next probe waits for at most this part of the time since the first refusal, up to so many seconds: what it loses
is a part of what the outage took anyway."""
STRICT = 2
"""After so many refusals in a row requests return in a slow start."""
DOUBLING, RETURNS = 0.15, 3.0
"""The least seconds in which departures double then; and in how many times as long as a refusal takes, so that there is
time for it to come."""
SPREAD = 1.5
"""Requests leave so much faster than they come back, instead of all at once."""
SLOW = 0.2
"""Seconds a round trip must take for departures to be spread out for good."""
TOGETHER = 0.005
"""Seconds' worth of departures that may leave at once: finer timers cost more than they spread."""
UNPROVEN = 16
"""The most that may be in flight in a slow start without an answer: a server that has just started may accept requests
and lose them all."""


class CircuitBreaker:
    """The pause of one route. While it is not `active`, requests leave as usual.

    A refusal is quick and an answer is not: a probe that is in flight for longer than the last refusal took was
    admitted, and the others may follow, in a slow start if a probe was refused too. Without an answer only
    a few may follow. The probe of a server that was not there is a canary, as at the start of a run,
    since a connection that is open proves little.
    """

    def __repr__(self) -> str:
        """Show whether it is closed, and since how many refusals."""
        return f"<CircuitBreaker {self.why or 'closed'}, {self.refusals_in_row} refusals in a row>"

    def __init__(self, *, active: bool) -> None:
        self.active = active
        self.closed_until = -math.inf
        self.refusals_in_row = 0
        """Refusals one after the other, each of a request that left after the one before."""
        self.probe: Request | None = None
        """The request whose outcome decides, while it is in flight."""
        self.awaits_probe = False
        self._planned = -math.inf
        """Until when a pause lasts of which a probe was sent early."""
        self.named_wait = False
        """Whether the last refusal said how long to wait."""
        self._asked_until = -math.inf
        """And until when."""
        self._took = 0.0
        """Seconds that the last refusal took."""
        self._began = 0.0
        """When the first refusal in the row came."""
        self.lost = False
        """Whether the server was not there."""
        self._slowly = False
        """Whether requests follow the probe in a slow start."""
        self._departures = math.inf
        """Requests that left since the pause, the probe included; infinite once they leave as usual."""
        self._others = 0
        """Requests that were in flight when the probe left."""
        self._most = math.inf
        """The most that may join them until there is an answer."""
        self.slowdown = 1.0
        """How many times slower than usual requests leave, because they were refused again and again."""
        self._round_trip = 0.0
        self._next = -math.inf
        self._refused_at = -math.inf

    @property
    def walled(self) -> bool:
        """Whether a probe was refused too since the last answer."""
        return self.refusals_in_row >= STRICT

    @property
    def is_recovering(self) -> bool:
        """Whether it refuses, or has not answered since the last of several refusals."""
        return self.refusals_in_row > 0 or self._most < math.inf

    @property
    def outage_since(self) -> float | None:
        """When the first refusal in the row came; None while none stands."""
        return self._began if self.refusals_in_row else None

    @property
    def is_open(self) -> bool:
        """Whether requests leave as usual, with no pause to come out of."""
        return not self.awaits_probe and self.probe is None and not self.refusals_in_row

    @property
    def probed_early(self) -> bool:
        """Whether the last probe was sent early."""
        return self._planned > -math.inf

    @property
    def may_probe_early(self) -> bool:
        """Whether a probe may go before its time: one in each pause that was asked for, the first in a row."""
        return self.awaits_probe and self.named_wait and self.refusals_in_row == 1 and not self.probed_early

    @property
    def why(self) -> str | None:
        """Say why requests must wait."""
        if self.awaits_probe:
            return "parked, one probe comes next"
        if self.probe is not None:
            return "parked, one probe on its way"
        return "growing back after a pause" if self._departures < math.inf else None

    def allowed(self, limit: int) -> int:
        """Return how many requests may be in flight."""
        if self.awaits_probe:
            return 1
        if self._departures == math.inf:
            return limit
        return int(min(limit, self._others + min(self._departures + 1.0, self._most)))

    def opens(self, in_flight: int) -> float:
        """Return when a request may leave beside so many in flight; infinity for when one of them ends."""
        if in_flight >= self._others + self._most:
            return math.inf
        return max(self.closed_until, self._next - TOGETHER)

    def departed(self, now: float, request: Request, in_flight: int, limit: int) -> bool:
        """Note a departure; True when it shows that a probe was admitted, and the pause is over."""
        if self.awaits_probe:
            self.awaits_probe = False
            self.probe = request
            canary = slow_start.CANARY if self.lost and self.walled else 0.0
            self.closed_until = now + max(1.5 * self._took + 0.02, canary)
            if self._slowly or not self._round_trip:
                self._departures, self._others, self._most = 1.0, in_flight, UNPROVEN
            return False
        over = self.probe is not None
        if over:
            self.probe = None
            self.refusals_in_row = 0
        gap = self._round_trip / (SPREAD * max(1.0, limit))
        if self._refused_at == -math.inf:
            # Nothing was refused at the pace of slow start.
            gap = min(gap, slow_start.DOUBLING / (math.log(2.0) * limit))
        if self._departures < math.inf:
            self._departures += 1.0
            gap = max(gap, self._doubling / (math.log(2.0) * self._departures))
            if self._departures >= limit:
                self._departures = math.inf
        self._next = max(now, self._next) + gap * self.slowdown
        return over

    def succeeded(self, now: float, round_trip: float, limit: int, *, adaptive: bool, growing: bool) -> bool:
        """Note an answer; True when it is the first after a pause. `growing` says that the limit itself still grows."""
        self._round_trip += 0.1 * (round_trip - self._round_trip) if self._round_trip else round_trip
        # A request that left before the refusal says nothing about the time after it.
        if now - round_trip <= self._refused_at or self.awaits_probe:
            return False
        first = self.refusals_in_row > 0
        self.refusals_in_row = 0
        self.probe = None
        self.slowdown = max(1.0, 0.9 * self.slowdown)
        self.closed_until = min(self.closed_until, now)
        self._most = math.inf
        if self._departures == math.inf:
            self.active = adaptive and (growing or self._round_trip >= SLOW)
        return first

    @property
    def _doubling(self) -> float:
        """The seconds in which departures double, at most a round trip."""
        return min(max(DOUBLING, RETURNS * self._took), max(DOUBLING, self._round_trip or math.inf))

    def refused(
        self,
        request: Request,
        now: float,
        took: float,
        asked: float,
        base: float,
        draw: float,
        *,
        lost: bool,
        quick: bool,
    ) -> bool:
        """Close, for at least as long as was asked; False when the request left together with others refused before.

        `took` is how long the refusal took, `base` the wait after a first one, `draw` uniform in [0, 1), `lost` says
        that there was no answer at all.
        """
        self.named_wait = asked > 0
        asked += draw * min(10.0, 0.1 * asked)
        if request is self.probe and now < self._planned:
            self.probe, self.awaits_probe, self.closed_until = None, True, self._planned
            return False
        if self.awaits_probe or (now - took <= self._refused_at and request is not self.probe):
            if self.awaits_probe:
                self.closed_until = max(self.closed_until, now + asked)
            return False
        self.active = True
        self._planned, self._most = -math.inf, math.inf
        if not self.refusals_in_row:
            self._began = now
        self.refusals_in_row += 1
        self.probe = None
        self.awaits_probe = True
        self._refused_at = now
        self._took, self.lost = took, lost
        self._slowly = self.refusals_in_row >= STRICT and not quick
        wait = asked or base
        if not self.named_wait or self.refusals_in_row > STRICT + 1:  # a server that names a time is believed at first
            wait = min(LONGEST, wait + SHARE * (now - self._began)) * (0.5 + 0.5 * draw)
        self._asked_until = now + asked
        self.closed_until = now + max(asked, wait)
        return True

    def closed_for(self, now: float) -> float:
        """Return for how many more seconds no request may leave."""
        return max(0.0, self.closed_until - now) if self.active else 0.0

    def probe_no_later_than(self, moment: float, now: float) -> None:
        """Send the next probe at this moment, unless it is planned for an earlier one; not before the server asked."""
        if moment > now:
            self.closed_until = min(self.closed_until, max(moment, self._asked_until))

    def probe_early(self, now: float) -> None:
        """Send a probe at once. If it is refused, the pause goes on as planned."""
        self._planned = self.closed_until
        self.closed_until = now

    def reset(self, now: float) -> None:
        """Let all requests pass again."""
        self.refusals_in_row = 0
        self.probe = None
        self.awaits_probe = self._slowly = self.lost = False
        self.closed_until = min(self.closed_until, now)
        self._departures = self._most = math.inf
        self.slowdown = 1.0

    def give_up_probe(self) -> None:
        """Let another request be the probe: this one was cancelled, or its outcome says nothing."""
        self.probe = None
        self.awaits_probe = True
