"""Tells a wall from scattered refusals, by whether the share of refusals falls with the load. Pure.

A wall (a rate, the slots of a server) refuses what leaves after it. Scattered refusals do not: others that left at the
same time and later are answered. So a few refusals start a trial: for some departures less is sent. When the share of
refusals stays what it was, they are scattered; when it falls, there is a wall. That departures came through proves
nothing by itself: a wall lets a trickle pass.
"""

import math
from collections import deque
from enum import Enum

__all__ = ["Pattern", "RefusalPattern"]

ROW, ROW_WHEN_SCATTERED = 4, 8
"""So many departures refused one after the other are a wall, whatever was found before."""
RECENT, MANY, MANY_WHEN_SCATTERED = 40, 11, 20
"""So many of the last departures refused are a wall, too."""
LOAD = 0.7
"""The part of the load that is sent in a trial."""
TRIAL, TURNS = (60, 240), 3
"""The fewest and the most departures of a trial: long enough to see a few refusals, were they scattered. No more than
so many for each in flight: few in flight take long for many departures."""
EXPECTED = 4.5
"""How many refusals a trial should show if they are scattered."""
PROOF, LARGEST_SHARE, FALLEN = 2, 0.35, 0.5
"""Refusals are scattered when at least so many of a trial are refused, at most such a share, and not so much less than
before."""
WINDOW = 150
"""Departures that count as recent when a trial begins, or when a known share is compared."""
AGAIN, LATER = 4, 80
"""Behind a known wall so many recent refusals start another trial, but the first only after so many departures, and
each later one after twice as many: no wall that the pace has found refuses so many."""
CONFIRMED = 2
"""So many trials in a row with hardly a refusal show a wall; one may be luck."""


class Pattern(Enum):
    """What the refusals of a route have in common."""

    UNKNOWN = "unknown"
    TRIAL = "trial"
    WALL = "wall"
    SCATTERED = "scattered"


class RefusalPattern:
    """Watches the refusals of one route. Departures are counted from 0; `sent` is how many there were."""

    def __init__(self) -> None:
        self.pattern = Pattern.UNKNOWN
        self.share = 0.0
        """The share of departures that are refused, as last measured."""
        self.due: float = float("inf")
        """The trial ends once so many were sent."""
        self._refused: deque[int] = deque(maxlen=2 * TRIAL[1])
        """The departures that were refused last, in the order in which that was known."""
        self._begin = 0
        self._length = 0
        self._before = 0.0
        """The share before the trial, as far as so few refusals prove one."""
        self._not_before = 0
        """Behind a wall no trial begins before so many departures."""
        self._patience = LATER
        self._fallen = 0
        """Trials in a row that showed a wall."""

    def __repr__(self) -> str:
        """Show what was found."""
        return f"<RefusalPattern {self.pattern.name.lower()}, share {self.share:.3f}>"

    def refused(self, departure: int, sent: int, in_flight: int = 64, *, lost: bool = False) -> Pattern:
        """Note that a departure was refused; return the pattern now. `lost` says that nobody answered at all."""
        self._refused.append(departure)
        scattered = self.pattern is Pattern.SCATTERED
        row = ROW_WHEN_SCATTERED if scattered else 1 if lost else ROW
        many = MANY_WHEN_SCATTERED if scattered else MANY
        if self._in_a_row(departure) >= min(row, sent) or self._among(sent - RECENT, sent) >= many:
            self._wall(sent)
        elif self.pattern is Pattern.WALL:
            if sent >= self._not_before and self._among(max(self._begin, sent - WINDOW), sent) >= AGAIN:
                self._start(sent, in_flight)
        elif self.pattern is Pattern.SCATTERED:
            recent, span = self._among(max(self._begin, sent - WINDOW), sent), min(WINDOW, sent - self._begin)
            if recent > 2 * self.share * span + 4:
                self._start(sent, in_flight)
        elif self.pattern is Pattern.UNKNOWN and self._among(sent - WINDOW, sent) >= PROOF:
            self._start(sent, in_flight)
        return self.pattern

    def finish(self, sent: int) -> Pattern:
        """End the trial, which is due; return what it showed."""
        refused = self._among(self._begin, self._begin + self._length)
        share = refused / self._length
        if refused >= PROOF and FALLEN * self._before <= share <= LARGEST_SHARE:
            self.pattern = Pattern.SCATTERED
            self.share = share
            self.due = float("inf")
            self._begin = sent
            self._patience = LATER
            self._fallen = 0
        else:
            self._fallen += 1
            if share > LARGEST_SHARE or self._fallen >= CONFIRMED:
                self._wall(sent)
            else:
                self.pattern = Pattern.UNKNOWN
                self.due = float("inf")
                self._refused.clear()
        return self.pattern

    def _start(self, sent: int, in_flight: int) -> None:
        """Begin a trial with the next departure."""
        fewest, most = TRIAL
        span = min(WINDOW, sent)
        count = self._among(sent - span, sent)
        self._before = max(0.0, count - 1.5 * math.sqrt(count)) / span
        # Behind a wall that may be none, a short trial would find no refusal by luck, and the wall would stand.
        patient = most if self.pattern is Pattern.WALL else max(20, TURNS * in_flight)
        self._length = int(min(most, patient, max(fewest, EXPECTED * span / count)))
        self._begin = sent
        # What left last must have met its fate.
        self.due = sent + self._length + self._length // 8
        self.pattern = Pattern.TRIAL

    def _wall(self, sent: int) -> None:
        if self.pattern is not Pattern.WALL:
            self.pattern = Pattern.WALL
            self.due = float("inf")
            self._begin = sent
            self._not_before = sent + self._patience
            self._patience *= 2

    def _in_a_row(self, departure: int) -> int:
        """Count the departures around this one that were refused, without a gap."""
        refused, first, last = set(self._refused), departure, departure
        while first - 1 in refused:
            first -= 1
        while last + 1 in refused:
            last += 1
        return last - first + 1

    def _among(self, begin: int, end: int) -> int:
        return sum(begin <= departure < end for departure in self._refused)
