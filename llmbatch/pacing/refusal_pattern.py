"""Tells from the refusals of a route whether they come from a limit or are independent of the load. Pure.

A limit of a service (a rate, its slots) is called a wall here: it refuses what is sent beyond it, and nothing below.
Scattered refusals have nothing to do with the load: others that leave at the same moment are answered. The class below
goes from UNKNOWN to one of the two, and back when its verdict is contradicted:

- Seven refused in a row, or seven more than passed among the last requests: a WALL, at once.
- Few refusals while the load doubles: SCATTERED, since a wall would refuse more and more.
- Refusals that may be either: a TRIAL. The load is lowered by a sixth, or raised where it is low or grows anyway: to
  twice as much, or to a crowd. A wall refuses less of less, and all that is above it; scattered refusals keep their
  share. The one that is twenty times as likely ends the trial.
- A single refusal after a WALL that neither fixed slots nor a fixed rate explain (see `departures`): SCATTERED, unless
  a rate that was learned has held until then.
- After a WALL the load is lower, so that hardly anything should be refused. If single requests are refused again and
  again, another TRIAL follows, and each time it takes twice as many.
- More SCATTERED refusals than usual: a TRIAL with more load while the load grows, and else a little less load at once,
  since a refusal costs less than a trial. Nearly all refused, over all such cuts, or none below some load: a WALL.

A departure is a request that left, numbered from 0.
"""

import math
from collections import deque
from enum import Enum

from llmbatch.pacing.departures import Departures
from llmbatch.pacing.load_trial import LOAD, TWICE
from llmbatch.pacing.usual_share import UsualShare

__all__ = ["Pattern", "RefusalPattern"]

