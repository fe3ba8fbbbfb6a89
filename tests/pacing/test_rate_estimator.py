"""The rate that an unannounced limit shows by its refusals."""

import pytest

from llmbatch.pacing.rate_estimator import RateEstimator


def _refused_for(seconds: int, *, admitted: int) -> RateEstimator:
    """Return an estimator that saw so many admitted at once, and then one refused probe a second."""
    estimator = RateEstimator()
    for second in range(seconds):
        estimator.mark(float(second), admitted if second else 0)
        estimator.refused(second + 0.1, sent=admitted + second + 1, refusals=second + 1)
    return estimator


def test_a_service_that_admitted_nothing_before_it_was_ready_shows_no_rate() -> None:
    estimator = _refused_for(40, admitted=0)
    assert estimator.reopened(40.0) is None


@pytest.mark.parametrize("admitted", [3, 15, 200])
def test_a_limit_per_minute_shows_what_it_admitted_before_it_refused(admitted: int) -> None:
    estimator = _refused_for(60, admitted=admitted)
    assert estimator.reopened(60.0) == pytest.approx(admitted, rel=0.5)


def test_a_cycle_of_less_than_half_a_minute_shows_no_rate() -> None:
    """It may be the gap that a burst leaves."""
    assert _refused_for(20, admitted=50).reopened(20.0) is None


def test_a_limit_per_minute_that_stays_shut_for_longer_admitted_as_much_in_one() -> None:
    assert _refused_for(90, admitted=200).reopened(90.0) == pytest.approx(200, rel=0.1)


def test_refusals_close_to_one_another_with_few_admitted_between_show_no_rate() -> None:
    estimator = RateEstimator()
    assert [estimator.refused(0.3 * n, sent=3 * n, refusals=n) for n in range(1, 4)] == [None] * 3


def cycle(rates: list[tuple[float, float]], refused_for: float) -> float | None:
    """Send at each rate a second for so long, then be refused for so long; return the rate a minute that is learned."""
    estimator, now, admitted = RateEstimator(), 0.0, 0.0
    for rate, seconds in rates:
        for _ in range(int(seconds)):
            estimator.mark(now, int(admitted))
            now, admitted = now + 1.0, admitted + rate
    estimator.refused(now, int(admitted) + 1, 1)
    return estimator.reopened(now + refused_for)


def test_a_limit_that_grew_has_the_rate_of_the_last_part() -> None:
    assert cycle([(4.0, 50.0), (15.0, 10.0)], 5.0) == pytest.approx(10 * 60, rel=0.05)  # of 15 seconds, 5 were refused


def test_a_window_of_a_minute_that_is_used_up_early_has_what_it_admitted() -> None:
    assert cycle([(20.0, 30.0)], 30.0) == pytest.approx(600, rel=0.05)


def test_an_even_pace_has_the_rate_of_the_cycle() -> None:
    assert cycle([(10.0, 54.0)], 6.0) == pytest.approx(9 * 60, rel=0.05)


def test_a_limit_per_minute_is_not_measured_by_the_pause_after_its_burst_alone() -> None:
    estimator = RateEstimator()
    estimator.mark(0.0, 0)
    found = list[float | None]()
    for probe in range(60):  # 120 leave within two seconds, and then one probe a second
        now, admitted = 2.0 + probe, 120 + probe // 4
        estimator.mark(now, admitted)
        found.append(estimator.refused(now, sent=admitted + probe + 1, refusals=probe + 1))

    rates = [rate for rate in found if rate is not None]
    assert rates and min(rates) >= 100.0
