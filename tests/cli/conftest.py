"""The command line in this process: what it would say and how it would end."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from llmbatch.cli import main

Cli = Callable[..., tuple[int, str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Live in an empty folder without settings."""
    for name in os.environ:
        if name.startswith("LLMBATCH_") or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line; return its exit code and what it said on stderr, in one line."""

    def run(*args: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["llmbatch", *args])
        monkeypatch.setattr("sys.stdin", io.StringIO())
        code = main.run_to_code()
        said = capfd.readouterr()
        assert said.out == ""
        assert "Traceback" not in said.err
        return code, " ".join(said.err.replace("│", "").split())

    return run


@pytest.fixture
def one_record(home: Path) -> str:
    """Return a file with one prompt."""
    (home / "in.jsonl").write_text('"hi"\n')
    return "in.jsonl"
