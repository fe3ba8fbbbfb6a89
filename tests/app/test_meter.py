"""The numbers of the display and of the summary, on a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.app.meter import Meter, estimated_total
from llmbatch.core.snapshot import Cause, RouteState


def route(cause: Cause | None, closed_for: float = 0.0, name: str = "m") -> RouteState:
    return RouteState(name, 1, 8, cause, closed_for=closed_for)


def test_the_present_rate_is_that_of_the_last_ten_seconds() -> None:
    meter = Meter(100.0)
    for second in range(1, 61):
        meter.sample(100.0 + second, 10 * second, ())
    for second in range(1, 31):
        meter.sample(160.0 + second, 600 + 2 * second, ())
    assert meter.rate(190.0, 660) == pytest.approx(2.0, rel=0.05)
    assert pytest.approx(7.3, rel=0.01) == 660 / 90  # the mean tells another story


def test_a_few_slow_answers_make_no_rate_of_zero() -> None:
    meter = Meter(0.0)
    for second in range(1, 41):
        meter.sample(float(second), second // 20, ())
    assert meter.rate(40.0, 2) == pytest.approx(2 / 40)
    assert Meter(5.0).rate(5.0, 0) == 0.0


def test_the_present_rate_falls_while_nothing_finishes_and_the_moments_that_are_kept_stay_few() -> None:
    meter = Meter(0.0)
    for tick in range(1, 5 * 600):
        meter.sample(0.2 * tick, min(10 * tick, 500), ())
    assert meter.rate(600.0, 500) <= 0.05
    assert len(meter._moments) < 20


def test_the_time_left_is_that_of_the_model_that_takes_longest() -> None:
    meter, of_models = Meter(0.0), {"quick": 0, "slow": 0}
    for second in range(1, 21):
        of_models = {"quick": min(40 * second, 360), "slow": 4 * second}
        meter.sample(float(second), sum(of_models.values()), (), of_models)
    left, waiting = 80, {"slow": 80, "quick": 0, "new": 3}
    assert meter.time_left(20.0, 440, left, of_models, waiting) == pytest.approx(20.0, rel=0.1)
    assert meter.time_left(20.0, 440, left, of_models, {}) == pytest.approx(20.0, rel=0.1)  # only one still runs
    meter = Meter(0.0)
    meter.sample(5.0, 220, (), {"quick": 200, "slow": 20})
    assert meter.time_left(5.0, 220, 280, {"quick": 200, "slow": 20}, {"slow": 80}) == pytest.approx(20.0)
    assert meter.time_left(5.0, 220, 280, {"quick": 200, "slow": 2}, {"slow": 80}) == pytest.approx(280 / 44)
    assert Meter(0.0).time_left(5.0, 0, 10, {}, {}) is None


@pytest.mark.parametrize("lasts", [10, 60])
def test_the_time_left_is_not_that_of_an_outage(lasts: int) -> None:
    meter = Meter(0.0)
    for second in range(1, 21):
        meter.sample(float(second), 10 * second, [route(Cause.CEILING)])
    for second in range(21, 21 + lasts):
        meter.sample(float(second), 200, [route(Cause.OUTAGE, closed_for=5.0), route(None, name="n")])
        assert meter.time_left(float(second), 200, 500, {}, {}) == pytest.approx(50.0, rel=0.15)
    for second in range(21 + lasts, 41 + lasts):
        done = 200 + 10 * (second - 20 - lasts)
        meter.sample(float(second), done, [route(Cause.GROWING)])
        assert meter.time_left(float(second), done, 500, {}, {}) == pytest.approx(50.0, rel=0.15)


def test_the_time_left_counts_the_waits_that_a_limit_asks_for() -> None:
    meter = Meter(0.0)
    for second in range(1, 61):
        meter.sample(float(second), 20 * (second // 20), [route(Cause.WALL, closed_for=5.0)])
    assert meter.time_left(60.0, 60, 100, {}, {}) == pytest.approx(100.0, rel=0.5)


def test_a_run_is_limited_by_what_held_it_back_for_so_long() -> None:
    meter = Meter(0.0)
    meter.sample(6.0, 0, [route(Cause.CEILING)])
    meter.sample(8.0, 0, [route(Cause.WALL, closed_for=30.0)])
    meter.sample(9.0, 0, [route(None)])
    meter.end(10.0)
    assert meter.shares(10.0) == {"ceiling": 0.6, "wall": 0.2}
    assert meter.waited == 2.0  # as it elapsed, not as it was asked


def test_routes_share_the_time_and_the_input_is_the_cause_only_where_there_is_no_other() -> None:
    meter = Meter(0.0)
    meter.sample(4.0, 0, [route(Cause.CEILING), route(Cause.NAMED_RATE, name="n"), route(Cause.INPUT, name="o")])
    meter.sample(10.0, 0, [route(Cause.INPUT), route(None, name="n")])
    assert meter.shares(10.0) == {"input": 0.6, "ceiling": 0.2, "named_rate": 0.2}


CAUSES = st.one_of(st.none(), st.sampled_from(Cause))


@given(
    st.lists(
        st.tuples(st.floats(0, 50), st.lists(st.tuples(CAUSES, st.floats(0, 90)), max_size=4)), min_size=1, max_size=30
    ),
    st.floats(0, 5),
)
def test_shares_never_add_up_to_more_than_the_whole_and_no_wait_is_longer_than_the_run(
    samples: list[tuple[float, list[tuple[Cause | None, float]]]], rest: float
) -> None:
    meter, now = Meter(1000.0), 1000.0
    for gap, routes in samples:
        now += gap
        meter.sample(now, 0, [route(cause, closed) for cause, closed in routes])
    now += rest
    meter.end(now)
    wall = now - 1000.0
    assert sum(meter.shares(wall).values()) <= 1.0 and meter.waited <= wall + 1e-6


@pytest.mark.parametrize(
    ("read", "part", "limit", "total"),
    [
        (100, 0.25, None, 400),
        (100, 0.25, 150, 150),
        (100, 0.25, 1000, 400),
        (100, None, None, None),
        (100, None, 300, 300),
        (0, 0.0, None, None),
        (77, 1.0, None, 77),
        (77, 1.0, 300, 77),
    ],
)
def test_the_whole_is_estimated_from_the_part_that_was_read(
    read: int, part: float | None, limit: int | None, total: int | None
) -> None:
    assert estimated_total(read, part, limit=limit) == total
