"""How messages name files."""

from pathlib import Path

import pytest

from llmbatch.core import stderr
from llmbatch.core.stderr import from_here


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stderr.os, "isatty", lambda fd: True)


def test_paths_below_the_current_folder_are_written_as_they_are_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert from_here(f"continuing {tmp_path}/out/a.jsonl: 3 done") == "continuing out/a.jsonl: 3 done"
    assert from_here(f"-o {tmp_path}/a: {tmp_path}/a.state is there") == "-o a: a.state is there"
    for other in (f"/mnt{tmp_path}/a", f"{tmp_path}-old/a", f"{tmp_path} is a folder", f"{tmp_path}/", "/a", "a"):
        assert from_here(other) == other


def test_a_log_has_paths_that_hold_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stderr.os, "isatty", lambda fd: False)
    assert from_here(f"continuing {tmp_path}/a.jsonl") == f"continuing {tmp_path}/a.jsonl"


@pytest.mark.parametrize("gone", [True, False])
def test_where_no_folder_is_the_current_one_nothing_is_shortened(
    gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "gone" if gone else Path("/")
    place.mkdir(exist_ok=True)
    monkeypatch.chdir(place)
    if gone:
        place.rmdir()
    assert from_here("cannot read /a/b") == "cannot read /a/b"
