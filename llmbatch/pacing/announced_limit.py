"""A rate limit that a server announces in its headers, by limit, remaining and reset: a bucket or a window. Pure.

What remains may leave at once. How it comes back depends on the server. A bucket refills evenly, and its reset is the
time until it is full: in proportion to what was used. A window (fixed, or sliding) is full again when it ends, and its
reset is the time until then, whatever was used. A reset that does not run down means neither. A limit alone is taken
for a bucket that was full when the run began, since what leaves is counted here too.
"""

import math

__all__ = ["AnnouncedLimit"]

SHORT = 60.0, 1.0, 10.0
PERIODS = *SHORT, 3600.0, 86400.0
"""Periods of limits in seconds, likely ones first: Azure's and Mistral's may be short, Groq's for requests is a day."""
SECOND, MINUTE = 1.0, 60.0
MUCH = 0.25
"""The part of a bucket that is more than others are likely to have used since it was announced."""
SOON = 2.0
"""A refusal so many seconds after the end of a window shows that it was not its end for all requests."""
PATIENCE, LONGER = 20, 10
"""A refusal of what was announced may have been for too many in flight, which are fewer by now: after so many requests
it is believed again, and after so many times more the next time."""
ROUNDED, LIKE = 1.1, 0.15
"""How far a reset may be from what a meaning predicts: servers round it, in seconds and as a part of it."""


