"""A results file opened for one run, while others try the same."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from llmbatch.core.errors import OutputBusy
from llmbatch.results.opening import open_store
from tests.torture.bench import quick_folder


def test_of_first_runs_that_start_at_the_same_moment_one_runs_and_the_others_are_told() -> None:
    runs, numbers = 4, count()

    def run(path: Path, start: threading.Barrier, end: threading.Barrier) -> str:
        start.wait()
        try:
            with open_store(path, fsync="never") as store:
                end.wait()
                assert (store.folder / "intents").exists()
                return "ran"
        except OutputBusy:
            end.wait()
            return "busy"

    with quick_folder() as folder, ThreadPoolExecutor(runs) as pool:
        for _ in range(100):
            path = folder / f"{next(numbers)}.jsonl"
            start, end = threading.Barrier(runs), threading.Barrier(runs)
            ends = sorted(pool.map(lambda _: run(path, start, end), range(runs)))  # noqa: B023
            assert ends == ["busy"] * (runs - 1) + ["ran"]
