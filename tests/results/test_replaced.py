"""`--overwrite`: the old files until there is a new answer, wherever the process dies in between."""

import os
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from llmbatch.results import disk
from llmbatch.results.replaced import Replaced
from llmbatch.results.state_folder import remove_folder
from tests.support.result_lines import failed, ok, put

OLD = {"intents": b"old intents", "marks-1": b"old marks", "runs.jsonl": b"old run", "torn-1.bin": b"torn"}
NEW = {"intents": b"new intents", "marks-0": b"new marks", "runs.jsonl": b"new run", "redo.jsonl": b""}
OWN = {"lock": b"held", "tables.json": b"{}"}


class Died(BaseException):
    """The process ends here."""


class Mortal:
    """The module `os`, whose n-th change of a name ends the process."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        os.rename(source, target)

    def mkdir(self, path: Path, mode: int) -> None:
        self._count()
        os.mkdir(path, mode)

    def rmdir(self, path: Path) -> None:
        self._count()
        os.rmdir(path)

    def unlink(self, path: Path) -> None:
        self._count()
        os.unlink(path)

    def _count(self) -> None:
        self.left -= 1
        if not self.left:
            raise Died


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def replaced(results: Path) -> Replaced:
    return Replaced(results, results.with_name("r.jsonl.state"))


def a_run_that_overwrites(results: Path, lines: list[Any], *, complete: bool = False) -> None:
    state = results.with_name("r.jsonl.state")
    (one := replaced(results)).settle()
    one.set_aside()
    assert files_in(state) == OWN and not results.exists()
    put(results, lines)
    write(state, NEW)
    one.settle(complete=complete)


@pytest.mark.parametrize("old", [[ok("a", 0), failed("b", 1)], None], ids=["results", "no results"])
@pytest.mark.parametrize("lines", [[], [failed("a", 0)]], ids=["nothing", "failures that cost nothing"])
def test_without_a_new_answer_the_old_files_come_back_wherever_the_run_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: list[Any] | None, lines: list[Any]
) -> None:
    for at in count(1):
        (folder := tmp_path / str(at)).mkdir()
        results, state = folder / "r.jsonl", folder / "r.jsonl.state"
        if old is not None:
            put(results, old)
        before = results.read_bytes() if old is not None else None
        write(state, OLD | OWN)
        monkeypatch.setattr(disk, "os", mortal := Mortal(at))
        with suppress(Died):
            a_run_that_overwrites(results, lines)
        monkeypatch.setattr(disk, "os", again := Mortal(at % 7 + 1))  # the run that comes after it dies as well
        with suppress(Died):
            replaced(results).settle()
        monkeypatch.setattr(disk, "os", os)
        replaced(results).settle()
        assert files_in(state) == OLD | OWN, f"died at {at} and {again.left}"
        assert (results.read_bytes() if results.exists() else None) == before
        assert not (state / "moving").exists() and not (state / "replaced").exists()
        if mortal.left > 0:
            assert at > 15
            break


@pytest.mark.parametrize(
    "line", [ok("a", 0), failed("a", 0, billed=True), failed("a", 0, "timeout", None, possibly_billed=1)]
)
@pytest.mark.parametrize("where", ["FILE", "a last line without its newline", "redo.jsonl"])
def test_the_first_answer_on_disk_lets_the_new_files_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: dict[str, Any], where: str
) -> None:
    results, state = tmp_path / "r.jsonl", tmp_path / "r.jsonl.state"
    put(results, [ok("old", 0)])
    write(state, OLD | OWN)
    replaced(results).set_aside()
    put(results, [] if where == "redo.jsonl" else [failed("b", 1), line])
    write(state, NEW)
    if where == "redo.jsonl":
        put(state / "redo.jsonl", [line])
    elif where != "FILE":
        results.write_bytes(results.read_bytes().rstrip(b"\n"))
    new = (results.read_bytes(), files_in(state))
    for at in count(1):
        monkeypatch.setattr(disk, "os", mortal := Mortal(at))
        try:
            assert not replaced(results).settle()
        except Died:
            continue
        assert mortal.left > 0 and (results.read_bytes(), files_in(state)) == new
        assert not (state / "replaced").exists()
        break


def test_a_complete_run_of_failures_is_what_was_asked_for(tmp_path: Path) -> None:
    put(results := tmp_path / "r.jsonl", [ok("old", 0)])
    write(tmp_path / "r.jsonl.state", OLD | OWN)
    a_run_that_overwrites(results, [failed("a", 0)], complete=True)
    assert b'"failed"' in results.read_bytes() and files_in(tmp_path / "r.jsonl.state") == NEW | OWN


def test_a_second_run_that_overwrites_starts_from_the_old_files(tmp_path: Path) -> None:
    put(results := tmp_path / "r.jsonl", [ok("old", 0)])
    before = results.read_bytes()
    write(tmp_path / "r.jsonl.state", OLD | OWN)
    for _ in range(3):
        a_run_that_overwrites(results, [failed("a", 0)])
        assert results.read_bytes() == before
    remove_folder(tmp_path / "nowhere")
