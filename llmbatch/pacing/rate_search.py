"""Searches for the rate of a service that refused several requests before it answered any. Pure.

Such refusals come while few requests are in flight and many leave at once, so that they may be for either. Answers that
take many seconds cannot tell for as long. A departure tells in a moment: requests leave one by one, at a slow pace that
doubles while none is refused, and that is bisected between a pace that passed and one that was refused. Where no pace
has passed yet, two follow a refusal at once, which a rate that is used up does not both admit. Where answers are quick,
a few leave as fast as slots would admit them, with no more in flight than were admitted: if none of them is refused,
the search is over, and else there is a rate.
"""

import math

__all__ = ["REFILL", "RateSearch"]

SHORT, FASTER = 2.0, 2.0
"""Seconds. Answers that take less time tell more than a search does: slots must admit as many for each of them as were
in flight when one more was refused. If that is so many times the present pace or more, it is tried."""
SLOWEST, REFILL = 0.95, 5.25
"""Requests a second at first: a little less than one, which is a usual limit. Or more, as if what was admitted at once
were the share of so many seconds."""
STEADY, LONG, QUICK = 20, 60, 8
"""Departures without a refusal that raise the pace: at first, which doubles with each refusal, so that refusals stay
rare; at first if three or more were refused together, for the same reason; and after a raise that passed."""
FIRST, RARE = 2, 25
"""So many refusals in a row start a search: single ones may be chance. As long as no more than one departure in so many
was refused, another raise may come earlier, unless the pace that passed is close to the refused one."""
LAG = 0.5
"""Seconds for which a pace is kept at least, since refusals take a while to come."""
RAISE, FIRST_CUT = 2.0, 1.5
CLOSE, BEYOND = 1.25, 1.2
"""A pace that passed so near to the refused one is tried a little faster next, in case the limit has grown."""
FAILURES = 3
"""After so many refusals, and no pace that passed, the rate is not what is limited."""
CHECKS, SOON, LATE = 2, 0.05, 1.5
"""So many departures follow a refusal, each after so many seconds, where no pace passed yet. A rate that is used up
refuses one of them at least: if none is refused within the time that a refusal takes, there is no rate."""
TRIES, LATEST = 3, 0.3
"""So many leave as fast as slots would admit them. None is refused later than so many seconds after it left."""


