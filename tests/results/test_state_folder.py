"""FILE.state/ that another program or user has changed."""

import os
import socket
import stat
from pathlib import Path

import pytest

from llmbatch.app.batch_list import list_batches
from llmbatch.core.errors import UsageError
from llmbatch.results.opening import open_store
from llmbatch.results.reader import open_results
from llmbatch.results.state_folder import make_folder
from tests.support.result_lines import ok, put


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o770, 0o1777, 0o700])
def test_the_folder_is_private_however_it_was_made(tmp_path: Path, mode: int) -> None:
    (folder := tmp_path / "r.jsonl.state").mkdir()
    folder.chmod(mode)
    make_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


NAMES = [
    "intents",
    "marks-0",
    "marks-1",
    "redo.jsonl",
    "runs.jsonl",
    "lock",
    "tables.json",
    "marks.new",
    "undone/intents",
]


@pytest.mark.parametrize("kind", ["FIFO", "symbolic link", "dangling link", "socket"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_files_is_opened_in_it(tmp_path: Path, name: str, kind: str) -> None:
    results = tmp_path / "r.jsonl"
    put(results, [ok("a", 0)])
    (folder := tmp_path / "r.jsonl.state").mkdir(0o700)
    (tmp_path / "victim").write_text("precious")
    entry = folder / name
    entry.parent.mkdir(exist_ok=True)
    if kind == "FIFO":
        os.mkfifo(entry)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(entry) if len(os.path.relpath(entry)) < len(str(entry)) else str(entry))
    else:
        entry.symlink_to(tmp_path / ("victim" if kind == "symbolic link" else "nowhere"))
    with pytest.raises(UsageError, match=name), open_store(results, fsync="never"):
        pass
    with pytest.raises(UsageError, match=name), open_results([str(results)]):
        pass
    with pytest.raises(UsageError, match=name):
        list_batches(results, check=False, environment={})
    assert (tmp_path / "victim").read_text() == "precious" and not (tmp_path / "nowhere").exists()
    entry.unlink()
    with open_store(results, fsync="never") as store:
        assert store.found.ok == 1


def test_a_folder_of_somebodys_own_is_left_alone(tmp_path: Path) -> None:
    put(results := tmp_path / "r.jsonl", [ok("a", 0)])
    (folder := tmp_path / "r.jsonl.state").mkdir()
    (folder / "my notes").mkdir()
    with open_store(results, fsync="never"):
        pass
    assert (folder / "my notes").is_dir()


@pytest.mark.parametrize("name", ["merged.new", "sorted.new", "marks.new", "intents.new", "pruned.new"])
def test_a_folder_where_a_run_would_write_a_file_is_refused_before_it_begins(tmp_path: Path, name: str) -> None:
    put(results := tmp_path / "r.jsonl", [ok("a", 0)])
    (folder := tmp_path / "r.jsonl.state").mkdir()
    (folder / name).mkdir()
    with pytest.raises(UsageError, match=f"{name} is a folder"), open_store(results, fsync="never"):
        pass


def test_a_run_that_is_refused_leaves_no_new_file_behind(tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    with pytest.raises(UsageError, match="refused"), open_store(results, fsync="never"):
        raise UsageError("refused")
    assert list(tmp_path.iterdir()) == []