LARGEST = 0.5
"""Scattered refusals are at most this share of a trial with less load."""
ROW_OF_WALL = 7
"""A wall shows when so many more were refused than passed: a cumulative sum (CUSUM). So many in a row are one."""
SURE = math.log(20.0)
"""A trial ends when one explanation is so many times as likely as the other."""
LONGEST, FEWEST, ROUND_TRIPS = 240, 20, 5
"""An undecided trial ends after this many departures for each request in flight, within these bounds."""
PROOF = 2
"""At least this many refusals are needed to call them scattered."""
MANY = 5
"""If more than one in so many is refused during growth, a trial starts before the load has doubled."""
PRIOR = 1.0, 15.0
"""The prior of a share: as if so many had been refused before, and so many not."""
STRAY = 0.005
"""The share that a wall refuses even below it, since requests do not all travel equally long."""
WINDOW = 150
"""Departures from which a share is measured, and that the sum goes over."""
LAGS = 16
"""Refusals by which it is known how late they come."""
DOUBTS, FEW, OFTEN = 6, 8, 40
"""A trial doubts a wall after this many single refusals, and the next one after twice as many, but after no more than a
few with one request in flight; each soon after the last one or at a low load; and what soon is, in departures."""
FEW_MORE = 2
"""So many admitted at more load show that a refusal is for a rate, where only that is left."""
ROW = 3
"""Departures before the one at which a route pauses that belong to the same refusals."""
LOW = 0.7
"""At this part of what was in flight when a wall was found a trial raises the load, since lowering it would show
little."""


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
        self.raises = False
        """Whether the last trial is one with more load, and not with less."""
        self.times = TWICE
        """How many times the load a trial with more load sends."""
        self.bounded = False
        """Whether the last trial showed that more load than its lower one is refused, beside the usual share."""
        self.due: float = math.inf
        """The number of departures after which a trial is looked at again."""
        self._refused: deque[int] = deque(maxlen=2 * LONGEST)
        """The last departures that were refused, in the order in which the refusals came."""
        self._lags: deque[int] = deque([0], maxlen=LAGS)
        """How many had left when each of the last refusals came, since the departure that was refused."""
        self.departures = Departures(self._refused, 2 * LONGEST)
        self._usual = UsualShare(self._refused)
        self._begin = 0
        """The first departure since the pattern changed."""
        self._load = 0
        """How many were in flight at the first refusals during growth."""
        self._before = 0, 0
        """How many were refused before the trial, and of how many."""
        self._share_known = False
        """Whether refusals were scattered before the trial."""
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
        answered: bool = True,
        early: bool = False,
        level: float = 1.0,
        held: bool = False,
    ) -> Pattern:
        """Note that a departure was refused, after `sent` of them; return the pattern that this makes likely.

        `common` says that all would be refused alike, `growing` that the load rises, `answered` that others were
        answered, `early` that other rules tell how to go on. `level` is the load as a part of what was in flight when
        the wall was found, `held` that a learned rate held until now, which explains the refusal.
        """
        self._refused.append(departure)
        self._lags.append(sent - departure)
        self.is_single = departure - 1 not in self._refused and departure + 1 not in self._refused
        if in_flight <= 1:
            level = 0.0  # less cannot be sent
        least = self.pattern is Pattern.WALL and not level
        if common or (not least and self._exceeds()) or len(self._refused) == sent:
            self._wall(sent, blind=common or sent < ROW_OF_WALL)
        elif self.pattern is Pattern.UNKNOWN:
            recent = self._recent(sent)
            if recent[0] >= PROOF and not early:
                if not growing or MANY * recent[0] > recent[1]:
                    self._start(sent, in_flight, recent, raises=growing and answered)
                elif not self._load:
                    self._load = in_flight
                elif recent[0] >= 2 * PROOF and in_flight >= 2 * self._load:
                    self._scatter(sent, recent)
        elif self.pattern is Pattern.TRIAL:
            odds = self._odds(departure + 1)
            if odds >= SURE or (self.raises and odds <= -SURE):
                self.finish(sent)
        elif self.pattern is Pattern.WALL:
            if not held and self._is_contradicted(departure, sent, level):
                self.raises = False
                count, of = self._recent(sent)
                self._scatter(sent, (min(count, of // 2), of))
            elif self._is_doubtful(departure, sent, level):
                self._patience *= 2
                self._start(sent, in_flight, self._recent(sent), raises=level <= LOW)
        elif not self.share:
            self._wall(sent, blind=False)
        elif growing and departure >= self._begin:
            begins = self._usual.exceeded(departure, sent, in_flight)
            if begins is not None:
                end = departure + 1
                self._start(sent, in_flight, (self._among(begins, end), end - begins), raises=True)
        return self.pattern

    def exceeds_share(self, sent: int, in_flight: int) -> bool:
        """Tell whether the last refusal asks for less load, since more are refused than the usual share."""
        return self._usual.exceeded(self._refused[-1], sent, in_flight) is not None

    def no_slots(self, sent: int) -> bool:
        """Tell whether slots do not explain the last refusal, since others were admitted at more load."""
        return self.departures.contradict_slots(self._refused[-1], sent - max(self._lags), FEW_MORE)

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
        end = max(self._begin, sent - max(self._lags))  # it is not known yet whether the last ones are refused
        count, of = self._among(self._begin, end), end - self._begin
        odds = self._odds(end)
        bearable = self.raises or count <= LARGEST * of
        if of < self._most and (-SURE < odds < SURE or (of < FEWEST and not bearable)):
            self.due = sent + 5
        elif self.raises and odds > 0:
            self._scatter(sent, (self._before[0] + count, self._before[1] + of))
        elif self.raises and self._share_known:
            self._scatter(sent, None, bounded=True)
        elif not self.raises and bearable and count >= PROOF and odds > 0:
            self._scatter(sent, (count, of))
        else:
            self._wall(sent, blind=False, sure=self.raises or odds <= -SURE or not bearable)
        return self.pattern

    def _odds(self, end: int) -> float:
        """Return the logarithm of a likelihood ratio: that the trial has the share from before, or a wall's.

        The share from before has the distribution that the refusals before the trial show (a beta distribution). A wall
        admits as many as before, of fewer or of twice as many departures; below it the share is at most the square.
        """
        count, of = self._among(self._begin, end), end - self._begin
        if of <= 0:
            return 0.0
        refused, passed = self._prior()
        before = refused / (refused + passed)
        if self.raises:
            share = 1.0 - (1.0 - before) / self.times
            return count * math.log(before / share) + (of - count) * math.log((1.0 - before) / (1.0 - share))
        same = _log_beta(refused + count, passed + of - count) - _log_beta(refused, passed)
        share = max(STRAY, min(count / of, max(before * before, 1.0 - (1.0 - before) / LOAD)))
        return same - count * math.log(share) - (of - count) * math.log1p(-share)

    def _prior(self) -> tuple[float, float]:
        """Return what is known of the share from before the trial: as if so many were refused, and so many not."""
        return self._before[0] + PRIOR[0], self._before[1] - self._before[0] + PRIOR[1]

    def _exceeds(self) -> bool:
        """Tell whether so many of the last departures were refused that there must be a wall."""
        since, last = 0, max(self._refused)
        if self.pattern is Pattern.TRIAL and self.raises:
            refused, passed = self._prior()
            return self._usual.all_refused(last, since, refused / (refused + passed))
        if self.pattern is Pattern.SCATTERED:
            since = self._begin  # the load was another one before
            if self._usual.all_refused(last, since):
                return True
        those, total = set(self._refused), 0
        for departure in range(max(since, last - WINDOW), last + 1):
            total = total + 1 if departure in those else max(0, total - 1)
        return total >= ROW_OF_WALL

    def _is_contradicted(self, departure: int, sent: int, level: float) -> bool:
        """Tell whether a single refusal shows that there is no wall.

        Not while half is refused, unless little is sent by now: a time in which hardly any was admitted may be over.
        """
        if not self.is_single or departure < self._begin or self._blind:
            return False
        count, of = self._recent(sent)
        return (2 * count < of or not level) and self.departures.contradict_limit(departure, sent - max(self._lags))

    def _is_doubtful(self, departure: int, sent: int, level: float) -> bool:
        """Tell whether there is doubt about the wall after this refusal. Of those that left together one counts."""
        if departure >= self._doubted and self.is_single:
            since = departure - self._doubted
            if since > LONGEST:
                self._doubts = 0
            elif level <= LOW or since < OFTEN:
                self._doubts += 1
            self._doubted = sent
        patience = min(self._patience, FEW) if not level else self._patience if self._sure else self._patience / 2
        return self._doubts >= patience and not self._blind

    def _start(self, sent: int, in_flight: int, before: tuple[int, int], *, raises: bool = False) -> None:
        """Begin a trial with the next departure."""
        self._share_known = self.pattern is Pattern.SCATTERED
        self.pattern = Pattern.TRIAL
        self.raises = raises
        self._before = before
        self._most = min(LONGEST, max(FEWEST, ROUND_TRIPS * in_flight))
        self._begin = sent
        self.due = sent + 5

    def _scatter(self, sent: int, seen: tuple[int, int] | None, *, bounded: bool = False) -> None:
        self.pattern = Pattern.SCATTERED
        self.bounded = bounded
        if seen is not None:
            self._usual.learn(*seen)
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
        end = max(self._refused[-1] + 1, sent - max(self._lags))
        begin = max(min(self._begin, end - 1), end - WINDOW)
        return self._among(begin, end), end - begin

    def _among(self, begin: int, end: int) -> int:
        return sum(begin <= departure < end for departure in self._refused)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
