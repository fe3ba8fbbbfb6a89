"""Lends the limits of one key to several workers: slices of rates and budget, and the pause after a refusal. Pure.

A loan counts as sent when it is lent, and what a worker gives back leaves the window with its loan. A worker that dies
keeps its last loan: it counts as spent. A lender that begins anew takes the last minute as used up, evenly, so that a
restart never lets more through than the rate. Requests are lent as moments, one after the other over all workers, so
that no second has more than its share.

A rate that nobody named or announced is found by one worker, which sends alone for a while once requests are refused:
all of them together would be refused as many times as often. Later refusals are those of all.
"""

import math
from typing import NamedTuple

from llmbatch.pacing.rate_estimator import APART, MINUTE, RateEstimator
from llmbatch.pacing.token_bucket import SLICE, WINDOW, Taken, TokenBucket
from llmbatch.pacing.wall import STEP

__all__ = ["LATE", "VALID", "Ask", "Grant", "Lender"]

VALID = 0.5
"""Seconds for which tokens that were lent may be used. They may be sent that much later than they are counted."""
BURST = 1.0
"""Seconds' worth of tokens that may be lent at once, as workers ask only now and then."""
AHEAD = 0.5
"""Seconds before their moments at which requests are lent, for the same reason."""
LATE = 0.1
"""Seconds after its moment in which a request may still leave."""
ACTIVE = 2.0
"""Seconds after which a worker that did not ask counts as gone."""
SETTLES = 2.0
"""Seconds after a rate was learned in which refusals are still those of the rate before."""
ALONE, UNREFUSED = 150.0, 3.0
"""The most seconds for one worker to find the rate, and those without a refusal that show it."""

FINDINGS = 3
"""So often one worker alone tries to find the rate."""


