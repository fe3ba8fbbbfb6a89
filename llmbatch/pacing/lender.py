"""Lends the limits of one key to several workers: slices of rates and budget, and the pause after a refusal. Pure.

A loan counts as sent when it is lent, and what a worker gives back leaves the window with its loan. A worker that dies
keeps its last loan: it counts as spent. A lender that begins anew takes the last minute as used up, evenly, so that a
restart never lets more through than the rate.
"""

import math
from typing import NamedTuple

from llmbatch.pacing.token_bucket import WINDOW, Taken, TokenBucket

__all__ = ["VALID", "Ask", "Grant", "Lender"]

VALID = 0.5
"""Seconds for which units that were lent may be used. They may be sent that much later than they are counted."""
BURST = 1.0
"""Seconds' worth of units that may be lent at once, as workers ask only now and then."""
ACTIVE = 2.0
"""Seconds after which a worker that did not ask counts as gone."""


class Ask(NamedTuple):
    """What a worker tells the lender. Amounts are requests and tokens.

    `unused` comes back of its last loan, with corrections of tokens that were estimated, `needed` is the least that is
    of use, `hungry` says that more could have been sent. `closed_for` are the seconds for which its server wants to be
    left alone, `answered` how many answers it had so far.
    """

    who: str
    unused: tuple[float, float] = (0.0, 0.0)
    needed: tuple[float, float] = (1.0, 1.0)
    hungry: bool = True
    closed_for: float = 0.0
    answered: int = 0


class Grant(NamedTuple):
    """A loan: requests and tokens that may be sent within `VALID` seconds, and how long nothing may be sent."""

    requests: float = 0.0
    tokens: float = 0.0
    closed_for: float = 0.0


class _Worker:
    __slots__ = ("answered", "asked", "granted", "hungry", "loans", "waits")

    def __init__(self) -> None:
        self.asked = self.granted = -math.inf
        self.hungry = True
        self.waits = False
        """Whether there was less than it needed."""
        self.answered = 0
        self.loans: tuple[Taken | None, Taken | None] = (None, None)


class Lender:
    """The limits of one key. A rate of None is none; `dollars` may still be spent, infinite without a ceiling."""

    def __init__(self, now: float, *, rpm: float | None, tpm: float | None, dollars: float = math.inf) -> None:
        self._buckets = tuple(TokenBucket(rate, window=WINDOW + VALID, burst=BURST) for rate in (rpm, tpm))
        for bucket in self._buckets:
            bucket.fill(now)
        self._dollars = dollars
        self._workers: dict[str, _Worker] = {}
        self._closed_until = -math.inf
        self._probing: str | None = None
        """The worker that may try whether the server is there again."""

    def lend(self, ask: Ask, now: float) -> Grant:
        """Answer a worker."""
        worker = self._workers.setdefault(ask.who, _Worker())
        for bucket, loan, unused in zip(self._buckets, worker.loans, ask.unused, strict=True):
            bucket.correct(now, loan, unused)
        worker.loans = (None, None)
        worker.asked, worker.hungry = now, ask.hungry
        self._note_pause(worker, ask, now)
        if self._closed_until > now:
            return Grant(closed_for=self._closed_until - now)
        if self._probing is not None and self._probing != ask.who:
            if now - self._workers[self._probing].asked < ACTIVE:
                return Grant()
            self._probing = ask.who
        amounts = [
            self._share(bucket, worker, need, now) for bucket, need in zip(self._buckets, ask.needed, strict=True)
        ]
        if self._probing is not None:
            amounts = [min(amount, need) for amount, need in zip(amounts, ask.needed, strict=True)]
        worker.waits = not all(amount >= need for amount, need in zip(amounts, ask.needed, strict=True))
        if worker.waits:
            return Grant()
        worker.granted = now
        taken = [
            bucket.take(now, amount) if amount < math.inf else None
            for bucket, amount in zip(self._buckets, amounts, strict=True)
        ]
        worker.loans = (taken[0], taken[1])
        return Grant(*amounts)

    def borrow(self, dollars: float) -> float:
        """Lend up to so many dollars. They do not come back: what a worker does not spend is left for the next run."""
        lent = min(dollars, self._dollars)
        self._dollars -= lent
        return lent

    def _note_pause(self, worker: _Worker, ask: Ask, now: float) -> None:
        if ask.closed_for > 0:
            self._closed_until = max(self._closed_until, now + ask.closed_for)
            self._probing = ask.who
        elif ask.answered > worker.answered and ask.who == self._probing and self._closed_until <= now:
            self._probing = None
        worker.answered = ask.answered

    def _share(self, bucket: TokenBucket, worker: _Worker, need: float, now: float) -> float:
        """Return how much of a bucket a worker gets: its share of what there is, or what it needs if that is more."""
        if not bucket.binds:
            return math.inf
        room = bucket.room(now)
        others = [
            one for one in self._workers.values() if one is not worker and one.hungry and now - one.asked < ACTIVE
        ]
        if any(one.waits and one.granted < worker.granted for one in others):
            return -1.0  # there is too little for all: who waited longest comes first
        share = math.floor(room / (1 + len(others)))
        return max(share, need) if share >= need or bucket.opens(now, need) <= now else -1.0
