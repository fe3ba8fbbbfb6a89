"""Paths that cannot be used, and a stdout that cannot be written, are distinguished from bugs."""

import errno
import os
from pathlib import Path

import pytest

from llmbatch.core.errors import ExitCode
from llmbatch.core.path_errors import explain_os_error


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EEXIST])
def test_a_path_that_cannot_be_used_is_named_with_the_reason(number: int) -> None:
    explained = explain_os_error(OSError(number, os.strerror(number), "out/x.jsonl"))
    assert explained is not None and explained.exit_code == ExitCode.USAGE
    assert explained.message == f"cannot get at out/x.jsonl: {os.strerror(number)}" and explained.hint


def test_a_very_long_name_is_shown_in_part() -> None:
    explained = explain_os_error(OSError(errno.ENAMETOOLONG, "File name too long", "x" * 5000))
    assert explained is not None and len(explained.message) < 150


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EBADF])
def test_a_stdout_that_cannot_be_written_is_an_error_of_the_output(number: int) -> None:
    explained = explain_os_error(OSError(number, os.strerror(number)))
    assert explained is not None and explained.exit_code == ExitCode.OUTPUT


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(errno.EINVAL, "Invalid argument", "x"), OSError(errno.ENOENT, "No such file")]
)
def test_anything_else_may_be_a_bug(error: Exception) -> None:
    assert explain_os_error(error) is None


def test_a_current_folder_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    explained = explain_os_error(OSError(errno.ENOENT, "No such file or directory"))
    assert explained is not None and "folder is gone" in explained.message
