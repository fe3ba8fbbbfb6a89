"""Begins and ends the trials of a route, and changes its limits for them. Pure."""

from llmbatch.pacing.concurrency_limit import ConcurrencyLimit
from llmbatch.pacing.load_trial import LOAD, TWICE, LoadTrial
from llmbatch.pacing.refusal_pattern import Pattern, RefusalPattern
from llmbatch.pacing.token_bucket import TokenBucket
from llmbatch.pacing.wall import Wall

__all__ = ["Trials"]

MEASURED = 0.8
"""The part of what is in flight, for each round trip, that leaves at least."""
CROWD = 24.0
"""So many a trial with more load has in flight at least, where growth risks as many. The more are sent, the fewer
departures tell: slots refuse nearly all of them, scattered refusals come as seldom as before."""
FORMER = 0.75
"""The part of what was in flight at the wall that is tried at least."""


class Trials:
    """The trials of one route, whose gate owns the limit, the bucket of requests, the wall and the pattern."""

    def __init__(self, limit: ConcurrencyLimit, requests: TokenBucket, wall: Wall, pattern: RefusalPattern) -> None:
        self._limit = limit
        self._requests = requests
        self._wall = wall
        self._pattern = pattern
        self.current: LoadTrial | None = None
        """The one that goes on."""
        self._rate_before: float | None = None
        """The rate per minute that was learned before a trial with more load, which did not keep to it."""

    def begin(self, now: float, in_flight: int, admitted: int) -> None:
        """Send less or more for a while, to see whether the share of refusals changes with the load.

        Less is less than is in flight and than the rate at which requests left. More is twice as much, or a crowd. No
        trial is needed after a wall that was contradicted: the load goes back to what was refused last, and grows from
        there.
        """
        if self._pattern.pattern is Pattern.SCATTERED:
            self._limit.resume(self._limit.plateau)
            self._tolerate(now)
            return
        raises, round_trip, requests = self._pattern.raises, self._limit.round_trip, self._requests
        load, rate = max(1, in_flight - 1), self._wall.rate.recent(now, admitted)
        if raises:
            load = max(1, min(self._limit.now, in_flight))
            rate = load / round_trip if round_trip else 0.0
            self._rate_before = requests.rate if requests.guessed else None
            times = max(TWICE, min(CROWD, self._limit.bound) / load)
            self._pattern.times = times
            requests.forget()
        else:
            if not requests.binds:
                # What is in flight may be that of a time in which nothing could leave.
                load = max(load, self._limit.plateau, int(FORMER * self._wall.load))
            if round_trip:
                rate = max(rate, MEASURED * load / round_trip)
            times = LOAD
        self._wall.load = load
        self.current = LoadTrial(load, rate, times=times)
        self._limit.resume(self.current.most)

    def end(self, now: float) -> None:
        """End it, if it has shown something."""
        if self._pattern.pattern is Pattern.TRIAL:
            return
        self.current = None
        if self._pattern.pattern is Pattern.SCATTERED and not self._pattern.bounded:
            self._limit.resume(self._wall.load, clear=self._pattern.raises)
            self._tolerate(now)
        else:
            self._limit.refused(now, 0.0, self._wall.load)

    def end_at_wall(self, now: float) -> None:
        """End it since there is a wall, and keep again to the rate from before it."""
        self.current = None
        if self._rate_before is not None:
            self._requests.guess(self._rate_before, now)
            self._rate_before = None

    def _tolerate(self, now: float) -> None:
        """Grow although there are refusals, and keep to no rate that was learned from them."""
        self._limit.tolerate(now)
        self._requests.forget()
        self._rate_before = None
