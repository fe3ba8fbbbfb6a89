"""Delayed jobs: each comes when it is due, in the order of the times, and none is lost."""

import math

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.engine.delayed import Delayed
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
