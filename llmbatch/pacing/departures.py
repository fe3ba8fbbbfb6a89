"""The last departures of a route, and whether a fixed limit explains a refusal among them. Pure.

Slots refuse nothing at a smaller load than they admitted. A rate refuses when it is used up: from one refusal to the
next it admits what it allows, however much is sent, so that it refuses nothing at a smaller rate than it admitted
between two earlier refusals. A refusal that contradicts both comes from neither, and less load would not end it.
"""

import itertools
import math
from collections import deque
from collections.abc import Collection

__all__ = ["Departures"]

LARGER, MANY = 1.25, 8
"""So many times the load of the refused departure is clearly a larger one; so many must have been admitted there."""
PRESENT, ENOUGH = 8, 16
"""Admitted departures that show a rate: the present one, and an earlier one."""
LONG = 2.0
"""Seconds that show the present rate where fewer were admitted."""
DEVIATIONS = 2.0
"""By so many standard deviations must the earlier rate exceed the present one."""


class Departures:
    """One route's last `most`, numbered from 0. `refused` are those that were refused, which its owner keeps."""

    def __init__(self, refused: Collection[int], most: int) -> None:
        self._refused = refused
        self._last: deque[tuple[float, int]] = deque(maxlen=most)
        """When each left, and how many were in flight then, itself included."""
        self._count = 0

    def departed(self, now: float, load: int) -> None:
        """Note a departure."""
        self._last.append((now, load))
        self._count += 1

    def contradict_limit(self, departure: int, known: int) -> bool:
        """Tell whether neither fixed slots nor a fixed rate refuse this departure, as earlier ones show.

        Of departures from `known` on it is not known yet whether they are refused.
        """
        first = self._count - len(self._last)
        refused = sorted({number for number in self._refused if first <= number <= departure})
        if not self.contradict_slots(departure, known, MANY):
            return False
        # When each of them left, and how many had been admitted by then.
        return _contradict_rate([(self._last[number - first][0], number - rank) for rank, number in enumerate(refused)])

    def contradict_slots(self, departure: int, known: int, many: int) -> bool:
        """Tell whether so many earlier ones were admitted at a clearly larger load."""
        first, refused = self._count - len(self._last), set(self._refused)
        if not first <= departure < self._count:
            return False
        load = LARGER * self._last[departure - first][1] + 1
        earlier = itertools.islice(self._last, max(0, min(departure, known) - first))
        return sum(its >= load and number not in refused for number, (_, its) in enumerate(earlier, first)) >= many


def _contradict_rate(refusals: list[tuple[float, int]]) -> bool:
    """Tell whether more a second were admitted between two earlier refusals than before the last one."""
    until, admitted = refusals[-1]
    for latest in range(len(refusals) - 2, 0, -1):
        since, before = refusals[latest]
        if admitted - before >= PRESENT or until - since > LONG:
            break
    else:
        return False
    if until <= since:
        return False
    count = admitted - before
    most = (count + DEVIATIONS * math.sqrt(count + 1) + 1) / (until - since)
    end = 1
    for start in range(latest):
        since, before = refusals[start]
        while end <= latest and refusals[end][1] - before < ENOUGH:
            end += 1
        if end > latest:
            return False
        count = refusals[end][1] - before
        if count - DEVIATIONS * math.sqrt(count) > most * (refusals[end][0] - since):
            return True
    return False
