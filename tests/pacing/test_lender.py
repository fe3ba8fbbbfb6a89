"""No minute has more than the rate, whatever workers do with their loans, and whoever dies."""

import math
import random
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch.pacing.lender import VALID, Ask, Lender


class Worker:
    """A worker that sends what it was lent at moments of its own, until its loan is over."""

    def __init__(self, name: str, source: random.Random, appetite: float) -> None:
        self.name, self._source, self._appetite = name, source, appetite
        self.lent, self.until = 0.0, -math.inf
        self.sent: list[float] = []

    def send(self, since: float, now: float) -> None:
        """Send some of the loan at any moments since the last look, all of them within the loan."""
        end = min(now, self.until)
        while self.lent >= 1 and end >= since and self._source.random() < self._appetite:
            self.lent -= 1
            self.sent.append(self._source.uniform(since, end))

    def ask(self, lender: Lender, now: float) -> None:
        grant = lender.lend(Ask(self.name, (self.lent, 0.0), (1.0, 0.0)), now)
        self.lent, self.until = grant.requests, now + VALID


def most_in_a_minute(times: list[float]) -> int:
    times = sorted(times)
    return max((bisect_left(times, start + 60.0) - place for place, start in enumerate(times)), default=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([7, 60, 600, 3000]), st.integers(1, 5))
def test_no_window_has_more_than_the_rate_though_workers_and_the_lender_die(seed: int, rpm: int, count: int) -> None:
    source = random.Random(seed)
    now, last = 0.0, 0.0
    lender = Lender(now, rpm=rpm, tpm=None)
    workers = [Worker(f"w{number}", source, source.choice([0.3, 0.9, 1.0])) for number in range(count)]
    sent: list[float] = []
    while now < 150.0:
        now += source.uniform(0.05, 0.4)
        for worker in workers:
            worker.send(last, now)
        if source.random() < 0.02:
            lender = Lender(now, rpm=rpm, tpm=None)  # restarted: it knows nothing of what was lent
        for number, worker in enumerate(workers):
            if source.random() < 0.02:  # dies with its loan, and another one comes
                sent += worker.sent
                workers[number] = Worker(f"w{number}.{now}", source, 1.0)
            elif source.random() < 0.8:
                worker.ask(lender, now)
        last = now
    sent += [moment for worker in workers for moment in worker.sent]
    assert most_in_a_minute(sent) <= rpm


@pytest.mark.parametrize(("rpm", "count"), [(600, 1), (600, 3), (60, 3), (3000, 8)])
def test_workers_who_could_send_more_share_the_rate_and_use_all_of_it(rpm: int, count: int) -> None:
    source, lender, now = random.Random(1), Lender(0.0, rpm=rpm, tpm=None), 0.0
    workers = [Worker(f"w{number}", source, 1.0) for number in range(count)]
    while now < 240.0:
        now += 0.2 / count
        worker = workers[round(now * count / 0.2) % count]
        worker.ask(lender, now)
        worker.send(now, now)
    counts = [len(worker.sent) for worker in workers]
    assert sum(counts) >= 0.97 * rpm * 4
    assert max(counts) - min(counts) <= 0.1 * max(counts) + 2


def test_a_request_of_many_tokens_gets_its_turn_beside_small_ones() -> None:
    lender, now, large, small = Lender(0.0, rpm=None, tpm=6000), 0.0, 0, 0.0
    unused = 0.0
    while now < 300.0:
        now += 0.1
        big = lender.lend(Ask("big", (0.0, unused), (0.0, 2000.0)), now)
        unused = 0.0 if big.tokens >= 2000 else big.tokens
        large += big.tokens >= 2000
        small += lender.lend(Ask("small", needed=(0.0, 10.0)), now).tokens
    assert large >= 3 and small > 0
    assert large * 2000 + small <= 6000 * 6


def test_a_refusal_closes_for_all_and_one_worker_alone_tries_again() -> None:
    lender = Lender(0.0, rpm=6000, tpm=None)
    for who in ("a", "b", "c"):
        lender.lend(Ask(who), 100.0)
    assert lender.lend(Ask("a", closed_for=5.0), 100.2).closed_for == pytest.approx(5.0)
    assert lender.lend(Ask("b"), 103.2).closed_for == pytest.approx(2.0)
    assert lender.lend(Ask("a"), 104.9).requests == 0
    grants = {who: lender.lend(Ask(who), 105.3).requests for who in ("b", "a", "c")}
    assert grants == {"b": 0, "a": 1, "c": 0}
    lender.lend(Ask("a", answered=1), 105.6)
    assert all(lender.lend(Ask(who, answered=int(who == "a")), 105.8).requests > 1 for who in ("c", "b", "a"))


def test_another_worker_tries_when_the_one_that_should_is_gone() -> None:
    lender = Lender(0.0, rpm=6000, tpm=None)
    lender.lend(Ask("a", closed_for=1.0), 100.0)
    assert lender.lend(Ask("b"), 101.5).requests == 0
    assert lender.lend(Ask("b"), 103.0).requests == 1


def test_dollars_are_lent_once() -> None:
    lender = Lender(0.0, rpm=None, tpm=None, dollars=10.0)
    assert [lender.borrow(4.0), lender.borrow(4.0), lender.borrow(4.0), lender.borrow(4.0)] == [4.0, 4.0, 2.0, 0.0]
