"""The share of requests that a route refuses whatever its load is, and whether more than that are refused now. Pure.

More are refused than usual when that is many times as likely as chance (a CUSUM of likelihood ratios). What was
refused before that began, and after the last cut, was refused at a load that can be borne: it is the usual share.
"""

import math
from collections.abc import Collection

__all__ = ["UsualShare"]

MORE = 2.0, 0.2, 0.9
"""A share that is worth a cut: so many times the usual one, and so much; no more than the last."""
SURE = 5.0
"""The logarithm of how many times likelier that must be than chance."""
ALL, CERTAIN = 0.9, 9.0
"""The share of a service that refuses all, and the logarithm of how many times likelier than chance shows one."""
RECENT = 60
"""Departures that count for it."""
MOMENTARY = 0.2
"""So much is refused for a moment by a service that refuses a smaller share, or one that rises with the load."""
ROUND_TRIPS, WEIGHT = 2, 20
"""What counts after a cut: departures for each in flight; and as how many departures the share known before counts."""
LEAST = 0.01
"""A smaller share is none."""


class UsualShare:
    """One route's. `refused` are the departures that were refused, which its owner keeps."""

    def __init__(self, refused: Collection[int]) -> None:
        self.value = 0.0
        self._refused = refused
        self._since = 0
        """The first departure after the last cut."""

    def exceeded(self, last: int, sent: int, in_flight: int) -> int | None:
        """Return since when more are refused than usual, if the refusal of the departure `last` shows that.

        Each one does where none is usual.
        """
        begins = last
        if self.value:
            times, plus, most = MORE
            # A wall refuses half of those that it used to admit, at twice the load.
            more = min(most, times * self.value + plus, (1.0 + self.value) / 2.0)
            likelier, begins = self._likelier(last, self.value, more, self._since)
            if likelier < SURE:
                return None
        self.cut(begins, sent, in_flight)
        return begins

    def all_refused(self, last: int, since: int, usual: float | None = None) -> bool:
        """Tell whether all departures up to `last` seem to be refused now; only those from `since` on count.

        A cut does not begin anew: less load would have helped. `usual` is the share to compare that with, if none is
        known for sure.
        """
        usual = max(MOMENTARY, self.value) if usual is None else usual
        return self._likelier(last, usual, ALL, since)[0] >= CERTAIN

    def learn(self, count: int, of: int) -> None:
        """Learn from so many refused departures at a load that can be borne."""
        weight = WEIGHT if self.value else 0
        self.value = (count + weight * self.value) / (of + weight)

    def cut(self, until: int, sent: int, in_flight: int) -> None:
        """Note that the load is lowered; learn from the departures since the last time, up to `until`."""
        if self.value:
            end = min(until, self._since + ROUND_TRIPS * in_flight)
            of = max(0, end - self._since)
            count = sum(self._since <= departure < end for departure in self._refused)
            self.learn(count, of)
            if self.value < LEAST:
                self.value = 0.0
        self._since = sent

    def _likelier(self, last: int, usual: float, more: float, since: int) -> tuple[float, int]:
        """Return the logarithm of how much likelier the share `more` is than the usual one, and since when."""
        refused, passed = math.log(more / usual), math.log((1.0 - more) / (1.0 - usual))
        those, total, begins = set(self._refused), 0.0, since
        for departure in range(max(since, last - RECENT), last + 1):
            total = max(0.0, total + (refused if departure in those else passed))
            if not total:
                begins = departure + 1
        return total, begins
