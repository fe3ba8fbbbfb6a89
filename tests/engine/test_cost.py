"""Whole runs under `--max-cost`, in virtual time."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.errors import ExitCode
from llmbatch.core.exchange import Reply, Request
from llmbatch.core.fault import Fault
from llmbatch.pacing.cost import Budget, FlatPrice
from tests.support.scripted import TIMED_OUT, error, job, play

CENT = FlatPrice(0.0, 10_000.0)
"""A cent for each token of an answer."""


def counted(tokens: int) -> Reply:
    body = {
        "model": "m",
        "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": tokens},
    }
    return Reply(200, {}, json.dumps(body).encode())


@given(st.lists(st.integers(0, 10), min_size=1, max_size=60), st.integers(1, 8), st.floats(0.05, 2.0), st.data())
def test_a_run_spends_up_to_its_ceiling_and_ends_there_to_be_continued(
    lengths: list[int], workers: int, ceiling: float, data: st.DataObject
) -> None:
    jobs = [job(index) for index in range(len(lengths))]
    for one in jobs:
        one.worst_cost = 0.1
    bill = 0.0
    doubtful = data.draw(st.sets(st.integers(0, len(lengths) - 1)))

    def script(request: Request, count: int) -> tuple[float, Reply | Fault]:
        nonlocal bill
        (one,) = request.jobs
        if one.identity.index in doubtful and one.attempts.sent == 1:
            bill += 0.1
            return 2.0, TIMED_OUT
        if one.attempts.sent == 1 and one.identity.index % 7 == 0:
            return 0.5, error(503)
        bill += lengths[one.identity.index] / 100
        return 1.0 + one.identity.index % 3, counted(lengths[one.identity.index])

    budget = Budget(CENT, ceiling=ceiling)
    run = play(jobs, script, workers=workers, budget=budget)
    assert bill <= ceiling + 1e-9
    assert math.isclose(budget.spent, bill, abs_tol=1e-9)
    assert run.accounted == run.pipeline.progress.read
    stops = run.pipeline.progress.stops
    if stops:
        assert stops[0].exit_code is ExitCode.CEILING and "--max-cost" in stops[0].message
        assert bill > ceiling - 0.1 - 1e-9, "stopped with room for one more"
    else:
        assert len(run.sink.outcomes) == len(jobs)
