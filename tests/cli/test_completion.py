"""What the Tab key offers, asked as the shells ask."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmbatch.app.providers import Check
from llmbatch.cli import main
from llmbatch.cli.completion import remember_models

Complete = Callable[[str], list[str]]


def _bash(words: str) -> dict[str, str]:
    return {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}


def _fish(words: str) -> dict[str, str]:
    return {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}


SHELLS = {"bash": _bash, "zsh": lambda words: {"_TYPER_COMPLETE_ARGS": words}, "fish": _fish}


@pytest.fixture(params=SHELLS)
def complete(
    request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Complete:
    """Return the words that a shell offers at the end of a command line."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setattr("sys.argv", ["llmbatch"])
    monkeypatch.setenv("_LLMBATCH_COMPLETE", f"complete_{request.param}")

    def ask(words: str) -> list[str]:
        for name, value in SHELLS[request.param](words).items():
            monkeypatch.setenv(name, value)
        main.run_to_code()
        said = capsys.readouterr()
        assert said.err == ""
        lines = said.out.strip().splitlines()
        return [line.removeprefix("_arguments '*: :((").strip("()'").partition('":')[0].strip('"').partition("\t")[0]
                for line in lines if line != "_files"]  # fmt: skip

    return ask


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("llmbatch ru", ["run"]),
        ("llmbatch run --max-run", ["--max-run-cost"]),
        ("llmbatch run -p anth", ["anthropic"]),
        ("llmbatch run --fsync ", ["batch", "always", "never"]),
        ("llmbatch run --input-format c", ["csv", "cookbook"]),
        ("llmbatch run --endpoint emb", ["embeddings"]),
        ("llmbatch run --summary j", ["json"]),
        ("llmbatch report --format ht", ["html"]),
        ("llmbatch convert a.jsonl --to p", ["parquet"]),
        ("llmbatch verify --input-format ts", ["tsv"]),
        ("llmbatch batches a.jsonl --format ", ["table", "json"]),
        ("llmbatch providers gro", ["groq"]),
        ("llmbatch help tro", ["troubleshooting"]),
        ("llmbatch config sh", ["show"]),
        ("llmbatch mock --host l", ["localhost"]),
        ("llmbatch run -o ", []),
    ],
)
def test_choices_are_offered(words: str, offered: list[str], complete: Complete) -> None:
    assert complete(words) == offered


def test_profiles_and_models_are_offered_that_this_machine_knows(complete: Complete, home: Path) -> None:
    (home / "config/llmbatch").mkdir(parents=True)
    (home / "config/llmbatch/config.toml").write_text('[profile.night]\nmodel = "m"\n[profile.local]\nquiet = true\n')
    assert complete("llmbatch run --profile ") == ["local", "night"]
    assert complete("llmbatch config show --profile n") == ["night"]
    remember_models("openai", ["gpt-b", "gpt-a", "bad name", "other"])
    remember_models("groq", ["llama"])
    assert complete("llmbatch run -m gpt") == ["gpt-b", "gpt-a"]
    assert complete("llmbatch run -p groq -m ") == ["llama"]
    line = json.dumps({"id": "a", "model": "gpt-seen"}, separators=(",", ":"))
    (home / "r.jsonl").write_text(f"{line}\n{line}\n")
    assert complete("llmbatch run -o r.jsonl -m gpt") == ["gpt-seen", "gpt-b", "gpt-a"]
    assert complete("llmbatch run -o missing.jsonl -p nobody -m ") == []


def test_models_that_a_provider_lists_are_no_part_of_what_a_check_prints() -> None:
    assert Check(ok=True, message="", names=("a",)).names == ("a",)


def test_bash_itself_completes(tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "llmbatch"
    script = f"""
        PATH={program.parent}:$PATH
        eval "$(_LLMBATCH_COMPLETE=source_bash llmbatch)"
        COMP_WORDS=(llmbatch run --fsync al) COMP_CWORD=3
        _llmbatch_completion llmbatch
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout == "always\n" and done.stderr == ""
