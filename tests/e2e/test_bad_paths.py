"""Folders that may not be entered, names that are too long, a stdout that takes nothing: a message, never a bug."""

import os
from pathlib import Path

import pytest

from .command import ROOT, Command

THIS_TREE = {"PYTHONPATH": str(ROOT)}
"""With `preexec` the installed command is started."""

LONG = "x" * 300
COMMANDS = {
    "-o": ("run", "in.jsonl", "-p", "mock", "-o", LONG),
    "-o of a dry run": ("run", "in.jsonl", "-p", "mock", "--dry-run", "-o", LONG),
    "-o of parts": ("run", "in.jsonl", "-p", "mock", "-o", f"{LONG}/"),
    "-o of models": ("run", "in.jsonl", "-m", "mock:a", "-m", "mock:b", "-o", "in.jsonl/"),
    "--summary-file": ("run", "in.jsonl", "-p", "mock", "--summary-file", LONG),
    "--metrics-file": ("run", "in.jsonl", "-p", "mock", "--metrics-file", LONG),
    "batches": ("batches", LONG),
    "split": ("split", "in.jsonl", "-m", "m", "-o", f"{LONG}/"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_path_that_no_file_can_have_is_exit_2_with_the_reason(
    command: tuple[str, ...], llmbatch: Command, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text('"question"\n')
    done = llmbatch(*command)
    assert done.code == 2 and "a bug" not in done.stderr and not done.stdout, done.stderr
    assert "File name too long" in done.stderr or "Not a directory" in done.stderr or "File exists" in done.stderr


def test_an_output_in_a_current_folder_that_is_gone_is_exit_2(llmbatch: Command, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('"question"\n')

    def lose_the_folder() -> None:
        os.mkdir("gone")
        os.chdir("gone")
        os.rmdir("../gone")

    done = llmbatch(
        "run", "-p", "mock", tmp_path / "in.jsonl", "-o", "out.jsonl", preexec=lose_the_folder, env=THIS_TREE
    )
    assert done.code == 2 and "the current folder is gone" in done.stderr


WRITERS = ("--version", "--help", "run --help-all", "config path", "config show", "help records", "providers")


@pytest.mark.parametrize("words", WRITERS)
def test_a_full_stdout_is_exit_6_for_what_only_prints(words: str, llmbatch: Command) -> None:
    with open("/dev/full", "wb") as full:
        done = llmbatch(*words.split(), stdout=full.fileno())
    assert done.code == 6, done.stderr
    assert done.stderr == "llmbatch: cannot write to stdout: No space left on device\n"


@pytest.mark.parametrize("words", WRITERS)
def test_a_closed_stdout_is_exit_6_for_what_only_prints(words: str, llmbatch: Command) -> None:
    done = llmbatch(*words.split(), preexec=lambda: os.close(1), env=THIS_TREE)
    assert done.code == 6 and "cannot write to stdout" in done.stderr, done.stderr


@pytest.mark.parametrize("option", ["--summary-file", "--metrics-file", "-o"])
def test_a_folder_that_is_missing_is_named(option: str, llmbatch: Command) -> None:
    done = llmbatch("run", "-p", "mock", option, "no/such/x", stdin=["question"])
    assert done.code == 2 and "there is no folder no/such" in done.stderr


def test_an_output_without_a_name_is_told_as_such(llmbatch: Command) -> None:
    done = llmbatch("run", "-p", "mock", "-o", "", stdin=["question"])
    assert done.code == 2 and "is empty, as a variable that is not set gives" in done.stderr


def test_a_pipe_as_output_is_named_as_it_was_written(llmbatch: Command) -> None:
    done = llmbatch("run", "-p", "mock", "-o", "/dev/stdout", stdin=["question"])
    assert done.code == 2 and "-o /dev/stdout is not a regular file" in done.stderr, done.stderr


def test_the_summary_goes_to_stdout_by_a_dash(llmbatch: Command, tmp_path: Path) -> None:
    done = llmbatch("run", "-p", "mock", "-o", "out.jsonl", "--summary-file", "-", stdin=["question"])
    assert done.code == 0 and done.result["ok"] == 1 and not (tmp_path / "-").exists()


def test_metrics_that_could_not_be_written_are_told_at_the_end(llmbatch: Command) -> None:
    done = llmbatch("run", "-p", "mock", "-q", "--metrics-file", "/dev/full", stdin=["question"])
    assert done.code == 0 and "--metrics-file is not up to date" in done.stderr and "No space left" in done.stderr


def test_an_empty_input_name_is_told_as_such(llmbatch: Command) -> None:
    done = llmbatch("run", "-p", "mock", "")
    assert done.code == 3 and "an INPUT is empty" in done.stderr
