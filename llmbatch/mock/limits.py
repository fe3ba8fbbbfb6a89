"""Rate limits, of which a 429 tells: buckets of requests and tokens. Pure, the clock passed in."""

from collections import deque
from math import ceil, inf
from typing import NamedTuple

__all__ = ["Level", "MockBucket", "MockLimits", "RefillingBucket", "Shortage", "duration"]


class MockBucket:
    """A full bucket whose tokens come back `window` seconds after each was taken.

    Unlike one that refills at a steady rate, it lets no window of that length exceed the limit.
    """

    def __init__(self, per_minute: int, window: float = 60.0) -> None:
        self.per_minute = per_minute
        self.capacity = max(1, int(per_minute * window / 60))
        self.window = window
        self._taken: deque[tuple[float, int]] = deque()
        self._used = 0

    def left(self, now: float) -> int:
        """Return how many tokens can be taken now."""
        while self._taken and self._taken[0][0] + self.window <= now:
            self._used -= self._taken.popleft()[1]
        return self.capacity - self._used

    def wait(self, amount: int, now: float) -> float:
        """Return the seconds until `amount` fits: 0 if it does now, infinity if it never will."""
        short = amount - self.left(now)
        if short <= 0:
            return 0.0
        for moment, taken in self._taken:
            short -= taken
            if short <= 0:
                return self.window - (now - moment)
        return inf

    def take(self, amount: int, now: float) -> None:
        """Take tokens, after `wait` returned 0."""
        self._taken.append((now, amount))
        self._used += amount

    def reset(self, now: float) -> float:
        """Return the seconds until the bucket is full again."""
        self.left(now)
        return self.window - (now - self._taken[-1][0]) if self._taken else 0.0


class RefillingBucket:
    """A bucket of `capacity` tokens that refills evenly, at a rate per minute."""

    def __init__(self, per_minute: int, capacity: int) -> None:
        self.per_minute = per_minute
        self.capacity = capacity
        self._level = float(capacity)
        self._at = 0.0

    def left(self, now: float) -> int:
        """Return how many tokens can be taken now."""
        self._refill(now)
        return int(self._level + 1e-9)

    def wait(self, amount: int, now: float) -> float:
        """Return the seconds until `amount` fits: 0 if it does now, infinity if it never will."""
        if amount > self.capacity:
            return inf
        self._refill(now)
        return max(0.0, (amount - 1e-9 - self._level) * 60 / self.per_minute)

    def take(self, amount: int, now: float) -> None:
        """Take tokens, after `wait` returned 0."""
        self._refill(now)
        self._level -= amount

    def reset(self, now: float) -> float:
        """Return the seconds in which the bucket gains the difference of its limit and what is left."""
        return (self.per_minute - self.left(now)) * 60 / self.per_minute

    def _refill(self, now: float) -> None:
        self._level = min(self.capacity, self._level + (now - self._at) * self.per_minute / 60)
        self._at = now


class Shortage(NamedTuple):
    """Why a request is refused: the bucket that is short ("requests" or "tokens") and for how long."""

    bucket: str
    limit: int
    wait: float


class Level(NamedTuple):
    """How full a bucket is: what it allows a minute, what is left, and the seconds until it is full again."""

    name: str
    limit: int
    left: int
    reset: float


class MockLimits:
    """The buckets of a provider; each may be missing."""

    def __init__(self, *, rpm: int | None, tpm: int | None, window: float = 60.0, burst: int | None = None) -> None:
        self._buckets: dict[str, MockBucket | RefillingBucket] = {}
        if rpm is not None:
            self._buckets["requests"] = MockBucket(rpm, window) if burst is None else RefillingBucket(rpm, burst)
        if tpm is not None:
            self._buckets["tokens"] = MockBucket(tpm, window)

    def admit(self, tokens: int, now: float) -> Shortage | None:
        """Take one request of so many tokens from all buckets, or take nothing and return the one that is short."""
        amounts = {"requests": 1, "tokens": tokens}
        for name, bucket in self._buckets.items():
            if wait := bucket.wait(amounts[name], now):
                return Shortage(name, bucket.per_minute, wait)
        for name, bucket in self._buckets.items():
            bucket.take(amounts[name], now)
        return None

    def levels(self, now: float) -> list[Level]:
        """Return how full the buckets are."""
        return [
            Level(name, bucket.per_minute, bucket.left(now), bucket.reset(now))
            for name, bucket in self._buckets.items()
        ]


def duration(seconds: float) -> str:
    """Write a time the way Go does, to the next millisecond: `120ms`, `1.5s`, `6m0s`."""
    milliseconds = ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    shown = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{shown}"
    return f"{minutes}m{shown}" if minutes else shown
