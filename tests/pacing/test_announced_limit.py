"""Announced limits: whatever the server means by its reset, nothing is refused and hardly any time lost."""

import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.pacing.announced_limit import AnnouncedLimit
from llmbatch.pacing.token_bucket import BURST, TokenBucket


class Server:
    """A bucket that refills; it tells the time until it is full, or until the limit could be in it."""

    def __init__(self, limit: float, period: float, size: float, *, until_full: bool) -> None:
        self.limit, self.rate, self.size, self.until_full = limit, limit / period, size, until_full
        self.level, self.at, self.refused = size, 0.0, 0

    def ask(self, now: float) -> tuple[float, float, float]:
        self.level, self.at = min(self.size, self.level + (now - self.at) * self.rate), now
        if self.level >= 1.0 - 1e-9:
            self.level -= 1.0
        else:
            self.refused += 1
        left = math.floor(self.level + 1e-9)
        return self.limit, left, ((self.size if self.until_full else self.limit) - left) / self.rate


class Silent(Server):
    """A bucket of a minute that announces its limit alone."""

    def ask(self, now: float) -> tuple[float, None, None]:
        return super().ask(now)[0], None, None


class Window:
    """A fixed window; its reset is the time until its end."""

    def __init__(self, limit: float, period: float, *, begun: float) -> None:
        self.limit, self.period, self.begun = limit, period, begun
        self.number, self.used, self.refused = -1, 0, 0

    def ask(self, now: float) -> tuple[float, float, float]:
        number = int((now + self.begun) / self.period + 1e-9)
        if number != self.number:
            self.number, self.used = number, 0
        if self.used < self.limit:
            self.used += 1
        else:
            self.refused += 1
        return self.limit, self.limit - self.used, (number + 1) * self.period - self.begun - now


def run(server: Server | Silent | Window, requests: int, latency: float) -> float:
    """Send as soon as the bucket allows it, each answer telling what was left when it was asked; return the end."""
    bucket, now, waiting = TokenBucket(), 0.0, []
    for number in range(requests):
        while True:
            for told in [told for told in waiting if told[0] <= now]:
                waiting.remove(told)
                bucket.learn(*told[2][:2], told[0], reset=told[2][2], age=latency, since=bucket.taken - told[1])
            opens = bucket.opens(now, 1.0)
            if opens <= now and (number == 0 or bucket.binds):
                break
            now = min([opens] * (opens > now) + [told[0] for told in waiting])
        bucket.take(now, 1.0)
        waiting.append((now + latency, bucket.taken, server.ask(now)))
    return now


@pytest.mark.parametrize("until_full", [True, False], ids=["until full", "until the limit"])
@pytest.mark.parametrize("latency", [0.1, 5.0])
@pytest.mark.parametrize(
    ("limit", "period", "size"),
    [(600, 60.0, 20), (600, 60.0, 600), (60, 60.0, 5), (10, 1.0, 10), (50, 10.0, 50), (14_400, 86_400.0, 14_400)],
)
def test_a_bucket_is_used_up_and_never_overdrawn(
    limit: float, period: float, size: float, until_full: bool, latency: float
) -> None:
    server = Server(limit, period, size, until_full=until_full)
    requests = 400
    ended = run(server, requests, latency)
    assert server.refused <= 2
    ideal = max(0.0, (requests - size) * period / limit) if period <= 60 else 0.0
    assert ended - latency <= ideal / 0.9 + (limit if period <= 60 else 0) / server.rate + 1.0


@pytest.mark.parametrize("latency", [0.1, 5.0])
@pytest.mark.parametrize(("limit", "period", "size"), [(600, 60.0, 600), (60, 60.0, 60), (14_400, 86_400.0, 14_400)])
def test_all_that_remains_of_a_bucket_may_leave_at_once(
    limit: float, period: float, size: float, latency: float
) -> None:
    server = Server(limit, period, size, until_full=True)

    ended = run(server, int(min(size, 500)), latency)

    assert server.refused == 0
    assert ended <= latency, "nothing waits but for the first announcement"


@pytest.mark.parametrize("latency", [0.1, 5.0])
@pytest.mark.parametrize("limit", [60, 500])
def test_a_limit_alone_may_be_used_up_at_once_and_then_as_it_comes_back(limit: int, latency: float) -> None:
    server = Silent(limit, 60.0, limit, until_full=True)

    ended = run(server, int(1.2 * limit), latency)

    assert server.refused == 0
    assert ended <= 12.0 + latency


