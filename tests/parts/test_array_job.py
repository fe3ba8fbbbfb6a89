"""A worker finds its place in an array, or says what is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.errors import UsageError
from llmbatch.parts.array_job import expression, shard_of_array


@given(st.integers(0, 50), st.integers(1, 40), st.integers(1, 5))
def test_the_workers_of_a_slurm_array_are_all_places_once(first: int, count: int, step: int) -> None:
    last = first + (count - 1) * step
    found = [
        shard_of_array(
            {
                "SLURM_ARRAY_TASK_ID": str(place),
                "SLURM_ARRAY_TASK_MIN": str(first),
                "SLURM_ARRAY_TASK_MAX": str(last),
                "SLURM_ARRAY_TASK_STEP": str(step),
            },
            None,
        )
        for place in range(first, last + 1, step)
    ]
    assert found == [(number, count) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("environment", "of", "expected"),
    [
        ({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "7"}, 64, (8, 64)),
        ({"SLURM_ARRAY_TASK_ID": "64"}, 64, (1, 64)),  # an array that counts from 1
        ({"JOB_COMPLETION_INDEX": "0"}, 4, (1, 4)),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "3", "AWS_BATCH_JOB_ARRAY_SIZE": "4"}, None, (4, 4)),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "3"}, 9, (4, 9)),
    ],
)
def test_each_scheduler_tells_the_place(environment: dict[str, str], of: int | None, expected: tuple[int, int]) -> None:
    assert shard_of_array(environment, of) == expected


@pytest.mark.parametrize(
    ("environment", "of", "told"),
    [
        ({}, None, "none of SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX and AWS_BATCH_JOB_ARRAY_INDEX is set"),
        ({"SLURM_ARRAY_TASK_ID": "%a"}, None, "SLURM_ARRAY_TASK_ID='%a' is not a number"),
        ({"SLURM_ARRAY_TASK_ID": "1"}, None, "SLURM_ARRAY_TASK_MIN='' is not a number"),
        (
            {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "3"},
            None,
            "not one of 0-3:1",
        ),
        ({"JOB_COMPLETION_INDEX": "0"}, None, "does not tell how many"),
        ({"JOB_COMPLETION_INDEX": "4"}, 4, "is beyond --of 4"),
        ({"JOB_COMPLETION_INDEX": "-1"}, 4, "is not a number"),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "1e3"}, 4, "is not a number"),
    ],
)
def test_variables_that_are_missing_or_nonsense_are_told(
    environment: dict[str, str], of: int | None, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        shard_of_array(environment, of)


@given(st.lists(st.integers(0, 99), unique=True))
def test_an_array_expression_names_each_number(numbers: list[int]) -> None:
    named = []
    for run in filter(None, expression(numbers).split(",")):
        first, _, last = run.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(numbers)
