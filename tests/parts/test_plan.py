"""A plan is written once and read as it was, or refused with what is wrong."""

import json

import pytest

from llmbatch.core.errors import UsageError
from llmbatch.parts.plan import InputFile, Part, Piece, Plan, changed_inputs

INPUTS = (InputFile("in/a.jsonl", 300, 17), InputFile("s3://b/c.jsonl", 5, None, "etag"))
PLAN = Plan.of(INPUTS, [Part((Piece(0, 0, 150),), 10), Part((Piece(0, 150), Piece(1)), 12)], {"model": "m"})


def test_a_plan_is_read_as_it_was_written() -> None:
    assert Plan.read(PLAN.write(), "run.json") == PLAN


@pytest.mark.parametrize("cut_at", range(0, len(PLAN.write()) - 1, 7))
def test_a_plan_that_was_cut_is_refused(cut_at: int) -> None:
    with pytest.raises(UsageError, match=r"run.json .* it is cut, or not a plan"):
        Plan.read(PLAN.write()[:cut_at], "run.json")


@pytest.mark.parametrize("change", [("150", "151"), ('"m"', '"n"'), ("300", "301"), ("12,", "13,")])
def test_a_plan_that_was_edited_is_refused(change: tuple[str, str]) -> None:
    edited = PLAN.write().decode().replace(*change)
    assert edited != PLAN.write().decode()
    with pytest.raises(UsageError, match="edited"):
        Plan.read(edited.encode(), "run.json")


def test_a_plan_of_a_newer_version_names_it() -> None:
    newer = json.loads(PLAN.write()) | {"version": 2, "llmbatch": "9.1"}
    with pytest.raises(UsageError, match=r"llmbatch 9\.1, which is newer"):
        Plan.read(json.dumps(newer).encode(), "run.json")


@pytest.mark.parametrize(
    ("now", "difference"),
    [
        ((InputFile("elsewhere/a.jsonl", 300, 17), INPUTS[1]), None),
        ((INPUTS[0]._replace(size=400), INPUTS[1]), "in/a.jsonl: 300 bytes before, 400 now"),
        ((INPUTS[0]._replace(modified=18), INPUTS[1]), "in/a.jsonl was written again"),
        ((INPUTS[0], INPUTS[1]._replace(tag="other")), "s3://b/c.jsonl: version etag before, other now"),
        ((*INPUTS, InputFile("in/d.jsonl", 1, 1)), "d.jsonl is new"),
        ((INPUTS[0],), "c.jsonl is gone"),
        (INPUTS[::-1], "the inputs are in another order"),
    ],
)
def test_the_difference_of_inputs_is_told(now: tuple[InputFile, ...], difference: str | None) -> None:
    assert changed_inputs(INPUTS, now) == difference


def test_of_many_differences_the_first_are_named() -> None:
    now = [InputFile(f"{number}.jsonl", 1, 1) for number in range(40)]
    told = changed_inputs([], now)
    assert told is not None and told.endswith("4.jsonl is new; and 35 more")