@pytest.mark.parametrize("latency", [0.1, 5.0])
@pytest.mark.parametrize("begun", [0.0, 17.0, 40.0])
@pytest.mark.parametrize(("limit", "period"), [(500, 60.0), (50, 60.0), (100, 3600.0)])
def test_a_window_is_used_up_at_once_and_again_when_it_has_ended(
    limit: float, period: float, begun: float, latency: float
) -> None:
    server = Window(limit, period, begun=begun)

    ended = run(server, int(2.5 * limit), latency)

    assert server.refused <= 2
    assert ended <= 2 * period - begun + 1.0 + latency


@given(begun=st.floats(0, 49), latency=st.floats(0.05, 5), limit=st.integers(10, 100))
def test_no_window_is_taken_to_end_before_it_does(begun: float, latency: float, limit: int) -> None:
    server = Window(limit, 60.0, begun=begun)

    ended = run(server, int(5.5 * limit), latency)

    assert server.refused <= 2
    assert ended <= 5 * 60.0 - begun + latency + 1.0


class Second(Window):
    """A window of each second of the clock. Its reset is always one, as Together says it."""

    def __init__(self, limit: float, *, begun: float) -> None:
        super().__init__(limit, 1.0, begun=begun)

    def ask(self, now: float) -> tuple[float, float, float]:
        return *super().ask(now)[:2], 1.0


@given(begun=st.floats(0, 1), latency=st.floats(0.05, 5), limit=st.integers(2, 50))
def test_no_second_is_sent_more_than_its_limit(begun: float, latency: float, limit: int) -> None:
    server = Second(limit, begun=begun)

    ended = run(server, 20 * limit, latency)

    assert server.refused == 0
    assert ended <= 2 * latency + 22.0


def test_a_second_that_nobody_announced_yet_is_not_sent_more_than_its_limit_either() -> None:
    bucket = TokenBucket()
    for _ in range(6):
        bucket.take(9.7, 1.0)
    bucket.learn(10.0, 8.0, 9.8, reset=1.0, age=0.3, since=5.0)

    for _ in range(3):
        assert bucket.opens(9.8, 1.0) <= 9.8
        bucket.take(9.8, 1.0)

    assert 10.5 <= bucket.opens(9.8, 1.0) <= 10.6, "seven of ten left since, and two before"


def test_what_left_long_ago_takes_no_memory() -> None:
    bucket = TokenBucket()
    bucket.learn(6000.0, 5999.0, 0.0, reset=0.01)
    tracemalloc.start()
    for number in range(30_000):
        bucket.take(0.1 * number, 1.0)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 1e6


def test_a_window_that_refuses_soon_after_its_end_slides() -> None:
    bucket = TokenBucket()
    bucket.learn(100.0, 40.0, 0.0, reset=59.9)
    for moment in range(40):
        bucket.take(0.5 * moment, 1.0)
    for _ in range(50):
        bucket.take(60.0, 1.0)

    bucket.refused(60.1)

    assert bucket.opens(60.1, 1.0) == pytest.approx(60.25), "what had left before the first answer comes back"
    for _ in range(11):
        bucket.take(60.3, 1.0)
    assert bucket.opens(60.3, 1.0) == pytest.approx(60.75), "and then one after the other"


def test_a_refusal_long_after_the_end_of_a_window_does_not_make_it_slide() -> None:
    limit = AnnouncedLimit()
    limit.learn(100.0, 40.0, 20.0, now=0.0, age=0.0, since=0.0)
    limit.take(20.0, 1.0)
    limit.learn(100.0, 99.0, 60.0, now=20.1, age=0.1, since=0.0)

    limit.refused(40.0)

    assert not limit.slides


def test_a_server_that_refuses_what_it_announced_is_sent_it_evenly() -> None:
    bucket = TokenBucket()
    bucket.learn(600.0, 599.0, 0.0, reset=0.1)
    assert bucket.opens(0.0, 1.0) <= 0.0
    for _ in range(10):
        bucket.take(0.0, 1.0)
    assert bucket.opens(0.0, 1.0) <= 0.0

    bucket.refused(0.0)

    for _ in range(10):
        bucket.take(0.0, 1.0)
    assert bucket.opens(0.0, 1.0) == pytest.approx(1.0 - BURST), "ten have left since, ten a second may"


def test_what_is_announced_is_believed_again_after_a_while_and_the_next_time_after_a_longer_one() -> None:
    bucket = TokenBucket()
    for evenly in (20, 200):
        bucket.learn(600.0, 599.0, 0.0, reset=0.1)
        bucket.refused(0.0)
        for _ in range(evenly - 1):
            bucket.take(0.0, 1.0)
        assert bucket.opens(0.0, 1.0) > 0.0, "they leave evenly"
        bucket.take(0.0, 1.0)
        assert bucket.opens(0.0, 1.0) <= 0.0, "what remains may leave at once"


