"""Files, settings and command lines of earlier versions go on working: see earlier/README.md."""

import json
import shlex
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from llmbatch.api.options import Options
from llmbatch.options.table import ALL_FLAGS

from .command import Command

VERSIONS = sorted(path.parent for path in Path(__file__).parent.glob("earlier/*/command"))


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def version(request: pytest.FixtureRequest, llmbatch: Command) -> Path:
    """Return the folder of a version, with its files in the home of the command."""
    folder: Path = request.param
    llmbatch.configure((folder / "config.toml").read_text())
    shutil.copy(folder / "prompts.jsonl", llmbatch.home)
    with tarfile.open(folder / "results.tar.gz") as archive:
        archive.extractall(llmbatch.home, filter="data")
    return folder


def test_the_command_line_of_then_continues_the_file_of_then(version: Path, llmbatch: Command) -> None:
    program, *arguments = shlex.split((version / "command").read_text())
    assert program == "llmbatch"
    before = (llmbatch.home / "results.jsonl").read_bytes().splitlines()
    done = llmbatch(*arguments, "--summary-file", "summary.json")
    assert done.code == 7, done.stderr
    assert "options changed" not in done.stderr
    after = (llmbatch.home / "results.jsonl").read_bytes().splitlines()
    kept = [line for line in before if b'"id":"wrong"' not in line]  # a failure that cost nothing is tried again
    assert [line for line in after if line in kept] == kept
    new = [line for line in after if line not in kept]
    assert len(new) == 2 and b'"id":"wrong"' in new[0] and b'"id":"later"' in new[1]
    assert b'"hangs"' not in b"".join(after), "what was in flight is held"
    listed = llmbatch("verify", "prompts.jsonl", "-o", "results.jsonl", "--all")
    assert listed.code == 1 and [(found["problem"], found["id"]) for found in listed.results] == [("missing", "hangs")]


def settings_in(shown: str) -> dict[str, tuple[str, Any]]:
    """Return where each setting comes from, and its value: 6000 and 6000.0 are one."""
    lines = [line.rpartition("  # ") for line in shown.splitlines() if "  # " in line]
    named = [(*text.partition(" = "), origin) for text, _, origin in lines]
    return {name: (origin, json.loads(value)) for name, _, value, origin in named}


def test_the_settings_of_then_mean_what_they_meant(version: Path, llmbatch: Command) -> None:
    said = llmbatch("config", "show", "--profile", "night").stdout.decode()
    assert settings_in((version / "config-show").read_text()).items() <= settings_in(said).items()


def test_each_flag_and_each_argument_of_then_is_there(version: Path) -> None:
    flags = {flag for option in ALL_FLAGS for flag in (option.flag, option.short)}
    assert set((version / "flags").read_text().split()) <= flags
    assert set((version / "arguments").read_text().split()) <= Options.__annotations__.keys()
