"""Tells a wall from scattered refusals, by whether the share of refusals follows the load. Pure.

A wall (a rate, the slots of a server) refuses what leaves after it. Scattered refusals do not: others that left at the
same time and later are answered. Three observations tell them apart.

- While the load grows, a wall soon refuses more than a few of those that leave. When the load has doubled since the
  first refusals and that has not happened, they are scattered.
- A load that does not grow is lowered for a while, which is a trial: where the share of refusals stays what it was,
  they are scattered; where it falls, there is a wall. That departures came through proves nothing by itself.
- Behind a wall the load is lower. When single requests go on being refused there, the wall is in doubt.
"""

import math
from collections import deque
from enum import Enum

__all__ = ["LOAD", "Pattern", "RefusalPattern"]

ALLOWED, ALLOWED_WHEN_SCATTERED = (0.25, 3.7), (0.45, 7.0)
"""More refused than such a share, by so many, is a wall for now: a cumulative sum (CUSUM). Four in a row are one."""
RECENT = 60
"""Departures that count for it."""
LOAD = 0.85
"""The part of the load that is sent in a trial: so much less that a wall refuses next to nothing."""
SURE = math.log(20.0)
"""A trial ends once one explanation is so many times as likely as the other."""
LONGEST, FEWEST, TURNS = 240, 20, 5
"""A trial that stays undecided ends after so many departures for each in flight, within these bounds."""
PROOF, LARGEST_SHARE = 2, 0.35
"""Refusals are scattered when at least so many are seen, and at most such a share."""
MANY = 5
"""One refused of fewer, and growth does not wait for a wall to show: a trial does."""
PRIOR = 1.0, 15.0
"""What is known of a share before anything was sent, as if so many had been refused and so many not."""
STRAY = 0.005
"""The share that a wall refuses even of less: requests do not all travel equally long."""
WINDOW = 150
"""Departures that count as recent when a trial begins, or when the share that is usual is compared."""
DOUBTS, OFTEN = 4, 40
"""So many single refusals put a wall in doubt, each of them within so many departures of the last one, or at a low
load; twice as many after each doubt."""
LOW, SUNK = 0.7, 0.5
"""The part of what a wall had let pass at which its refusals are doubtful, and at which more is sent to see."""


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
        """The share of departures that are refused whatever the load is, as last measured."""
        self.due: float = math.inf
        """The trial may be over once so many were sent."""
        self._refused: deque[int] = deque(maxlen=2 * LONGEST)
        """The departures that were refused last, in the order in which that was known."""
        self._allowed = ALLOWED
        self._begin = 0
        """The first departure since the pattern is what it is."""
        self._load = 0
        """What was in flight when growth met its first refusals."""
        self._before = 0, 0
        """How many were refused before the trial, of how many."""
        self._most = 0
        """The length of the trial at most."""
        self._blind = False
        """Whether a wall was found before there was a load that could have been less."""
        self._sure = True
        """Whether a wall is more than the likelier explanation."""
        self._doubts = 0
        self._patience = DOUBTS
        self._doubted = 0
        """The next departure that may put the wall in doubt."""

    def __repr__(self) -> str:
        """Show what was found."""
        return f"<RefusalPattern {self.pattern.name.lower()}, share {self.share:.3f}>"

    def refused(
        self,
        departure: int,
        sent: int,
        in_flight: int = 64,
        *,
        lost: bool = False,
        growing: bool = False,
        level: float = 1.0,
    ) -> Pattern:
        """Note that a departure was refused; return the pattern now.

        `lost` says that nobody answered at all, `growing` that the load rises. `level` is what is sent, as a part of
        what had passed when a wall was found.
        """
        self._refused.append(departure)
        if lost or self._exceeds() or len(self._refused) == sent:
            self._wall(sent, blind=lost or sent < ALLOWED[1])
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
                if level <= SUNK or not self._sure:
                    self._scatter(sent, self._recent(sent))
                else:
                    self._start(sent, in_flight, self._recent(sent))
        elif (recent := self._recent(sent))[0] > 2 * self.share * recent[1] + 4:
            self._start(sent, in_flight, recent)
        return self.pattern

    def reopened(self, sent: int) -> None:
        """Note that a pause is over."""
        if self.pattern is Pattern.WALL and self._blind:
            self.forget(sent)

    def forget(self, sent: int) -> None:
        """Drop what was found: there is another reason for it."""
        self.pattern = Pattern.UNKNOWN
        self._begin, self._load, self.due = sent, 0, math.inf

    def finish(self, sent: int) -> Pattern:
        """End the trial, if it shows something by now; return the pattern."""
        known = self._begin + (sent - self._begin) * 8 // 9  # what left last has not met its fate
        count, of = self._among(self._begin, known), known - self._begin
        odds, bearable = self._odds(known), count <= LARGEST_SHARE * of
        if of < self._most and (abs(odds) < SURE or (of < FEWEST and not bearable)):
            self.due = sent + 5
        elif count >= PROOF and odds > 0 and bearable:
            self._patience = DOUBTS
            self._scatter(sent, (count, of))
        else:
            self._wall(sent, blind=False, sure=odds <= -SURE or not bearable)
        return self.pattern

    def _odds(self, end: int) -> float:
        """Tell how likely the refusals of a trial are, as a logarithm: if the share is what it was, against if it fell.

        What it was is known as well as the refusals before show it; a wall would refuse at most the square of it.
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
        """Tell whether lately more were refused than is allowed."""
        if self.pattern is not Pattern.TRIAL:
            self._allowed = ALLOWED_WHEN_SCATTERED if self.pattern is Pattern.SCATTERED else ALLOWED
        (share, most), refused, last = self._allowed, set(self._refused), max(self._refused)
        total = 0.0
        for departure in range(max(0, last - RECENT), last + 1):
            total = total + 1.0 if departure in refused else max(0.0, total - share / (1.0 - share))
        return total >= most

    def _is_doubtful(self, departure: int, sent: int, level: float) -> bool:
        """Tell whether a wall is in doubt, after one more refusal. A crowd counts once, and a row shows a wall."""
        if departure >= self._doubted and departure - 1 not in self._refused and departure + 1 not in self._refused:
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
        self._most = min(LONGEST, max(FEWEST, TURNS * in_flight))
        self._begin = sent
        self.due = sent + 5

    def _scatter(self, sent: int, seen: tuple[int, int]) -> None:
        self.pattern = Pattern.SCATTERED
        self.share = seen[0] / seen[1]
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
