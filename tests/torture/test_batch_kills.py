"""Runs with batches die at some operations on a file, and are continued; `make torture` takes every operation."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.torture.batch_loop import APIS, OPERATIONS, POLICIES, BatchLoop, batch_loop
from tests.torture.bench import Bench, quick_folder


@pytest.fixture(scope="module")
def loop(bench: Bench) -> Iterator[BatchLoop]:
    with batch_loop(bench) as loop:
        yield loop


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("api", APIS)
def test_a_run_with_batches_may_be_killed_at_any_operation(loop: BatchLoop, api: str, policy: str) -> None:
    random, before = Random(f"{api} {policy}"), loop.kills
    while loop.kills < before + 5:
        with quick_folder() as folder:
            assert not loop.play(Path(folder), api, policy, [random.randint(1, OPERATIONS) for _ in range(3)])
