"""A results file opened for one run, while others try the same."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from llmbatch.core.errors import OutputBusy
from llmbatch.results.opening import open_store
from llmbatch.results.state_folder import check_folder
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
        except BaseException:
            end.abort()  # the others wait for this one
            raise

    with quick_folder() as folder, ThreadPoolExecutor(runs) as pool:
        for _ in range(100):
            path = folder / f"{next(numbers)}.jsonl"
            start, end = threading.Barrier(runs), threading.Barrier(runs)
            ends = sorted(pool.map(lambda _: run(path, start, end), range(runs)))  # noqa: B023
            assert ends == ["busy"] * (runs - 1) + ["ran"]


def test_a_file_that_another_run_renames_while_the_folder_is_looked_at_is_no_error(tmp_path: Path) -> None:
    names = [tmp_path / "intents", tmp_path / "intents.new"]
    names[0].touch()
    end = threading.Event()

    def rename_for_ever() -> None:
        while not end.is_set():
            names[0].rename(names[1])
            names[1].rename(names[0])

    with ThreadPoolExecutor(1) as pool:
        renames = pool.submit(rename_for_ever)
        try:
            for _ in range(2_000):
                check_folder(tmp_path)
        finally:
            end.set()
            renames.result()
