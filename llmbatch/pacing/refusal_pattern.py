"""Tells from the refusals of a route whether they come from a limit or are independent of the load. Pure.

A limit of a service (a rate, its slots) is called a wall here: it refuses what is sent beyond it, and nothing below.
Scattered refusals have nothing to do with the load: others that leave at the same moment are answered. The class below
goes from UNKNOWN to one of the two, and back when its verdict is contradicted:

- Refused in a row, or much more than a quarter of the last requests: a WALL, at once.
- Few refusals while the load doubles: SCATTERED, since a wall would refuse more and more.
- Few refusals at a load that does not grow: a TRIAL. The load is lowered by a sixth; if the share of refusals falls, it
  was a WALL, if not, they are SCATTERED, whichever is twenty times as likely.
- After a WALL the load is lower, so that hardly anything should be refused. If single requests are refused again and
  again, another TRIAL follows (at half the load or less they are SCATTERED), and each time it takes twice as many.
  They count even where much more than a quarter are refused, if the load is a trickle by then.

A departure is a request that left, numbered from 0.
"""

import math
from collections import deque
from enum import Enum

from llmbatch.pacing.usual_share import UsualShare

__all__ = ["Pattern", "RefusalPattern"]

ALLOWED, ALLOWED_WHEN_SCATTERED = (0.25, 3.7), (0.45, 7.0)
"""A wall shows when more than this share was refused, by this many: a cumulative sum (CUSUM). Four in a row are one."""
RECENT = 60
"""Departures that the sum goes over."""
SURE = math.log(20.0)
"""A trial ends when one explanation is so many times as likely as the other."""
LONGEST, FEWEST, ROUND_TRIPS = 240, 20, 5
"""An undecided trial ends after this many departures for each request in flight, within these bounds."""
PROOF, LARGEST_SHARE = 2, 0.35
"""At least this many refusals are needed to call them scattered, and they must be at most this share."""
MANY = 5
"""If more than one in so many is refused during growth, a trial starts before the load has doubled."""
PRIOR = 1.0, 15.0
"""The prior of a share: as if so many had been refused before, and so many not."""
STRAY = 0.005
"""The share that a wall refuses even below it, since requests do not all travel equally long."""
WINDOW = 150
"""Departures from which a share is measured."""
DOUBTS, OFTEN = 4, 40
"""A trial doubts a wall after this many single refusals, each soon after the last one or at a low load; and what soon
is, in departures."""
ROW = 3
"""Departures before the one at which a route pauses that belong to the same refusals."""
LOW, SUNK, TRICKLE = 0.7, 0.5, 0.35
"""A load is low at this part of what was in flight when the wall was found; at the second one no trial is needed; at
the third one a wall does not refuse a quarter."""


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
        self.is_single = False
        """Whether the last refusal was one by itself: what left just before and after it was not refused."""
        self.due: float = math.inf
        """The number of departures after which a trial is looked at again."""
        self._refused: deque[int] = deque(maxlen=2 * LONGEST)
        """The last departures that were refused, in the order in which the refusals came."""
        self._usual = UsualShare(self._refused)
        self._allowed = ALLOWED
        self._begin = 0
        """The first departure since the pattern changed."""
        self._load = 0
        """How many were in flight at the first refusals during growth."""
        self._before = 0, 0
        """How many were refused before the trial, and of how many."""
        self._most = 0
        """The most departures that a trial takes."""
        self._blind = False
        """Whether the wall was found before any load was admitted, so that a lower load cannot be compared."""
        self._sure = True
        """Whether the wall is beyond doubt, and not just more likely."""
        self._doubts = 0
        self._patience = DOUBTS
        """How many doubts start a trial."""
        self._doubted = 0
        """The first departure that may raise a doubt again."""

    @property
    def share(self) -> float:
        """The share of departures that is refused whatever the load is; 0 where none is known."""
        return self._usual.value

    def __repr__(self) -> str:
        """Show what was found."""
        return f"<RefusalPattern {self.pattern.name.lower()}, share {self.share:.3f}>"

    def refused(
        self,
        departure: int,
        sent: int,
        in_flight: int = 64,
        *,
        common: bool = False,
        growing: bool = False,
        level: float = 1.0,
    ) -> Pattern:
        """Note that a departure was refused, after `sent` of them; return the pattern that this makes likely.

        `common` says that all would be refused alike, `growing` that the load rises. `level` is the load as a part of
        what was in flight when the wall was found.
        """
        self._refused.append(departure)
        self.is_single = departure - 1 not in self._refused and departure + 1 not in self._refused
        trickle = self.pattern is Pattern.WALL and level <= TRICKLE
        if common or (self._exceeds() and not trickle) or len(self._refused) == sent:
            self._wall(sent, blind=common or sent < ALLOWED[1])
        elif self.pattern is Pattern.UNKNOWN:
            recent = self._recent(sent)
            if recent[0] >= PROOF:
                if not growing or MANY * recent[0] > recent[1]:
                    self._start(sent, in_flight, recent)
                elif not self._load:
                    self._load = in_flight
                elif recent[0] >= 2 * PROOF and in_flight >= 2 * self._load:
                    self._scatter(sent, recent)
        elif self.pattern is Pattern.TRIAL:
            if self._odds(departure + 1) >= SURE:
                self.finish(sent)
        elif self.pattern is Pattern.WALL:
            if self._is_doubtful(departure, sent, level):
                self._patience *= 2
                if self._sure and level > SUNK:
                    self._start(sent, in_flight, self._recent(sent))
                else:
                    self._scatter(sent, self._recent(sent))
        elif (recent := self._recent(sent))[0] > 2 * self.share * recent[1] + 4:
            self._start(sent, in_flight, recent)
        return self.pattern

    def exceeds_share(self, sent: int, in_flight: int) -> bool:
        """Tell whether the last refusal asks for less load, since more are refused than the usual share."""
        return self._usual.exceeded(self._refused[-1], sent, in_flight)

    def closed(self, departure: int, sent: int, in_flight: int) -> None:
        """Note that the route pauses after the refusal of a departure, and then sends less."""
        self._usual.cut(departure - ROW, sent, in_flight)

    def reopened(self, sent: int) -> None:
        """Note that a pause is over. What was refused before there was any load shows nothing about it."""
        if self.pattern is Pattern.WALL and self._blind:
            self.forget(sent)

    def forget(self, sent: int) -> None:
        """Drop the verdict, since the reason of the refusals is known from elsewhere."""
        self.pattern = Pattern.UNKNOWN
        self._begin, self._load, self.due = sent, 0, math.inf

    def finish(self, sent: int) -> Pattern:
        """End the trial, if it shows something by now; return the pattern."""
        end = self._begin + (sent - self._begin) * 8 // 9  # it is not known yet whether the last ones are refused
        count, of = self._among(self._begin, end), end - self._begin
        odds, bearable = self._odds(end), count <= LARGEST_SHARE * of
        if of < self._most and (abs(odds) < SURE or (of < FEWEST and not bearable)):
            self.due = sent + 5
        elif count >= PROOF and odds > 0 and bearable:
            self._patience = DOUBTS
            self._scatter(sent, (count, of))
        else:
            self._wall(sent, blind=False, sure=odds <= -SURE or not bearable)
        return self.pattern

    def _odds(self, end: int) -> float:
        """Return the logarithm of a likelihood ratio: that the trial has the share from before, or a wall's.

        The share from before has the distribution that the refusals before the trial show (a beta distribution). Below
        a wall the share is at most its square.
        """
        count, of = self._among(self._begin, end), end - self._begin
        if of <= 0:
            return 0.0
        refused, passed = self._before[0] + PRIOR[0], self._before[1] - self._before[0] + PRIOR[1]
        same = _log_beta(refused + count, passed + of - count) - _log_beta(refused, passed)
        before = refused / (refused + passed)
        share = max(STRAY, min(count / of, before * before))
        return same - count * math.log(share) - (of - count) * math.log1p(-share)

    def _exceeds(self) -> bool:
        """Tell whether so many of the last departures were refused that there must be a wall."""
        if self.pattern is not Pattern.TRIAL:
            self._allowed = ALLOWED_WHEN_SCATTERED if self.pattern is Pattern.SCATTERED else ALLOWED
        (share, most), refused, last = self._allowed, set(self._refused), max(self._refused)
        total = 0.0
        for departure in range(max(0, last - RECENT), last + 1):
            total = total + 1.0 if departure in refused else max(0.0, total - share / (1.0 - share))
        return total >= most

    def _is_doubtful(self, departure: int, sent: int, level: float) -> bool:
        """Tell whether there is doubt about the wall after this refusal. Of those that left together one counts."""
        if departure >= self._doubted and self.is_single:
            since = departure - self._doubted
            if since > LONGEST:
                self._doubts = 0
            elif level <= LOW or since < OFTEN:
                self._doubts += 1
            self._doubted = sent
        patience = self._patience if self._sure else self._patience / 2
        return self._doubts >= patience and not self._blind

    def _start(self, sent: int, in_flight: int, before: tuple[int, int]) -> None:
        """Begin a trial with the next departure."""
        self.pattern = Pattern.TRIAL
        self._before = before
        self._most = min(LONGEST, max(FEWEST, ROUND_TRIPS * in_flight))
        self._begin = sent
        self.due = sent + 5

    def _scatter(self, sent: int, seen: tuple[int, int]) -> None:
        self.pattern = Pattern.SCATTERED
        self._usual.value = seen[0] / seen[1]
        self._begin = sent
        self.due = math.inf

    def _wall(self, sent: int, *, blind: bool, sure: bool = True) -> None:
        if self.pattern is not Pattern.WALL:
            self._sure = sure
            self.pattern = Pattern.WALL
            self._blind = blind
            self.due = math.inf
            self._begin = self._doubted = sent
            self._doubts = 0

    def _recent(self, sent: int) -> tuple[int, int]:
        """Count the refused among the recent departures, and these."""
        begin = max(self._begin, sent - WINDOW)
        return self._among(begin, sent), sent - begin

    def _among(self, begin: int, end: int) -> int:
        return sum(begin <= departure < end for departure in self._refused)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
