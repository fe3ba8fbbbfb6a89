"""A limit that was refused is exceeded seldom where it stays, and soon where it moves."""

from llmbatch.pacing.concurrency_limit import ConcurrencyLimit

ROUND_TRIP, PAUSE = 10.0, 0.1


def answers_between_refusals(
    slots: float, *, growth: float, refusals: int, round_trip: float = ROUND_TRIP
) -> list[int]:
    """Return how many answers came before each refusal of a server whose slots grow by this factor at each of them."""
    limit = ConcurrencyLimit(1_000_000, adaptive=True, silent=1)
    now, counts, answers = 0.0, list[int](), 0
    while len(counts) < refusals:
        if limit.now <= slots:
            limit.succeeded(now, round_trip, 1, limit.now, limit.now, answers)
            answers += 1
        else:
            limit.refused(now, PAUSE, int(slots))
            slots *= growth
            counts.append(answers)
            answers = 0
        now += round_trip / limit.now
    return counts


def test_slots_that_stay_are_exceeded_more_seldom_each_time_they_are_confirmed() -> None:
    counts = answers_between_refusals(4, growth=1.0, refusals=6)

    assert 20 <= counts[1] < 40
    assert min(counts[2:]) >= 40


def test_slots_that_grew_are_followed_after_fewer_answers() -> None:
    counts = answers_between_refusals(4, growth=1.5, refusals=4)

    assert max(counts) < 40


def test_slots_that_become_many_are_followed_in_fewer_round_trips_where_answers_are_slow() -> None:
    def round_trips(round_trip: float) -> float:
        limit, now = ConcurrencyLimit(256, adaptive=True, silent=64), 0.0
        for number in range(40):
            limit.succeeded(now, round_trip, 1, limit.now, limit.now, number)
        limit.refused(now := now + round_trip, PAUSE, 8)
        began = now
        while limit.now < 64:
            now, number = now + round_trip / limit.now, number + 1
            limit.succeeded(now, round_trip, 1, limit.now, limit.now, number)
        return (now - began) / round_trip

    assert round_trips(20.0) < 0.6 * round_trips(2.0)
