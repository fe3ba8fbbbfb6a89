"""The files of a run of parts are written once, and what is not theirs is refused."""

from pathlib import Path

import pytest

from llmbatch.core.errors import UsageError
from llmbatch.parts.folder import PLAN, RunFolder, results_in, runs_in
from llmbatch.parts.plan import InputFile, Part, Piece, Plan
from llmbatch.results import disk

PLAN_A = Plan.of([InputFile("a.jsonl", 9, 1)], [Part((Piece(0),), 3), Part((Piece(0),), 3)], {})
PLAN_B = Plan.of([InputFile("b.jsonl", 9, 1)], [Part((Piece(0),), 3)], {})


def test_of_two_plans_the_first_one_counts(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    assert folder.plan() is None
    assert folder.create(PLAN_A) == PLAN_A
    assert folder.create(PLAN_B) == PLAN_A
    assert sorted(path.name for path in folder.path.iterdir()) == [PLAN]


def test_a_plan_is_whole_or_not_there_when_the_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    folder = RunFolder(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(disk, "sync", fail)
        with pytest.raises(Exception, match=r"cannot write into .*out/: Input/output error"):
            folder.create(PLAN_A)
    assert folder.plan() is None and list(folder.path.iterdir()) == []


def test_a_file_system_without_links_writes_a_plan_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*names: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("llmbatch.results.disk.os.link", refuse)
    folder = RunFolder(tmp_path / "out")
    assert folder.create(PLAN_A) == PLAN_A
    assert folder.create(PLAN_B) == PLAN_A


def test_a_summary_says_that_a_part_is_complete_until_it_is_opened_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create(PLAN_A)
    assert folder.complete() == set()
    folder.write_summary(1, {"part": PLAN_A.name_of(1), "records": 3})
    folder.write_summary(1, {"part": PLAN_A.name_of(1), "records": 4})
    assert folder.complete() == {1}
    assert folder.read_summary(1, PLAN_A)["records"] == 3
    with pytest.raises(UsageError, match="is of another plan"):
        folder.read_summary(1, PLAN_B)
    folder.summary(0).write_text("{")
    with pytest.raises(UsageError, match="is not the summary of a part"):
        folder.read_summary(0, PLAN_A)
    folder.reopen(1)
    assert folder.complete() == {0}


def test_what_is_no_folder_of_parts_is_refused_with_what_it_is(tmp_path: Path) -> None:
    file, results, inputs = tmp_path / "file", tmp_path / "results", tmp_path / "in"
    file.touch()
    results.mkdir()
    (results / "part-00000.jsonl").touch()
    inputs.mkdir()
    for path, named, told in (
        (file, (), "is a file"),
        (tmp_path / "no" / "out", (), "there is no folder"),
        (inputs, (str(inputs),), "is the folder of the input"),
        (results, (), "has results of parts, but no plan"),
    ):
        with pytest.raises(UsageError, match=told):
            RunFolder(path).check(named)
    with pytest.raises(UsageError, match="without a plan"):
        results_in([str(inputs)])
    RunFolder(results).create(PLAN_A)
    assert results_in(["x.jsonl", str(results)]) == ["x.jsonl", str(results / "part-00000.jsonl")]


def test_a_folder_of_models_stands_for_their_files_and_their_parts(tmp_path: Path) -> None:
    parts = RunFolder(tmp_path / "b")
    parts.create(PLAN_A)
    parts.results(1).touch()
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "a.jsonl.state").mkdir()
    (tmp_path / "notes").mkdir()
    runs = [str(tmp_path / "a.jsonl"), str(parts.path)]
    assert runs_in([str(tmp_path)]) == runs
    assert results_in([str(tmp_path)]) == [runs[0], str(parts.results(1))]
    assert results_in([]) == ["-"]
    with pytest.raises(UsageError, match="without results"):
        runs_in([str(tmp_path / "notes")])
