"""`--help` of every verb: words beside each option, without boxes, types and variables."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from llmbatch.cli.help import help as show_help
from llmbatch.cli.lazy_commands import VERBS, command
from llmbatch.cli.main import app


def _helps(columns: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, str]]:
    """Yield every command, subcommands included, with its help on a terminal of that width."""
    monkeypatch.setenv("COLUMNS", str(columns))
    top: Any = typer.main.get_command(app)
    commands = [(top, "llmbatch")]
    for verb in VERBS:
        found: Any = command(verb)
        commands.append((found, f"llmbatch {verb}"))
        commands += [(inner, f"llmbatch {verb} {name}") for name, inner in getattr(found, "commands", {}).items()]
    for one, path in commands:
        yield one, one.get_help(one.make_context(path, [], resilient_parsing=True))


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_help_fits_the_screen_and_shows_no_types_or_variables(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for one, text in _helps(columns, monkeypatch):
        assert not re.search(r"[│╭]|<\w|env var|\bVALUE\b|\bx[<>]|\\\[", text), text
        wide = [line for line in text.splitlines() if len(line) > columns]
        assert [line for line in wide if not re.match(r"  ([A-Z_]+=\S+ )*(llmbatch|sbatch|jq|echo) |Usage", line)] == []
        flags = {name for p in one.params if not getattr(p, "hidden", False) for name in p.opts if name[:2] == "--"}
        assert flags - {"--concurrency", "--help-all"} <= set(re.findall(r"--[a-z][\w-]*", text))


def test_the_first_help_is_one_screen_with_a_line_for_each_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    (_, text), *_ = _helps(100, monkeypatch)
    assert len(text.splitlines()) <= 40
    assert [line.split()[0] for line in text.partition("Commands\n")[2].splitlines()[: len(VERBS)]] == [*VERBS]


@pytest.mark.parametrize(("columns", "rows"), [(80, 55), (120, 42)])
def test_help_of_run_is_one_screen(columns: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = next(text for one, text in _helps(columns, monkeypatch) if one.name == "run")
    assert len(text.splitlines()) <= rows


def test_help_of_a_verb_is_its_help_where_no_page_has_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    show_help("verify")
    assert capsys.readouterr().out.startswith("Usage: llmbatch verify [OPTIONS] -o RESULTS... [INPUT]...")