class RateSearch:
    """One search. `others` were in flight beside the refused request, when `sent` had left in all."""

    def __init__(self, now: float, sent: int, others: int) -> None:
        self._crowd = others
        """How many in flight may have been too many."""
        self._admitted = 0
        """Departures beside as many that were not refused."""
        self._passed, self._needed, self._steady = 0, STEADY, STEADY
        """Departures at this pace, how many of them raise it, and how many after the next refusal."""
        self._low, self._high = 0.0, math.inf
        """The fastest pace that passed, and the slowest one that was refused."""
        self._proved: list[float] = []
        """The paces that passed, slowest first."""
        self._refusals = FIRST
        """How many were refused."""
        self._restarted = False
        """Whether slower departures were refused as well."""
        self._answers = self._short = 0
        """Answers, and how many of them took less than `SHORT`."""
        self._tries = self._tried = False
        """Whether it is tried what slots would admit, and whether it ever was."""
        self._others = 0
        """How many were in flight beside the last one that was refused."""
        self._failures = 1
        """Refusals since a pace passed."""
        self._checks, self._gap = 0, SOON
        """Departures that are still to leave faster than at this pace, and the seconds between them."""
        self._checked = range(0)
        """The last ones that did."""
        self._judged_at, self._refusal_time = math.inf, LATEST
        """When none of these will be refused any more, and how long after a departure that is so."""
        self.rate = max(SLOWEST, others / REFILL)
        """Departures a second."""
        self._at, self._since = now, sent
        """When this pace began, and with which departure."""
        self._restart(now, sent)

    def __repr__(self) -> str:
        """Show the pace and its bounds."""
        return f"<RateSearch {self.rate:.2f}/s of {self._low:.2f} to {self._high:.2f}, {self._passed} passed>"

    def departed(self, now: float, others: int) -> bool:
        """Note a departure beside so many in flight; False if those that left faster were admitted."""
        self._admitted += others >= self._crowd
        if self._checks:
            self._checks -= 1
            self._judged_at = now + self._refusal_time
            self._opens = now + self._gap if self._checks else self._judged_at
            return True
        if now >= self._judged_at:
            return False
        self._passed += 1
        if self._passed >= self._needed and now >= self._at + LAG:
            self._at = now
            self._failures = self._passed = 0
            self._needed = QUICK
            self._low = max(self._low, self.rate)
            self._proved.append(self.rate)
            self.rate = min(RAISE * self.rate, math.sqrt(self._low * self._high))
            if self._high < CLOSE * self._low:
                self._high, self._needed = math.inf, self._steady
                self.rate = BEYOND * self._low
        self._opens = now + 1.0 / self.rate
        return True

    def answered(self, round_trip: float, sent: int) -> bool:
        """Note an answer that took so many seconds; False if answers are so quick that they tell more than a search."""
        self._answers += 1
        self._short += round_trip < SHORT
        if self._tried or 2 * self._short <= self._answers:
            return True
        self._tries = self._tried = self._crowd > FASTER * self.rate * round_trip
        if self._tries:
            self._check(min(TRIES, self._crowd), sent, round_trip / self._crowd)
        return self._tried

    def refused(self, now: float, departure: int, sent: int, others: int, took: float) -> bool:
        """Note a refusal, which took so many seconds; False if it shows that the search is in vain.

        That is so when slower departures do not help, or when as many in flight as at first are refused again; and when
        the pace that passed is refused at once beside more in flight than at first, as a faster one was before. Those
        that followed a refusal at once belong to it, and one of those that slots would have admitted is another reason
        to raise the pace later.
        """
        self._admitted -= others >= self._crowd
        self._refusals += 1
        if departure < self._since:
            if not self._restarted and not self._passed:  # it left together with the first one
                self._crowd -= 1
                self._needed = LONG
                self.rate = max(SLOWEST, self._crowd / REFILL)
                self._restart(now, sent)
            return True
        if departure in self._checked:
            if self._tries:  # slots would have admitted it
                self._tries, self._needed = False, LONG
            self._checks, self._judged_at = 0, math.inf
            self._opens = now + 1.0 / self.rate
            return True
        self._failures += 1
        too_many = others + 1 >= self._others > self._crowd and self._passed <= 1 and 0 < self._low == self.rate
        self._others = others
        if too_many or self._failures > FAILURES or (others <= self._crowd and self._admitted <= 0):
            return False
        self._high = self.rate
        while self._proved and self._proved[-1] >= self.rate:
            self._proved.pop()  # it passed with what a bucket had left
        if self._low >= self.rate:
            self._low = self._proved[-1] if self._proved else self.rate / RAISE
        self._restarted = True
        self._steady *= 2
        self._passed, self._needed = 0, self._steady
        if self._high >= CLOSE * self._low:
            self._needed = min(self._needed, max(QUICK, RARE * (self._refusals + 1) - sent))
        self.rate = self._low or self.rate / FIRST_CUT
        self._restart(now, sent)
        if not self._proved:
            self._refusal_time = LATE * took + SOON
            self._check(CHECKS, sent, SOON)
            self._opens = now + SOON
        return True

    def opens(self, in_flight: int) -> float:
        """Return when a request may leave; infinity for "when another one ends"."""
        return self._opens if in_flight < max(1, self._crowd) or not self._tries else math.inf

    def _check(self, count: int, sent: int, gap: float) -> None:
        """Send so many faster, to see whether one of them is refused."""
        self._checks, self._checked, self._gap = count, range(sent, sent + count), gap

    def _restart(self, now: float, sent: int) -> None:
        self._at, self._since = now, sent
        self._opens = now + 1.0 / self.rate
        """When the next request may leave."""
