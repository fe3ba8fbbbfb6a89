"""No minute has more than the rate, whatever workers do with their loans, and whoever dies."""

import math
import random
from bisect import bisect_left
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch.pacing.lender import LATE, VALID, Ask, Lender


class Worker:
    """A worker that sends what it was lent at the moment of each, or at any time until it is too late."""

    def __init__(self, name: str, source: random.Random, appetite: float) -> None:
        self.name, self._source, self._appetite = name, source, appetite
        self.lent: list[float] = []
        self.sent: list[float] = []

    def send(self, now: float) -> None:
        """Send some of the moments that have come since the last look."""
        due = [moment for moment in self.lent if moment <= now]
        self.lent = self.lent[len(due) :]
        self.sent += [
            moment + self._source.uniform(0, LATE) for moment in due if self._source.random() < self._appetite
        ]

    def ask(self, lender: Lender, now: float) -> None:
        grant = lender.lend(Ask(self.name, needed=(1.0, 0.0), sent=len(self.sent)), now)
        self.lent += [now + grant.after + place * grant.gap for place in range(int(grant.requests))]


def most_within(seconds: float, times: list[float]) -> int:
    times = sorted(times)
    return max((bisect_left(times, start + seconds) - place for place, start in enumerate(times)), default=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([7, 60, 600, 3000]), st.integers(1, 5))
def test_no_minute_and_no_second_has_more_than_its_share_though_workers_and_the_lender_die(
    seed: int, rpm: int, count: int
) -> None:
    source = random.Random(seed)
    now = 0.0
    lender = Lender(now, rpm=rpm, tpm=None)
    workers = [Worker(f"w{number}", source, source.choice([0.3, 0.9, 1.0])) for number in range(count)]
    sent: list[float] = []
    while now < 150.0:
        now += source.uniform(0.05, 0.4)
        for worker in workers:
            worker.send(now)
        if source.random() < 0.02:
            lender = Lender(now, rpm=rpm, tpm=None)  # restarted: it knows nothing of what was lent
        for number, worker in enumerate(workers):
            if source.random() < 0.02:  # dies with its loan, and another one comes
                sent += worker.sent
                workers[number] = Worker(f"w{number}.{now}", source, 1.0)
            elif source.random() < 0.8:
                worker.ask(lender, now)
    sent += [moment for worker in workers for moment in worker.sent]
    assert most_within(60.0, sent) <= rpm
    assert most_within(1.0, sent) <= rpm / 60 * (1.0 + LATE) + 1, "whoever sends late"


@pytest.mark.parametrize(("rpm", "count"), [(600, 1), (600, 3), (60, 3), (3000, 8)])
def test_workers_who_could_send_more_share_the_rate_and_use_all_of_it(rpm: int, count: int) -> None:
    source, lender, now = random.Random(1), Lender(0.0, rpm=rpm, tpm=None), 0.0
    workers = [Worker(f"w{number}", source, 1.0) for number in range(count)]
    while now < 240.0:
        now += 0.2 / count
        worker = workers[round(now * count / 0.2) % count]
        worker.ask(lender, now)
        worker.send(now)
    counts = [len(worker.sent) for worker in workers]
    assert sum(counts) >= 0.98 * rpm * 4 - 0.01 * rpm, "but for the half second in which a predecessor may have lent"
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
    assert all(lender.lend(Ask(who, answered=int(who == "a"), sent=9), 105.8).requests > 1 for who in ("c", "b", "a"))


def test_who_tries_again_does_not_wait_for_those_who_have_to_wait_for_it() -> None:
    lender = Lender(0.0, rpm=60, tpm=None)
    assert [lender.lend(Ask(who), 100.0).requests for who in ("a", "b")] == [1, 0], "too little for all"
    lender.lend(Ask("a", closed_for=1.0), 100.2)
    assert lender.lend(Ask("b"), 101.5).requests == 0
    assert lender.lend(Ask("a"), 101.6).requests == 1


def test_another_worker_tries_when_the_one_that_should_is_gone() -> None:
    lender = Lender(0.0, rpm=6000, tpm=None)
    lender.lend(Ask("a", closed_for=1.0), 100.0)
    assert lender.lend(Ask("b"), 101.5).requests == 0
    assert lender.lend(Ask("b"), 103.0).requests == 1


def test_tokens_that_are_given_back_are_lent_again() -> None:
    lender = Lender(0.0, rpm=None, tpm=600)
    assert lender.lend(Ask("a"), 100.0).tokens == 10
    assert lender.lend(Ask("b", hungry=False), 100.1).tokens <= 1
    assert lender.lend(Ask("a", unused=(0.0, 10.0), hungry=False), 100.2).tokens >= 5


def test_who_has_nothing_to_send_takes_nothing_from_those_who_have() -> None:
    source, lender, now = random.Random(1), Lender(0.0, rpm=600, tpm=None), 0.0
    busy = Worker("busy", source, 1.0)
    while now < 60.0:
        now += 0.2
        for number in range(9):
            assert lender.lend(Ask(f"idle{number}", hungry=False), now).requests == 0
        busy.ask(lender, now)
        busy.send(now)
    assert len(busy.sent) >= 0.96 * 600


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


def found(refusals: dict[float, int]) -> tuple[Lender, float]:
    """Have two workers refused at once, and then one send 20 a second, refused after so many seconds; return when."""
    lender, now, sent, refused = Lender(0.0, rpm=None, tpm=None), 10.0, 10, 2
    lender.lend(Ask("a", sent=10, refused=2, answered=8, closed_for=0.1), now)
    lender.lend(Ask("b", sent=10, refused=2, answered=8, closed_for=0.1), now)
    while now < 20.0:
        now = round(now + 0.2, 1)
        sent, refused = sent + 4, refused + refusals.get(round(now - 10.0, 1), 0)
        grant = lender.lend(Ask("a", sent=sent, refused=refused, answered=sent - refused), now)
        others = lender.lend(Ask("b", sent=10, refused=2, answered=8), now)
        if others.requests > 0:
            return lender, now
        assert grant.requests == math.inf, "one alone sends, as if there were no other"
    raise AssertionError("the others never got their turn")


def test_one_worker_alone_finds_the_rate_at_which_a_silent_server_refuses_no_more() -> None:
    lender, now = found({2.4: 3})
    assert 15.4 <= now <= 16.0
    grant = lender.lend(Ask("a", sent=200, refused=5, answered=190), now)
    assert grant.learned == pytest.approx(0.95 * 20 * 60, rel=0.03)
    assert grant.gap == pytest.approx(60.0 / grant.learned)


def test_what_one_worker_found_over_a_minute_counts_what_the_others_sent_before() -> None:
    lender = Lender(0.0, rpm=None, tpm=None)
    for name in ("a", "b", "c"):
        lender.lend(Ask(name), 10.0)
    for name in ("a", "b", "c"):
        lender.lend(Ask(name, sent=203, refused=3, answered=200, closed_for=1.0), 11.5)
    for second in range(12, 73):
        lender.lend(Ask("a", sent=204, refused=4, answered=200, closed_for=2.0), second)
    lender.lend(Ask("a", sent=207, refused=5, answered=200, closed_for=0.5), 73.0)
    grant = lender.lend(Ask("a", sent=208, refused=7, answered=201, found=200.0), 74.0)
    assert 450 <= grant.learned <= 600


def test_a_worker_that_is_not_refused_alone_shows_no_rate() -> None:
    lender, now = found({})
    grant = lender.lend(Ask("b", sent=11, refused=2, answered=9), now)
    assert (grant.requests, grant.learned) == (math.inf, 0.0)


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
