"""A results file opened for one run, while others try the same."""

import errno
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from llmbatch.core.errors import OutputBusy, UsageError
from llmbatch.results import disk, opening, state_folder
from llmbatch.results.opening import is_ours, open_store
from llmbatch.results.state_folder import LOCK, check_folder
from tests.results.store_use import run
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


def test_a_refused_run_removes_nothing_of_one_that_begins_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, remove, later = tmp_path / "r.jsonl", disk.remove, ExitStack()

    def remove_and_let_another_begin(file: Path) -> None:
        remove(file)
        if file.name == LOCK:
            monkeypatch.setattr(disk, "remove", remove)
            later.enter_context(open_store(path, fsync="never"))

    monkeypatch.setattr(disk, "remove", remove_and_let_another_begin)
    with later:
        with pytest.raises(UsageError, match="no good"), open_store(path, fsync="never"):
            raise UsageError("no good", "Try something else.")
        assert path.exists()
        assert {"intents", LOCK} <= {file.name for file in (tmp_path / "r.jsonl.state").iterdir()}


@pytest.mark.parametrize("step", ["check_folder", "_make_private"])
def test_a_folder_that_is_removed_while_it_is_looked_at_is_made_anew(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "r.jsonl.state"
    folder.mkdir()
    look = getattr(state_folder, step)

    def look_too_late(seen: Path) -> None:
        monkeypatch.undo()
        folder.rmdir()
        look(seen)

    monkeypatch.setattr(state_folder, step, look_too_late)
    with open_store(tmp_path / "r.jsonl", fsync="never"):
        assert (folder / LOCK).exists()


def test_a_results_file_that_is_removed_while_it_is_looked_at_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.jsonl"
    path.touch()

    def look_too_late(seen: Path) -> bool:
        seen.unlink()
        return is_ours(seen)

    monkeypatch.setattr(opening, "is_ours", look_too_late)
    with open_store(path, fsync="never"):
        assert path.exists()


@pytest.mark.parametrize(
    ("call", "number"), [("fsync", errno.EINVAL), ("open", errno.EACCES), ("posix_fallocate", errno.EOPNOTSUPP)]
)
def test_a_file_system_without_what_some_do_not_offer_holds_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    refused = 0

    class System:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

    def refuse(what: Any, *values: Any) -> Any:
        nonlocal refused
        if call == "posix_fallocate" or (os.path.exists(what) and stat.S_ISDIR(os.stat(what).st_mode)):
            refused += 1
            raise OSError(number, os.strerror(number))
        return getattr(os, call)(what, *values)

    system = System()
    setattr(system, call, refuse)
    monkeypatch.setattr(disk, "os", system)
    names = [str(number) for number in range(12)]
    assert run(tmp_path / "out.jsonl", names, until=5) == names[:5]
    assert run(tmp_path / "out.jsonl", names) == names[5:] and refused
