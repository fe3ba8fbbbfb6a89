"""Each wrong guess that people make is answered in one or two lines that name the right words."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Cli

GUESSES = {
    "--api-key sk-1": "--key-env",
    "--workers 8": "-c N",
    "--threads 8": "-c N",
    "-j 8": "-c N",
    "--jobs 8": "-c N",
    "--proxy http://p": "HTTPS_PROXY",
    "--seed 1": "--param",
    "--out x.jsonl": "-o FILE",
    "--base-url localhost:9/v1 --dry-run": "--base-url http://localhost:9/v1",
    "--base-url api.example.com/v1 --dry-run": "--base-url https://api.example.com/v1",
    "-p claud": "anthropic",
    "-p opnai": "openai",
    "--base-url http://localhost:9/v1/chat/completions --dry-run": "chat/completions",
}


@pytest.mark.parametrize("words", GUESSES)
def test_a_wrong_flag_of_run_is_answered(words: str, cli: Cli, one_record: str) -> None:
    code, said = cli("run", one_record, "-m", "m", *words.split())
    assert code == 2 and GUESSES[words] in said and len(said) < 400, said


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("claude", "anthropic.com"),
        ("google", "googleapis.com"),
        ("OpenAI", "openai.com"),
        ("ANTHROPIC", "anthropic.com"),
    ],
)
def test_other_names_of_a_provider_are_understood(
    name: str,
    host: str,
    home: Path,
    one_record: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from llmbatch.cli import main

    monkeypatch.setattr("sys.argv", ["llmbatch", "run", one_record, "-m", "m", "-p", name, "--dry-run"])
    assert main.run_to_code() == 0
    assert host in json.loads(capfd.readouterr().out)["url"]


def _no_files(home: Path) -> None:
    pass


def _folder(home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "a.bin").write_text("x")


COMMANDS: dict[tuple[str, ...], tuple[str, Callable[[Path], None]]] = {
    ("in.jsonl",): ("llmbatch run in.jsonl -m MODEL", _no_files),
    ("version",): ("llmbatch --version", _no_files),
    ("-o", "out.jsonl", "in.jsonl"): ("llmbatch run -o", _no_files),
    ("run", "Why is the sky blue?", "-m", "m", "-p", "mock"): ("--input-format text", _no_files),
    ("run", "data/*.jsonl", "-m", "m", "-p", "mock"): ("data/*.jsonl", _no_files),
    ("run", "data", "-m", "m", "-p", "mock"): ("data", _folder),
    ("run", "in.jsonl", "-m", "m"): ("OPENAI_API_KEY", _no_files),
    ("rnu", "in.jsonl"): ("Did you mean llmbatch run?", _no_files),
    ("run", "in.jsonl", "--base-url", "http://localhost:1/v1"): ("-m MODEL", _no_files),
    ("run", "in.jsonl", "-m", "m", "--rpm", "fast"): ("invalid value for '--rpm': must be a number", _no_files),
    ("verify", "in.jsonl"): ("Add -o RESULTS", _no_files),
    ("config", "shwo"): ("Did you mean llmbatch config show?", _no_files),
    ("report", "nosuch.jsonl"): ("Check the name", _no_files),
}


@pytest.mark.parametrize("words", COMMANDS)
def test_a_wrong_command_line_is_answered(words: tuple[str, ...], cli: Cli, home: Path, one_record: str) -> None:
    expected, prepare = COMMANDS[words]
    prepare(home)
    code, said = cli(*words)
    assert code in (2, 3, 4) and expected in said and len(said) < 400, (code, said)


@pytest.mark.parametrize("word", ["-V", "--version"])
def test_the_version_has_a_short_flag(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from llmbatch.cli import main

    monkeypatch.setattr("sys.argv", ["llmbatch", word])
    assert main.run_to_code() == 0 and capsys.readouterr().out.startswith("llmbatch ")
