"""Finds which worker of how many this process is, from the variables that a scheduler sets. Pure.

Only for `--shard auto`: the variables of an array are there for other purposes, too.
"""

from collections.abc import Mapping

from llmbatch.core.errors import UsageError

__all__ = ["expression", "shard_of_array"]

_SLURM = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP")
_KUBERNETES = "JOB_COMPLETION_INDEX"
_AWS, _AWS_SIZE = "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"


def shard_of_array(environment: Mapping[str, str], of: int | None) -> tuple[int, int]:
    """Return (I, N), I from 1: the place in a Slurm array, a Kubernetes indexed job or an AWS Batch array.

    `of` is N where the scheduler does not tell it, or where only some indices of N are submitted: index 3 is then
    always the same worker. Raises UsageError.
    """
    if environment.get(_SLURM[0]):
        place = _number(environment, _SLURM[0])
        if of is not None:
            return place % of + 1, of
        first, last = (_number(environment, name) for name in _SLURM[1:3])
        step = _number(environment, _SLURM[3]) if environment.get(_SLURM[3]) else 1
        if not (step and first <= place <= last) or (place - first) % step:
            raise UsageError(
                f"{_SLURM[0]}={place} is not one of {first}-{last}:{step}, the array that Slurm's variables tell",
                "Say which worker this is: --shard I/N.",
            )
        return (place - first) // step + 1, (last - first) // step + 1
    for name, size in ((_KUBERNETES, None), (_AWS, _AWS_SIZE)):
        if environment.get(name):
            place = _number(environment, name)
            total = of if of is not None or size is None or not environment.get(size) else _number(environment, size)
            if total is None:
                raise UsageError(f"{name} does not tell how many workers there are", "Add --of N.")
            if place >= total:
                raise UsageError(f"{name}={place} is beyond --of {total}", "Indices begin at 0.")
            return place + 1, total
    raise UsageError(
        f"--shard auto: none of {_SLURM[0]}, {_KUBERNETES} and {_AWS} is set",
        "It is for array jobs; elsewhere name the worker: --shard 1/4.",
    )


def expression(numbers: list[int]) -> str:
    """Write numbers as schedulers want them: 0-3,7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise UsageError(f"{name}={text!r} is not a number", "Say which worker this is: --shard I/N.")
    return int(text)
