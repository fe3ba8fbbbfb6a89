"""The rate of a service that refused several requests before it answered any is found with few refusals."""

import heapq
import itertools
import math
import random
from collections.abc import Callable

import pytest

from llmbatch.pacing.rate_search import REFILL, RateSearch

LATENCY, LAG = 10.0, 0.05


class Run:
    """Sends whenever the search lets it, after a burst of which the last one was refused."""

    def __init__(self, admits: Callable[[float, int], bool], burst: int, seconds: float) -> None:
        self.search = RateSearch(0.0, burst + 1, burst)
        self.ended: float | None = None
        self.admitted: list[float] = []
        self.refused: list[float] = []
        ends, news, sent, now = [LATENCY] * burst, list[tuple[float, int]](), burst + 1, 0.0
        while now < seconds and self.ended is None:
            if news and news[0][0] <= self.search.opens(0):
                now, departure = heapq.heappop(news)
                if not self.search.refused(now, departure, sent, sum(end > now for end in ends), LAG):
                    self.ended = now
                continue
            now = max(now, self.search.opens(0))
            ends = [end for end in ends if end > now]
            if not self.search.departed(now, len(ends)):
                self.ended = now
                break
            if admits(now, len(ends)):
                self.admitted.append(now)
                ends.append(now + LATENCY)
            else:
                self.refused.append(now)
                heapq.heappush(news, (now + LAG, sent))
            sent += 1


def a_bucket(rate: float, burst: int) -> Callable[[float, int], bool]:
    """Admit what a bucket has, which the burst has emptied."""
    level = [0.0, 0.0]

    def admits(now: float, in_flight: int) -> bool:
        level[:] = min(burst, level[0] + rate * (now - level[1])), now
        if level[0] < 1.0 - 1e-9:
            return False
        level[0] -= 1.0
        return True

    return admits


@pytest.mark.parametrize("rate", [1.0, 1.9, 3.0, 6.0, 8.0, 16.0])
@pytest.mark.parametrize("burst", [1, 5])
def test_a_rate_is_found_in_a_minute_and_hardly_anything_is_refused(rate: float, burst: int) -> None:
    run = Run(a_bucket(rate, burst), burst, 300.0)

    assert run.ended is None
    assert sum(now > 60.0 for now in run.admitted) >= 0.85 * rate * 240.0
    assert len(run.refused) <= 2 + 0.015 * len(run.admitted)


@pytest.mark.parametrize("every", [4, 10])
def test_a_service_that_refuses_some_at_any_pace_ends_the_search_at_the_first_of_them(every: int) -> None:
    departures = itertools.count(1)

    run = Run(lambda now, in_flight: next(departures) % every > 0, 5, 300.0)

    assert run.ended is not None
    assert len(run.refused) == 1


@pytest.mark.parametrize("used_up", [True, False])
def test_two_requests_follow_a_refusal_at_once_and_a_rate_that_is_used_up_refuses_one_of_them(used_up: bool) -> None:
    search = RateSearch(0.0, 6, 5)
    for second in range(1, 7):
        assert search.departed(2.0 * second, 6)

    assert search.refused(13.0, 11, 12, 6, took=1.0)

    assert search.opens(6) <= 13.1
    assert search.departed(13.1, 6)
    assert search.opens(6) <= 13.2
    assert search.departed(13.2, 6)
    assert search.opens(6) > 13.7
    pace = search.rate
    if used_up:
        assert search.refused(14.1, 12, 14, 6, took=1.0)
        assert search.refused(14.2, 13, 14, 6, took=1.0)
    assert search.rate == pace, "they belong to the first refusal"
    assert search.departed(14.4, 6), "a refusal takes a second"
    assert search.departed(16.0, 6) is used_up


def test_a_rate_that_grows_is_followed() -> None:
    slow, fast = a_bucket(2.0, 2), a_bucket(20.0, 20)

    run = Run(lambda now, in_flight: (slow if now < 60.0 else fast)(now, in_flight), 2, 300.0)

    assert sum(now > 240.0 for now in run.admitted) >= 0.7 * 20.0 * 60.0


@pytest.mark.parametrize(("slots", "rate"), [(30, 10.0), (40, 10.0)])
def test_slots_beside_a_rate_end_the_search_when_the_pace_that_passed_is_refused(slots: int, rate: float) -> None:
    bucket = a_bucket(rate, 5)

    run = Run(lambda now, in_flight: in_flight < slots and bucket(now, in_flight), 7, 600.0)

    assert run.ended is not None
    assert len(run.refused) <= 3


@pytest.mark.parametrize("slots", [1, 4, 20])
def test_slots_end_the_search_with_one_more_refusal(slots: int) -> None:
    run = Run(lambda now, in_flight: in_flight < slots, slots, 300.0)

    assert run.ended is not None and run.ended <= 2.0
    assert len(run.refused) == 1


def test_refusals_that_do_not_cease_with_slower_departures_end_the_search() -> None:
    for seed in range(20):
        chance = random.Random(seed)
        run = Run(lambda now, in_flight, chance=chance: chance.random() > 0.4, 3, 300.0)  # type: ignore[misc]
        assert run.ended is not None
        assert len(run.admitted) + len(run.refused) <= 80


def test_those_that_left_with_the_first_one_make_the_crowd_smaller_and_the_first_raise_later() -> None:
    alone, together = RateSearch(10.0, 60, 50), RateSearch(10.0, 60, 53)
    for departure in (56, 57, 58):
        assert together.refused(10.0, departure, 60, 52, LAG)

    assert together.opens(60) == alone.opens(60) == pytest.approx(10.0 + REFILL / 50)
    for number in range(60):
        assert (alone.rate > 50 / REFILL) == (number >= 20)
        assert together.rate == 50 / REFILL
        for search in (alone, together):
            search.departed(20.0 + number, 50)
    assert together.rate == 2.0 * 50 / REFILL


def test_answers_that_are_quick_end_the_search_and_a_single_one_among_slow_ones_does_not() -> None:
    search = RateSearch(0.0, 2, 1)
    assert not search.answered(0.6, 2), "one slot admits no more than the search does"

    search = RateSearch(0.0, 2, 1)
    assert [search.answered(seconds, 2) for seconds in (5.0, 1.9, 4.0, 1.9, 1.9)] == [True, True, True, True, False]


def test_what_slots_would_admit_is_tried_once_after_a_quick_answer_with_no_more_in_flight_than_passed() -> None:
    search = RateSearch(0.0, 6, 5)

    assert search.answered(0.5, 6)

    assert search.opens(5) == math.inf
    now = search.opens(4)
    for _ in range(3):
        assert search.opens(4) == pytest.approx(now)
        assert search.departed(now, 4)
        now += 0.1
    assert search.opens(4) > now, "a refusal takes a while"
    assert not search.departed(search.opens(4), 4)


def test_a_refusal_of_what_slots_would_admit_shows_a_rate_which_is_raised_late() -> None:
    search = RateSearch(0.0, 6, 5)
    search.answered(0.5, 6)
    now = search.opens(4)
    assert search.departed(now, 4)

    assert search.refused(now + 0.05, 6, 7, 3, 0.05)

    assert search.opens(64) >= now + 1.0
    pace = search.rate
    for number in range(60):
        assert search.rate == pace
        assert search.departed(now + 2.0 + number / pace, 1)
        assert search.answered(0.5, 8 + number)
    assert search.rate > pace
