"""No minute has more than the rate, whatever workers do with their loans, and whoever dies."""

import math
import random
from bisect import bisect_left
from collections import deque

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


def test_who_tries_again_does_not_wait_for_those_who_have_to_wait_for_it() -> None:
    lender = Lender(0.0, rpm=60, tpm=None)
    assert [lender.lend(Ask(who), 100.0).requests for who in ("a", "c", "b")] == [1, 1, 0], "too little for all"
    lender.lend(Ask("a", closed_for=1.0), 100.2)
    assert lender.lend(Ask("b"), 101.5).requests == 0
    assert lender.lend(Ask("a"), 101.6).requests == 1


def test_another_worker_tries_when_the_one_that_should_is_gone() -> None:
    lender = Lender(0.0, rpm=6000, tpm=None)
    lender.lend(Ask("a", closed_for=1.0), 100.0)
    assert lender.lend(Ask("b"), 101.5).requests == 0
    assert lender.lend(Ask("b"), 103.0).requests == 1


def test_what_is_given_back_is_lent_again() -> None:
    lender = Lender(0.0, rpm=600, tpm=None)
    assert lender.lend(Ask("a"), 100.0).requests == 10
    assert lender.lend(Ask("b", hungry=False), 100.1).requests <= 1
    assert lender.lend(Ask("a", unused=(10.0, 0.0), hungry=False), 100.2).requests >= 5


def test_dollars_are_lent_once() -> None:
    lender = Lender(0.0, rpm=None, tpm=None, dollars=10.0)
    assert [lender.borrow(4.0), lender.borrow(4.0), lender.borrow(4.0), lender.borrow(4.0)] == [4.0, 4.0, 2.0, 0.0]


class SilentServer:
    """So many requests in any minute; beyond that refusals, and no word of a limit."""

    def __init__(self, rpm: int) -> None:
        self._rpm = rpm
        self._admitted: deque[float] = deque()
        self.admitted = self.refused = 0

    def answers(self, now: float) -> bool:
        while self._admitted and self._admitted[0] <= now - 60.0:
            self._admitted.popleft()
        if len(self._admitted) >= self._rpm:
            self.refused += 1
            return False
        self._admitted.append(now)
        self.admitted += 1
        return True


class Client:
    """A worker of a silent server: it sends at its own speed, and leaves the server alone for a while when refused."""

    def __init__(self, name: str, a_second: float) -> None:
        self.name, self._a_second = name, a_second
        self.sent = self.refused = self.answered = 0
        self._lent, self._until, self._learned = 0.0, -math.inf, 0.0
        self._waits, self._pause = 0.0, 0.5
        self._due = 0.0

    def work(self, server: SilentServer, now: float) -> None:
        while self._due <= now:
            self._due += 1.0 / self._a_second
            if self._lent < 1 or now >= self._until or self._waits:
                continue
            self._lent -= 1
            self.sent += 1
            if server.answers(now):
                self.answered += 1
                self._pause = 0.5
            else:
                self.refused += 1
                self._waits, self._pause = self._pause, min(8.0, 2 * self._pause)

    def ask(self, lender: Lender, now: float) -> None:
        unused = self._lent if math.isfinite(self._lent) else 0.0
        ask = Ask(
            self.name,
            (unused, 0.0),
            (1.0, 0.0),
            closed_for=self._waits,
            answered=self.answered,
            sent=self.sent,
            refused=self.refused,
            learned=self._learned,
        )
        grant = lender.lend(ask, now)
        self._lent, self._until, self._waits, self._learned = grant.requests, now + VALID, 0.0, grant.learned


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("restarts", [(), (400.0,)])
def test_a_silent_limit_is_learned_from_all_workers_and_kept_by_a_new_lender(
    count: int, restarts: tuple[float]
) -> None:
    server, lender = SilentServer(600), Lender(0.0, rpm=None, tpm=None)
    clients = [Client(f"c{number}", 40.0 / count * (1 + number % 2)) for number in range(count)]
    now, seen = 0.0, []
    while now < 720.0:
        now += 0.05
        if any(now - 0.05 < moment <= now for moment in restarts):
            lender = Lender(now, rpm=None, tpm=None)
        for number, client in enumerate(clients):
            client.work(server, now)
            if round(now / 0.05) % 4 == number % 4:
                client.ask(lender, now)
        if round(now / 0.05) % 1200 == 0:
            seen.append((server.admitted, server.refused))
    admitted, refused = seen[-1][0] - seen[1][0], seen[-1][1] - seen[1][1]
    assert admitted >= 0.85 * 600 * (len(seen) - 2), "what it admits is used"
    assert refused <= 0.01 * admitted, "it is not asked for much more"


def test_a_new_lender_takes_over_what_its_predecessor_learned() -> None:
    lender = Lender(0.0, rpm=None, tpm=None)
    first = lender.lend(Ask("a", learned=600.0), 10.0)
    assert first.requests <= 10 and 500 < first.learned < 600
    assert lender.lend(Ask("b"), 10.1).learned == pytest.approx(first.learned, rel=0.01)
    assert lender.lend(Ask("b", forgets=True), 10.2).requests == math.inf


def test_workers_that_are_gone_are_forgotten() -> None:
    lender = Lender(0.0, rpm=600, tpm=None)
    for number in range(1000):
        lender.lend(Ask(f"w{number}"), number * 1.0)
    assert len(lender._workers) < 200