class Ask(NamedTuple):
    """What a worker tells the lender. Amounts are requests and tokens.

    `unused` comes back of its last loan, with corrections of tokens that were estimated, `needed` is the least that is
    of use, `hungry` says that more could have been sent. `closed_for` are the seconds for which its server wants to be
    left alone, `answered` how many answers it had so far, `found` the rate that its own refusals show.
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
    found: float = 0.0


class Grant(NamedTuple):
    """A loan: requests, tokens that may be sent within `VALID` seconds, and how long nothing may be sent.

    The first request may leave `after` so many seconds, the others with a `gap` between two. `learned` is the rate that
    was learned from refusals, requests a minute of all workers; 0 for none.
    """

    requests: float = 0.0
    tokens: float = 0.0
    closed_for: float = 0.0
    learned: float = 0.0
    after: float = 0.0
    gap: float = 0.0


class _Worker:
    __slots__ = ("answered", "asked", "granted", "hungry", "loan", "refused", "sent", "waits")

    def __init__(self) -> None:
        self.asked = self.granted = -math.inf
        self.hungry = True
        self.waits = False
        """Whether there was less than it needed."""
        self.answered = self.sent = self.refused = 0
        self.loan: Taken | None = None
        """The tokens of its last loan."""


class Lender:
    """The limits of one key. A rate of None is none; `dollars` may still be spent, infinite without a ceiling."""

    def __init__(self, now: float, *, rpm: float | None, tpm: float | None, dollars: float = math.inf) -> None:
        # The even pace bounds a minute, too.
        self._requests = TokenBucket(None if rpm is None else rpm / SLICE, window=0.0, burst=AHEAD)
        self._tokens = TokenBucket(tpm, window=WINDOW + VALID, burst=BURST)
        self._tokens.fill(now)
        self._follow(now)
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
        self._finder: str | None = None
        """The worker that alone sends, to find the rate."""
        self._finds_since = -math.inf
        self._findings = 0
        self._passed_from = self._passed = (now, 0)
        """From when on the finder was not refused, and when it asked last, each with what was admitted by then."""
        self._refused_alone = False

    def lend(self, ask: Ask, now: float) -> Grant:
        """Answer a worker."""
        worker = self._workers.setdefault(ask.who, _Worker())
        self._tokens.correct(now, worker.loan, ask.unused[1])
        worker.loan = None
        worker.asked, worker.hungry = now, ask.hungry
        used, need = ask.sent - worker.sent, ask.needed[1]
        self._learn(worker, ask, now)
        self._note_pause(worker, ask, now)
        self._sweep(now)
        learned = self._requests.rate if self._requests.guessed else 0.0
        if self._finder not in (None, ask.who):
            return Grant()
        if self._finder is None:  # the finder leaves the server alone, and tries again, by itself
            if self._closed_until > now:
                return Grant(closed_for=self._closed_until - now, learned=learned)
            if self._probing is not None and self._probing != ask.who:
                if self._is_active(self._probing, now):
                    return Grant(learned=learned)
                self._probing = ask.who
        requests, tokens = self._share_of_requests(worker, used, now), self._share_of_tokens(worker, need, now)
        if self._probing is not None and self._finder is None:
            requests, tokens = min(requests, 1.0), min(tokens, need)
        worker.waits = requests < 1 or tokens < need
        if worker.waits:
            return Grant(learned=learned)
        worker.granted = now
        worker.loan = self._tokens.take(now, tokens) if tokens < math.inf else None
        if requests == math.inf:
            return Grant(requests, tokens, learned=learned)
        after = max(0.0, self._requests.due - now)
        self._requests.take(now, requests)
        return Grant(requests, tokens, learned=learned, after=after, gap=60.0 / self._requests.rate)

    def borrow(self, dollars: float) -> float:
        """Lend up to so many dollars. They do not come back: what a worker does not spend is left for the next run."""
        lent = min(dollars, self._dollars)
        self._dollars -= lent
        return lent

    def _learn(self, worker: _Worker, ask: Ask, now: float) -> None:
        """Count what a worker sent; learn the rate from what the finder found, or from the first refusal of a crowd."""
        requests = self._requests
        if ask.learned and not requests.binds:  # this lender is new, and its predecessor had learned it
            requests.guess(ask.learned, now)
            self._follow(now)
        self._sent += ask.sent - worker.sent
        refused, self._refused = ask.refused - worker.refused, self._refused + ask.refused - worker.refused
        worker.sent, worker.refused = ask.sent, ask.refused
        admitted = self._sent - self._refused
        if now >= self._rate.due:
            self._rate.mark(now, admitted)
        if ask.forgets:
            requests.forget()
        if refused > 0 and ask.closed_for > 0 and now >= self._closed_until:
            self._is_limited = True
            rate = self._rate.refused(now, self._sent, self._refused)
            if requests.guessed:
                before = requests.rate
                rate = min(before, max(STEP * before, rate or 0.0)) if now - self._paced_at > SETTLES else None
            elif self._findings < FINDINGS and not requests.binds:
                self._findings += 1
                self._finder, self._finds_since, self._passed_from = ask.who, now, (now, admitted)
            self._pace(rate, now, lowered=requests.guessed)
        if self._finder is not None:
            self._watch_finder(ask, refused, admitted, now)

    def _watch_finder(self, ask: Ask, refused: int, admitted: int, now: float) -> None:
        """Take the rate that the finder found, or that at which it is not refused any more, and end its time alone.

        One that was not refused alone has shown that the limit is beyond one worker, and no more.
        """
        if refused > 0 and ask.who == self._finder and now - self._finds_since > VALID:
            self._refused_alone = True
        if refused > 0 or now < self._closed_until:
            self._passed_from = now, admitted
        if ask.who == self._finder:
            self._passed = now, admitted
        is_gone = not self._is_active(self._finder, now)
        (since, before), (until, admitted) = self._passed_from, self._passed
        passes = until - since > UNREFUSED or (is_gone and until - since > UNREFUSED / 2)
        if ask.found and ask.who == self._finder:
            # A cycle of a minute began when the others sent, too, which it does not know.
            self._pace(self._of_all(max(ask.found, self._rate.reopened(now) or 0.0), now), now)
        elif passes and self._refused_alone:
            self._pace((admitted - before) * 60.0 / (until - since), now)
        if self._requests.binds or passes or is_gone or now - self._finds_since > ALONE:
            self._finder = self._probing = None

    def _of_all(self, rate: float, now: float) -> float:
        """Return a rate that was found, but no less than what all workers together were admitted in the last minute."""
        return max(rate, self._rate.over(MINUTE + APART, now, self._sent - self._refused))

    def _pace(self, rate: float | None, now: float, *, lowered: bool = False) -> None:
        if rate is not None:
            self._paced_at = now
            self._requests.guess(rate, now, lowered=lowered)

    def _follow(self, now: float) -> None:
        """Begin behind the moments that a predecessor may have lent."""
        self._requests.take(now + AHEAD, 1.0)

    def _is_active(self, who: str | None, now: float) -> bool:
        return who in self._workers and now - self._workers[who].asked < ACTIVE

    def _note_pause(self, worker: _Worker, ask: Ask, now: float) -> None:
        if ask.closed_for > 0:
            self._closed_until = max(self._closed_until, now + ask.closed_for)
            self._probing = ask.who
        elif ask.answered > worker.answered and ask.who == self._probing and self._closed_until <= now:
            self._probing = None
            if self._is_limited:
                self._is_limited = False
                rate = self._rate.reopened(now)
                self._pace(None if rate is None else self._of_all(rate, now), now)
        worker.answered = ask.answered

    def _sweep(self, now: float) -> None:
        """Drop workers that are gone; their loans are out of the window."""
        if now - self._swept > WINDOW:
            self._swept = now
            self._workers = {who: one for who, one in self._workers.items() if now - one.asked < WINDOW}

    def _share_of_requests(self, worker: _Worker, used: int, now: float) -> float:
        """Return how many requests a worker gets: its share, but no more than it seems to need: they do not come back.

        A worker that wants more than it had may have twice as many.
        """
        if not self._requests.binds:
            return math.inf
        share = float(self._room(self._requests, worker, now)) or self._turn(self._requests, worker, 1.0, now)
        return min(share, 2.0 * used + 1.0 if worker.hungry else used)

    def _share_of_tokens(self, worker: _Worker, need: float, now: float) -> float:
        """Return how many tokens a worker gets: its share, or what it needs if that is more, and its turn."""
        if not self._tokens.binds:
            return math.inf
        turn = self._turn(self._tokens, worker, need, now)
        return turn if turn < 0 else max(turn, float(self._room(self._tokens, worker, now)))

    def _room(self, bucket: TokenBucket, worker: _Worker, now: float) -> int:
        return int(bucket.room(now) / (1 + len(self._others(worker, now))))

    def _turn(self, bucket: TokenBucket, worker: _Worker, need: float, now: float) -> float:
        """Return what a worker needs, if there is as much, and nobody waited longer for too little."""
        waited = any(one.waits and one.granted < worker.granted for one in self._others(worker, now))
        return need if not waited and bucket.opens(now, need) <= now else -1.0

    def _others(self, worker: _Worker, now: float) -> list[_Worker]:
        """Return the other workers that could send more."""
        if self._probing is not None:
            return []
        return [one for one in self._workers.values() if one is not worker and one.hungry and now - one.asked < ACTIVE]
