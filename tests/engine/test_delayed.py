"""Delayed jobs: each comes when it is due, and while nothing is answered those in doubt come one at a time."""

import math

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.job import Job
from llmbatch.engine.delayed import FIRST, PATIENCE, Delayed
from tests.support.scripted import job


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab"))), st.integers(0, 9))
def test_jobs_come_when_they_are_due_and_none_is_lost(added: list[tuple[int, str]], now: int) -> None:
    delayed, jobs = Delayed(), [job(index, model) for index, (_, model) in enumerate(added)]
    for one, (at, _) in zip(jobs, added, strict=True):
        delayed.add(at, one)
    assert delayed.next == min((at for at, _ in added), default=math.inf)
    by_time = sorted(zip((at for at, _ in added), jobs, strict=True), key=lambda pair: pair[0])
    assert delayed.first(3) == by_time[:3]
    due = list(delayed.take(now))
    assert due == [one for at, one in by_time if at <= now]
    of_a = delayed.take_of(job(0, "a").route)
    assert all(one.route.model == "a" for one in of_a)
    assert sorted(one.identity.index for one in (*due, *of_a, *delayed)) == list(range(len(jobs)))
    assert delayed.next == min((at for at, one in by_time if at > now and one.route.model == "b"), default=math.inf)


def failed_once(delayed: Delayed, count: int, *, model: str = "a") -> list[Job]:
    """Let so many jobs fail within a second, each due again soon after."""
    jobs = [job(index, model) for index in range(count)]
    for index, one in enumerate(jobs):
        one.attempts.server_errors, one.attempts.latency = 1, 0.1
        delayed.failed(one, index / count)
        delayed.add(1.0 + index / count, one)
    return jobs


def play(delayed: Delayed, until: float) -> list[tuple[float, int]]:
    """Take what is due whenever something is, and return when each came."""
    came = []
    while delayed.next <= until:
        now = delayed.next
        came += [(now, one.identity.index) for one in delayed.take(now)]
    return came


def test_while_nothing_is_answered_jobs_in_doubt_come_one_at_a_time_and_seldom() -> None:
    delayed = Delayed()
    failed_once(delayed, 20)
    assert play(delayed, PATIENCE - 0.1) == [(FIRST, 0), (2 * FIRST, 1)]
    assert play(delayed, 99.0) == [(PATIENCE, index) for index in range(2, 20)]
    assert len(delayed) == 0


def test_while_other_jobs_can_show_whether_the_server_answers_none_in_doubt_comes() -> None:
    others = True
    delayed = Delayed(lambda route: others)
    failed_once(delayed, 5)
    assert play(delayed, 5.0) == []
    others = False
    assert [number for _, number in play(delayed, PATIENCE - 0.1)] == [0]
    others = True
    assert play(delayed, 99.0) == [(PATIENCE, number) for number in range(1, 5)]


def test_an_answer_to_what_left_after_the_fault_lets_them_all_come() -> None:
    delayed, answered = Delayed(), job(99, "a")
    failed_once(delayed, 20)
    assert play(delayed, 2.0) == [] and len(delayed) == 20
    answered.attempts.latency = 2.5  # it left before the first fault
    delayed.answered(answered, 2.0)
    assert play(delayed, 2.0) == []
    answered.attempts.latency = 1.5
    delayed.answered(answered, 2.0)
    assert [at for at, _ in play(delayed, 2.0)] == [2.0] * 20


def test_other_jobs_and_other_routes_do_not_wait_for_it() -> None:
    delayed, elsewhere, refused = Delayed(), job(98, "b"), job(97, "a")
    failed_once(delayed, 5)
    elsewhere.attempts.server_errors = 1
    delayed.add(1.0, elsewhere)
    delayed.add(1.0, refused)
    assert play(delayed, 2.0) == [(1.0, 98), (1.0, 97)]


def test_the_second_fault_of_a_job_may_be_its_own_and_makes_no_other_wait() -> None:
    delayed, one = Delayed(), job(0, "a")
    one.attempts.server_errors = 2
    delayed.failed(one, 0.0)
    delayed.add(1.0, one)
    assert play(delayed, 1.0) == [(1.0, 0)]


def test_those_that_wait_are_counted_and_leave_with_their_route() -> None:
    delayed = Delayed()
    jobs = failed_once(delayed, 3)
    assert play(delayed, 2.0) == []
    assert len(delayed) == 3 and {*map(id, delayed)} == {*map(id, jobs)}
    assert [at for at, _ in delayed.first(9)] == [FIRST] * 3
    assert len(delayed.take_of(jobs[0].route)) == 3 and len(delayed) == 0 and delayed.next == math.inf


def test_jobs_that_are_set_apart_are_kept_once_they_are_due_until_they_are_asked_for() -> None:
    delayed, apart, elsewhere, other = Delayed(), job(0, "a"), job(1, "b"), job(2, "a")
    apart.attempts.apart = elsewhere.attempts.apart = 0
    for at, one in enumerate((apart, elsewhere, other)):
        delayed.add(float(at), one)
    assert list(delayed.take(5.0)) == [other]
    assert (len(delayed), list(delayed), delayed.next) == (2, [apart, elsewhere], math.inf)
    assert delayed.first(9) == [(math.inf, apart), (math.inf, elsewhere)]
    assert delayed.take_of(elsewhere.route) == [elsewhere]
    assert delayed.take_apart() == [apart] and len(delayed) == 0
