"""Lends the limits of one key to several workers: slices of rates and budget, and the pause after a refusal. Pure.

A loan counts as sent when it is lent, and what a worker gives back leaves the window with its loan. A worker that dies
keeps its last loan: it counts as spent. A lender that begins anew takes the last minute as used up, evenly, so that a
restart never lets more through than the rate. A rate that nobody named or announced is learned from what all workers
together sent and were refused, which none of them sees alone.
"""

import math
from typing import NamedTuple

from llmbatch.pacing.rate_estimator import RateEstimator
from llmbatch.pacing.token_bucket import WINDOW, Taken, TokenBucket
from llmbatch.pacing.wall import STEP

__all__ = ["VALID", "Ask", "Grant", "Lender"]

VALID = 0.5
"""Seconds for which units that were lent may be used. They may be sent that much later than they are counted."""
BURST = 1.0
"""Seconds' worth of units that may be lent at once, as workers ask only now and then."""
ACTIVE = 2.0
"""Seconds after which a worker that did not ask counts as gone."""
SETTLES = 2.0
"""Seconds after a rate was learned in which refusals are still those of the rate before."""


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
    sent: int = 0
    refused: int = 0
    learned: float = 0.0
    forgets: bool = False


class Grant(NamedTuple):
    """A loan: requests and tokens that may be sent within `VALID` seconds, and how long nothing may be sent.

    `learned` is the rate that was learned from refusals, requests a minute of all workers; 0 for none.
    """

    requests: float = 0.0
    tokens: float = 0.0
    closed_for: float = 0.0
    learned: float = 0.0


class _Worker:
    __slots__ = ("answered", "asked", "granted", "hungry", "loans", "refused", "sent", "waits")

    def __init__(self) -> None:
        self.asked = self.granted = -math.inf
        self.hungry = True
        self.waits = False
        """Whether there was less than it needed."""
        self.answered = self.sent = self.refused = 0
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
        self._swept = now
        self._rate = RateEstimator()
        self._sent = self._refused = 0
        self._is_limited = False
        """Whether the last pause is due to a rate."""
        self._paced_at = -math.inf

    def lend(self, ask: Ask, now: float) -> Grant:
        """Answer a worker."""
        worker = self._workers.setdefault(ask.who, _Worker())
        for bucket, loan, unused in zip(self._buckets, worker.loans, ask.unused, strict=True):
            bucket.correct(now, loan, unused)
        worker.loans = (None, None)
        worker.asked, worker.hungry = now, ask.hungry
        self._learn(worker, ask, now)
        self._note_pause(worker, ask, now)
        self._sweep(now)
        learned = self._buckets[0].rate if self._buckets[0].guessed else 0.0
        if self._closed_until > now:
            return Grant(closed_for=self._closed_until - now, learned=learned)
        if self._probing is not None and self._probing != ask.who:
            if self._probing in self._workers and now - self._workers[self._probing].asked < ACTIVE:
                return Grant(learned=learned)
            self._probing = ask.who
        amounts = [
            self._share(bucket, worker, need, now) for bucket, need in zip(self._buckets, ask.needed, strict=True)
        ]
        if self._probing is not None:
            amounts = [min(amount, need) for amount, need in zip(amounts, ask.needed, strict=True)]
        worker.waits = not all(amount >= need for amount, need in zip(amounts, ask.needed, strict=True))
        if worker.waits:
            return Grant(learned=learned)
        worker.granted = now
        taken = [
            bucket.take(now, amount) if amount < math.inf else None
            for bucket, amount in zip(self._buckets, amounts, strict=True)
        ]
        worker.loans = (taken[0], taken[1])
        return Grant(amounts[0], amounts[1], learned=learned)

    def borrow(self, dollars: float) -> float:
        """Lend up to so many dollars. They do not come back: what a worker does not spend is left for the next run."""
        lent = min(dollars, self._dollars)
        self._dollars -= lent
        return lent

    def _learn(self, worker: _Worker, ask: Ask, now: float) -> None:
        """Count what a worker sent; learn the rate from the first refusal of a crowd."""
        requests = self._buckets[0]
        if ask.learned and not requests.binds:  # this lender is new, and its predecessor had learned it
            requests.guess(ask.learned, now)
            requests.fill(now)
        self._sent += ask.sent - worker.sent
        refused, self._refused = ask.refused - worker.refused, self._refused + ask.refused - worker.refused
        worker.sent, worker.refused = ask.sent, ask.refused
        if now >= self._rate.due:
            self._rate.mark(now, self._sent - self._refused)
        if ask.forgets:
            requests.forget()
        if refused > 0 and ask.closed_for > 0 and now >= self._closed_until:
            self._is_limited = True
            rate = self._rate.refused(now, self._sent, self._refused)
            if requests.guessed:
                before = requests.rate
                rate = min(before, max(STEP * before, rate or before)) if now - self._paced_at > SETTLES else None
            self._pace(rate, now)

    def _pace(self, rate: float | None, now: float) -> None:
        if rate is not None:
            self._paced_at = now
            self._buckets[0].guess(rate, now)

    def _note_pause(self, worker: _Worker, ask: Ask, now: float) -> None:
        if ask.closed_for > 0:
            self._closed_until = max(self._closed_until, now + ask.closed_for)
            self._probing = ask.who
        elif ask.answered > worker.answered and ask.who == self._probing and self._closed_until <= now:
            self._probing = None
            if self._is_limited:
                self._is_limited = False
                self._pace(self._rate.reopened(now), now)
        worker.answered = ask.answered

    def _sweep(self, now: float) -> None:
        """Drop workers that are gone; their loans are out of the window."""
        if now - self._swept > WINDOW:
            self._swept = now
            self._workers = {who: one for who, one in self._workers.items() if now - one.asked < WINDOW}

    def _share(self, bucket: TokenBucket, worker: _Worker, need: float, now: float) -> float:
        """Return how much of a bucket a worker gets: its share of what there is, or what it needs if that is more."""
        if not bucket.binds:
            return math.inf
        room = bucket.room(now)
        others = [
            one
            for one in self._workers.values()
            if one is not worker and one.hungry and now - one.asked < ACTIVE and self._probing is None
        ]
        if any(one.waits and one.granted < worker.granted for one in others):
            return -1.0  # there is too little for all: who waited longest comes first
        share = math.floor(room / (1 + len(others)))
        return max(share, need) if share >= need or bucket.opens(now, need) <= now else -1.0
