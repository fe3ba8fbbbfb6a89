"""What cron does night after night: a file that grows, a template that is edited, inputs that rotate."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.result_lines import put

from .command import Command, Mock, lines_of

NIGHTS = ("monday", "tuesday", "wednesday")


def night(path: Path, name: str, *, ids: bool, count: int = 25) -> None:
    records = [{"prompt": f"{name} {number}"} | ({"id": f"{name}-{number}"} if ids else {}) for number in range(count)]
    put(path, records)


@pytest.mark.parametrize("ids", [True, False])
def test_a_file_grows_by_another_input_each_night(
    llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path, ids: bool
) -> None:
    mock = start_mock()
    run = ("run", "--base-url", mock.base_url, "-m", "m", "-o", "all.jsonl")
    for count, name in enumerate(NIGHTS, 1):
        night(tmp_path / f"{name}.jsonl", name, ids=ids)
        done = llmbatch(*run, f"{name}.jsonl", "--append")
        assert done.code == 0 and ("of other inputs" in done.stderr) == (count > 1), done.stderr
        assert len(lines_of(tmp_path / "all.jsonl")) == 25 * count
    sent = len(mock.ledger())
    again = llmbatch(*run, "wednesday.jsonl", "--append")
    assert again.code == 0 and "50 lines of other inputs" in again.stderr and len(mock.ledger()) == sent
    night(tmp_path / "thursday.jsonl", "thursday", ids=ids)
    before = (tmp_path / "all.jsonl").read_bytes()
    for more in ((), ("--limit", "5"), ("--in-doubt", "hold"), ("--prune",)):
        forgotten = llmbatch(*run, "thursday.jsonl", *more)
        assert forgotten.code == 2 and "wednesday.jsonl" in forgotten.stderr and "thursday.jsonl" in forgotten.stderr
        assert all(way in forgotten.stderr for way in ("-o", "--append", "--overwrite"))
    assert (tmp_path / "all.jsonl").read_bytes() == before and len(mock.ledger()) == sent
    inputs = [f"{name}.jsonl" for name in NIGHTS]
    assert llmbatch("verify", *inputs, "-o", "all.jsonl").code == 0


def test_the_template_of_a_nightly_run_is_edited(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    run = ("run", "--base-url", mock.base_url, "-m", "m", "-o", "all.jsonl", "-t", "@t.txt", "--append")
    (tmp_path / "t.txt").write_text("Rate: {{ prompt }}")
    night(tmp_path / "monday.jsonl", "monday", ids=True)
    assert llmbatch(*run, "monday.jsonl").code == 0
    (tmp_path / "t.txt").write_text("Please rate: {{ prompt }}")
    night(tmp_path / "tuesday.jsonl", "tuesday", ids=True)
    assert llmbatch(*run, "tuesday.jsonl").code == 0, (
        "an edited template does not keep tonight's records from being sent"
    )
    edited = llmbatch(*run, "monday.jsonl")
    assert edited.code == 2 and "--changed" in edited.stderr
    assert "all.jsonl: 25 answers were made with other options (" in edited.stderr
    warmer = llmbatch(*run, "monday.jsonl", "--temperature", "1").stderr
    assert "param temperature: none before, 1.0 now" in warmer
    assert llmbatch(*run, "monday.jsonl", "--changed", "keep").code == 0
    assert llmbatch(*run, "monday.jsonl", "--changed", "rerun").code == 0
    assert len(lines_of(tmp_path / "all.jsonl")) == 50


def test_an_input_whose_content_rotates_under_one_name(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    run = ("run", "in.jsonl", "--base-url", mock.base_url, "-m", "m")
    night(tmp_path / "in.jsonl", "monday", ids=False)
    assert llmbatch(*run, "-o", "monday.jsonl").code == 0
    night(tmp_path / "in.jsonl", "tuesday", ids=False)
    assert llmbatch(*run, "-o", "monday.jsonl").code == 2
    assert llmbatch(*run, "-o", "tuesday.jsonl").code == 0
    assert llmbatch(*run, "-o", "monday.jsonl", "--overwrite").code == 0
    assert len(lines_of(tmp_path / "monday.jsonl")) == len(lines_of(tmp_path / "tuesday.jsonl")) == 25


def test_honest_inputs_are_not_taken_for_another(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    run = ("run", "--base-url", mock.base_url, "-m", "m", "-o", "r.jsonl")
    night(tmp_path / "in.jsonl", "a", ids=True)
    assert llmbatch(*run, "in.jsonl").code == 0
    (tmp_path / "empty.jsonl").write_text("")
    assert llmbatch(*run, "empty.jsonl").code == 0
    records = (tmp_path / "in.jsonl").read_text()
    (tmp_path / "in.jsonl").write_text('{"id":"new","prompt":"new"}\n' + records)
    first = llmbatch(*run, "in.jsonl", "--limit", "1")
    assert first.code == 0, f"records were put in front, and only they are wanted: {first.stderr}"
    assert llmbatch(*run, "-", stdin=[{"id": "piped", "prompt": "x"}]).code == 0
    (tmp_path / "few.jsonl").write_text('{"id":"few","prompt":"x"}\n' + records.splitlines(keepends=True)[0])
    assert llmbatch(*run, "few.jsonl").code == 0
    night(tmp_path / "small.jsonl", "b", ids=True, count=20)
    assert llmbatch(*run, "small.jsonl", "-o", "small-results.jsonl").code == 0
    assert llmbatch(*run, "few.jsonl", "-o", "small-results.jsonl").code == 0, "so few may be a slip that costs nothing"


@pytest.mark.parametrize("more", ["--overwrite", "--prune", "--ordered"])
def test_append_does_not_go_with_what_it_would_undo(llmbatch: Command, more: str) -> None:
    done = llmbatch("run", "-p", "mock", "-o", "r.jsonl", "--append", more, stdin=["hi"])
    assert done.code == 2 and "--append" in done.stderr and more in done.stderr
