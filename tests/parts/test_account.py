"""The parts of a run add up to one summary with the worst exit code."""

from dataclasses import replace

import pytest

from llmbatch.core.errors import ActionNeeded, ExitCode, OutputBusy
from llmbatch.core.settings import Tolerance
from llmbatch.core.tally import FailureExample, ModelTally, Summary
from llmbatch.parts.account import Account

ENDED = Summary(
    read=10,
    ok=9,
    failed={"timeout": 1},
    examples={"timeout": FailureExample("q", 3, 504, "late")},
    not_started=0,
    unwritten=0,
    requests=11,
    retries=1,
    possibly_billed=1,
    input_tokens=100,
    output_tokens=50,
    cost_usd=0.5,
    models={"m": ModelTally(ok=9, failed=1, attempts=11, cost_usd=0.5)},
    wall_s=4.0,
    waited_s=1.0,
    limited_by={"ceiling": 0.5},
    latency_s={},
    stopped=None,
    hint=None,
    exit_code=ExitCode.FAILURES,
)
ANYTHING = Tolerance()


def test_parts_are_summed_up_and_those_of_before_count_as_done_before() -> None:
    account = Account(4)
    account.skip({"records": 20, "ok": 19, "failed": 1})
    account.add(ENDED)
    account.add(replace(ENDED, limited_by={}, cost_usd=None))
    total = account.summary(wall_s=9.0, fail_on=Tolerance(count=3))
    assert (total.read, total.ok, total.failed, total.done_before, total.failed_before) == (
        40,
        18,
        {"timeout": 2},
        19,
        1,
    )
    assert (total.requests, total.possibly_billed, total.cost_usd) == (22, 2, 0.5)
    assert (total.models["m"].ok, total.models["m"].requests) == (18, 22)
    assert total.limited_by == {"ceiling": 0.25}
    assert total.parts is not None and total.parts._asdict() == {"complete": 3, "unfinished": 1, "busy": 0}
    assert total.exit_code == ExitCode.OK  # three failures are tolerated


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((0, 0), 0),
        ((1, 0), 1),
        ((7, 1), 7),
        ((8, 7), 8),
        ((5, 8), 5),
        ((4, 5), 4),
        ((130, 4), 130),
        ((6, 130), 6),
    ],
)
def test_the_exit_code_is_the_worst_of_all_parts(codes: tuple[int, ...], expected: int) -> None:
    for order in (codes, codes[::-1]):
        account = Account(2)
        for code in order:
            stopped = "why" if code in (4, 5, 6, 130) else None
            account.add(replace(ENDED, exit_code=code, stopped=stopped, failed={"timeout": 1} if code == 1 else {}))
        total = account.summary(wall_s=1.0, fail_on=Tolerance(count=0))
        assert total.exit_code == expected
        assert (total.stopped is None) == (expected in (0, 1, 7, 8))


def test_a_fault_of_all_records_stops_handing_out_parts_and_parts_of_others_do_not() -> None:
    account = Account(3)
    account.add(replace(ENDED, exit_code=ExitCode.HELD))
    assert not account.is_stopped
    account.busy += 1
    assert account.summary(wall_s=1.0, fail_on=ANYTHING).exit_code == ExitCode.HELD
    account.stop(ActionNeeded("the key is refused", "export it"))
    assert account.is_stopped
    total = account.summary(wall_s=1.0, fail_on=ANYTHING)
    assert (total.stopped, total.stopped_by, total.hint) == ("the key is refused", "action", "export it")


def test_a_run_whose_other_parts_are_with_others_says_so() -> None:
    account = Account(2)
    account.add(replace(ENDED, failed={}, exit_code=ExitCode.OK))
    account.busy += 1
    total = account.summary(wall_s=1.0, fail_on=ANYTHING)
    assert total.exit_code == OutputBusy.exit_code and total.stopped == "other runs work on 1 part"