class AnnouncedLimit:
    """Estimates what is left of one limit: what was announced, less what left, and what came back since."""

    def __init__(self, taken: float = 0.0) -> None:
        """`taken` is how many units have left so far."""
        self.period = MINUTE
        """The seconds in which the whole limit comes back."""
        self._limit = math.inf
        self._size = 0.0
        """The size of the bucket: the most that ever remained, and the request to which that was announced."""
        self._ends: float | None = None
        """When the window ends at the latest, if it is one."""
        self._began = -math.inf
        """When it began."""
        self._is_told = False
        """Whether its end was announced, and not guessed from the one before."""
        self._level = math.inf
        self._used = taken
        """What left and did not come back yet, if the limit is a bucket that nobody else uses."""
        self._at = 0.0
        """When level and use were computed last."""
        self._miscounts = False
        """Whether what is announced to remain does not fall as requests leave, so that only what left is counted."""
        self._longest_reset = 0.0
        self._first: tuple[float, float] | None = None
        """When the request left to which the first reset was announced that means no bucket, and that reset."""
        self._is_constant = False
        """Whether the reset does not run down."""
        self._slides = False
        """Whether it is a window that did not end for all requests at once."""
        self.contradicted = False
        """Whether a request was refused lately of which the server had announced that it may leave."""
        self._believed_after, self._patience = 0, PATIENCE
        """How many requests leave evenly until what is announced is believed again, this time and the next."""

    @property
    def per_minute(self) -> float:
        """Return how much comes back in a minute."""
        return self._limit * MINUTE / self.period

    @property
    def is_exact(self) -> bool:
        """Whether no more than this needs to be kept: it says what may leave at once, and was right about that.

        The limit of an hour or a day may always be used up at once.
        """
        return self.period > MINUTE or (self._size > 0 and not self.contradicted and not self.slides)

    @property
    def slides(self) -> bool:
        """Whether no more than the limit may leave in any time as long as its period.

        That is safe for every kind of limit and costs one period at most, so that for short ones nothing else is tried.
        """
        return self._slides or self.period <= SECOND

    def opens(self, now: float, amount: float) -> float:
        """Return when so much is left; for more than there ever is, when it is full."""
        if not self._size:
            return -math.inf  # what remains was not announced yet
        short = min(amount, self._size) - self._refilled(now)
        if short <= 1e-9:
            return -math.inf
        return self._ends if self._ends is not None else now + short * self.period / self._limit

    def take(self, now: float, amount: float) -> None:
        """Count units that leave."""
        if self._level < math.inf:
            self._compute(now)
            self._level -= amount
            self._used += amount
            if self.contradicted and amount > 0:
                self._believed_after -= 1
                self.contradicted = self._believed_after > 0
            if self._ends is not None and now >= self._ends:
                self._began, self._ends = self._ends, now + self._longest_reset  # the next one, until it is announced
                self._is_told = False

    def refused(self, now: float) -> None:
        """Note that the server refused a request for its pace: nothing is left, since others use the limit too.

        Where much should be left, it is not this limit that was enforced; or, if as much has left as its bucket holds,
        what was announced to remain is no count.
        """
        self._compute(now)
        if self._level < MUCH * self._size:
            self._level = min(self._level, 0.0)
        elif not self._miscounts and self._limit - self._used < MUCH * self._limit:
            self._miscounts, self._ends = True, None
            self._size, self._level = self._limit, 0.0
        elif self._ends is not None and now <= self._began + SOON:
            self._slides, self._ends = True, None
        else:
            self.contradicted = True
            self._believed_after, self._patience = self._patience, LONGER * self._patience

    def learn(
        self,
        limit: float | None,
        left: float | None,
        reset: float | None,
        *,
        now: float,
        age: float,
        since: float,
        exact: bool = True,
    ) -> None:
        """Learn from an announcement to a request that left `age` seconds ago, and `since` units after it.

        Some servers count when the request comes, others when the answer leaves: what is left is between both. `exact`
        says that units are counted, and not estimated as tokens are.
        """
        if limit is not None:
            self._limit = limit
        if self._limit == math.inf:
            return
        if left is None or self._miscounts:
            if not self._size:
                self._size, self._level, self._at = self._limit, self._limit - self._used, now
            return
        left = min(left, self._limit)
        self._size = min(self._limit, max(self._size, left + 1.0))
        self._compute(now)
        level = min(self._size, self._level)
        if reset is not None:
            first, last, ends = now - age + reset, now + reset, self._ends
            in_window = ends is not None and first - ROUNDED <= ends <= last + ROUNDED
            is_bucket = not in_window and self._means_bucket(left, reset)
            if is_bucket or self._slides or not (in_window or self._runs_down(reset, now - age)):
                self._ends = None
            elif first <= self._began + ROUNDED:
                return  # that window has ended
            elif ends is not None and first > ends + ROUNDED:
                self._began, self._ends, level = now - age, last, left - since
            else:
                self._ends = min(ends, last) if ends is not None and self._is_told else last
            self._is_told = self._ends is not None
        came_back = age * self._limit / self.period if self._ends is None else 0.0
        at_departure = left + came_back - since
        if exact and self._level < math.inf:
            level = min(max(level, left - since), max(left, at_departure))
        else:
            level = min(level, at_departure)
        self._level = min(self._size, level)

    def _means_bucket(self, left: float, reset: float) -> bool:
        """Tell whether a reset is the time until a bucket is full, and of which period."""
        self._longest_reset = max(self._longest_reset, reset)
        longer = self._longest_reset > 1.1 * MINUTE  # else a limit of an hour or a day would be a guess
        for period in dict.fromkeys((self.period, *PERIODS) if longer else SHORT):
            for full in (self._limit, self._size):
                predicted = (full - left) * period / self._limit
                if abs(reset - predicted) <= max(ROUNDED, LIKE * predicted) and self._longest_reset <= 1.1 * period:
                    self.period = period
                    return True
        longest = max(MINUTE, self._longest_reset / 1.1)
        self.period = next((period for period in PERIODS if period >= longest), PERIODS[-1])
        return False

    def _runs_down(self, reset: float, told: float) -> bool:
        """Tell whether a reset that means no bucket runs down, so that it is the time until a window ends."""
        since, before = self._first = self._first or (told, reset)
        if 2.0 * ROUNDED < told - since < before and abs(reset - before) <= ROUNDED:
            self._is_constant = True
        return not self._is_constant

    def _compute(self, now: float) -> None:
        """Add what came back until now."""
        if self._level < math.inf:
            self._level = self._refilled(now)
        self._used = max(0.0, self._used - (now - self._at) * self._limit / self.period)
        self._at = now

    def _refilled(self, now: float) -> float:
        if self._ends is not None:
            return self._level if now < self._ends else self._limit
        return min(self._size, self._level + (now - self._at) * self._limit / self.period)