@pytest.mark.parametrize("reset", [None, 60.0])
def test_after_a_refusal_our_own_count_replaces_one_that_never_falls(reset: float | None) -> None:
    bucket = TokenBucket()
    for _ in range(500):
        bucket.take(1.0, 1.0)
    bucket.learn(500.0, 499.0, 1.0, reset=reset, age=1.0, since=10.0)
    assert bucket.opens(1.0, 1.0) <= 1.0, "it is believed at first"

    bucket.refused(1.0)
    bucket.learn(500.0, 499.0, 1.0, reset=reset, age=1.0, since=0.0)

    assert bucket.opens(1.0, 1.0) == pytest.approx(1.12), "one comes back in that time"
    assert bucket.opens(13.0, 100.0) <= 13.0, "what came back may leave at once"


def test_a_refusal_of_the_little_that_should_be_left_shows_that_others_use_the_limit() -> None:
    bucket = TokenBucket()
    bucket.learn(600.0, 599.0, 0.0, reset=0.1)
    bucket.learn(600.0, 100.0, 0.0, reset=50.0)

    bucket.refused(0.0)

    assert bucket.opens(0.0, 1.0) == pytest.approx(0.1)
    assert bucket.opens(5.0, 40.0) <= 5.0, "what came back may leave at once"


def test_a_refusal_of_what_was_used_up_contradicts_nothing() -> None:
    bucket = TokenBucket()
    bucket.learn(600.0, 1.0, 0.0, reset=59.9)
    bucket.take(0.0, 1.0)

    bucket.refused(0.0)

    assert bucket.opens(1.0, 5.0) <= 1.0, "what came back may leave at once"


def test_an_announcement_of_a_window_that_has_ended_changes_nothing() -> None:
    limit = AnnouncedLimit()
    limit.learn(500.0, 100.0, 3.0, now=10.0, age=0.0, since=0.0)
    assert limit.opens(13.0, 1.0) <= 13.0
    for _ in range(50):
        limit.take(13.0, 1.0)
    limit.learn(500.0, 449.0, 60.0, now=13.1, age=0.1, since=0.0)
    limit.learn(500.0, 1.0, 1.0, now=14.0, age=2.0, since=50.0)
    assert limit.opens(14.0, 400.0) <= 14.0


@pytest.mark.parametrize("latency", [0.5, 5.0])
def test_what_a_server_counts_when_the_answer_leaves_is_not_counted_twice(latency: float) -> None:
    limit, rate = AnnouncedLimit(), 500 / 60.0
    limit.learn(500.0, 499.0, 0.1, now=0.0, age=0.0, since=0.0)
    for number in range(1, 301):
        limit.take(number / 100.0, 1.0)
        answered = number / 100.0 - latency
        if answered > 0:
            left = 499.0 - number + rate * number / 100.0
            limit.learn(500.0, left, (500 - left) / rate, now=number / 100.0, age=latency, since=100 * latency)
    assert limit.opens(3.0, 190.0) <= 3.0


def test_a_reset_that_does_not_run_down_means_no_window() -> None:
    limit = AnnouncedLimit()
    for second in range(50):
        limit.learn(600.0, max(0.0, 400.0 - 10 * second), 60.0, now=float(second), age=0.0, since=0.0)
    assert limit.opens(49.0, 1.0) <= 49.1, "ten a second come back"


NONSENSE = st.one_of(st.none(), st.floats(0, 1e9))


@given(st.lists(st.tuples(NONSENSE, NONSENSE, st.one_of(st.none(), st.floats(1e-9, 86400.0)), st.floats(0, 600))))
def test_nonsense_is_a_bounded_wait(told: list[tuple[float | None, float | None, float | None, float]]) -> None:
    limit = AnnouncedLimit()
    for most, left, reset, age in told:
        limit.learn(most if most is None else max(1.0, most), left, reset, now=1000.0, age=age, since=3.0)
        opens = limit.opens(1000.0, 1.0)
        assert opens < math.inf and not math.isnan(opens)
        assert limit.opens(1000.0 + 10 * 86_400.0, 1.0) <= 1000.0 + 10 * 86_400.0


def test_what_remains_is_less_what_has_left_since_it_was_told() -> None:
    limit = AnnouncedLimit()
    limit.learn(600.0, 10.0, None, now=100.0, age=0.0, since=10.0)
    assert limit.opens(100.0, 1.0) == pytest.approx(100.1)
    limit.learn(600.0, 0.0, None, now=105.0, age=5.0, since=0.0)  # told five seconds ago, ten a second came in since
    assert limit.opens(105.0, 1.0) <= 105.0
