"""The README and the pages of help agree with the program, in both directions."""

import ast
import configparser
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer.main

from llmbatch.api.result import Result
from llmbatch.cli.main import app
from llmbatch.core.errors import ExitCode
from llmbatch.options.table import ALL_FLAGS
from tests import docs

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {path.stem: path.read_text() for path in docs.PAGES.glob("*.md")}


def test_the_flags_are_those_of_the_program() -> None:
    run: Any = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    flags = {name for p in run.params for name in (*p.opts, *p.secondary_opts) if name.startswith("-")}
    written = {flag for row in _rows("flags", "Flags") for flag in re.findall(r"(?<![\w-])--?[a-z][\w-]*", row[0])}
    assert written == flags - {"--help", "-h", "--help-all"}


def test_the_defaults_are_those_of_the_program() -> None:
    run: Any = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    defaults = {p.opts[0]: p.default for p in run.params}
    for first, default, *_ in _rows("flags", "Flags"):
        flag = re.search(r"--[a-z][\w-]*", first)
        assert flag is not None
        actual = defaults[flag[0]]
        assert default.strip("`") == ("" if actual in (None, False, ()) else str(actual)), flag[0]


def test_the_generated_tables_are_those_of_the_program() -> None:
    assert docs.flags_page(PAGES["flags"]) == PAGES["flags"], "run: make docs"
    assert docs.providers_page(PAGES["providers"]) == PAGES["providers"], "run: make docs"
    assert docs.with_speed(README, PAGES["benchmarks"]) == README, "run: make docs"


def test_the_exit_codes_are_those_of_the_program() -> None:
    written = {int(code) for row in _rows("exit-codes", "Exit codes") for code in re.findall(r"\d+", row[0])}
    assert written == {int(code) for code in ExitCode}


def test_the_result_fields_are_those_that_occur(tmp_path: Path) -> None:
    written = {row[0].strip("` ") for row in _rows("results", "Result fields")}
    occurring = {name for line in _varied_runs(tmp_path) for name in line}
    elsewhere = {"cost_usd", "batch", "sample"}  # they take a price list, a batch and --repeat: other tests have them
    assert written - elsewhere == occurring - elsewhere
    assert "cost_usd" in written
    assert written == Result.__annotations__.keys()


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) <= 150
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links if "://" not in link)
    assert {f"llmbatch/help/{name}.md" for name in PAGES} <= set(links)


def test_the_readme_names_flags_fields_and_exit_codes_that_exist() -> None:
    group: Any = typer.main.get_command(app)
    verbs = [group, group.commands["run"], group.commands["help"]]
    flags = {name for verb in verbs for p in verb.params for name in (*p.opts, *p.secondary_opts)} | {
        "--help",
        "--from",
    }
    guesses = {"--workers", "--api-key", "--seed"}
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", README)) - guesses <= flags
    fields = re.search(r"\| field \| what \|\n(.*?)\n\n", README, re.DOTALL)
    assert fields
    named = {name for row in fields[1].splitlines()[1:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named <= Result.__annotations__.keys()
    codes = re.search(r"## Exit codes\n(.*?)\n## ", README, re.DOTALL)
    assert codes and {int(code) for code in re.findall(r"\b\d+\b", codes[1])} == {int(code) for code in ExitCode}


def test_every_page_of_help_has_a_title_and_a_line_that_says_what_it_is_about() -> None:
    for name, text in PAGES.items():
        title, blank, line, *_ = text.splitlines()
        assert title.startswith("# ") and not blank and re.fullmatch(r"[A-Z].{15,110}[.]", line), name


def test_the_one_liners_need_nothing_that_is_not_there() -> None:
    for command in re.findall(r"^llmbatch run (\S+) .*-p mock", README + "".join(PAGES.values()), re.MULTILINE):
        assert (ROOT / command).exists(), command


def test_every_command_in_the_documentation_has_flags_that_exist() -> None:
    group: Any = typer.main.get_command(app)
    wrong = []
    for name, text in {"README": README, **PAGES}.items():
        for block in re.findall(r"```(?:sh|yaml|ini)\n(.*?)```", text, re.DOTALL):
            for command in re.findall(r"\bllmbatch ((?:[^|;&\n#'\"]|'[^'\n]*'|\"[^\"\n]*\")*)", block):
                verb, *words = re.sub(r"'[^']*'|\"[^\"]*\"", "X", command).split() or [""]
                found = group.commands.get(verb)
                if found is None:
                    if verb and not verb.startswith("-"):
                        wrong.append((name, command))
                    continue
                inner = getattr(found, "commands", {}).get(words[0] if words else "", found)
                flags = {flag for one in inner.params for flag in (*one.opts, *one.secondary_opts)} | {"--help"}
                used = {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
                wrong += [(name, command, flag) for flag in used - flags]
    assert wrong == []


def test_the_variables_of_the_environment_are_read_by_the_program() -> None:
    page = PAGES["environment"].partition("| variable |")[2].partition("\n\n")[0]
    named = {name for row in page.splitlines() for name in re.findall(r"`([A-Z][A-Z_]+)`", row.split("|")[1])}
    assert len(named) > 10
    read = set(re.findall(r"[A-Z][A-Z_]+", _texts())) | {option.variable for option in ALL_FLAGS}
    assert named - read == set()


def test_the_messages_of_troubleshooting_are_those_of_the_program() -> None:
    """The ellipsis stands for what differs from case to case."""
    texts = _texts()
    texts += "\ncannot read \n: No such file or directory\n"  # the words of the operating system
    messages = re.findall(r"^\| `(.*?)` \|", PAGES["troubleshooting"], re.MULTILINE)
    assert len(messages) > 10
    assert [part for message in messages for part in message.split("…") if part.strip() not in texts] == []


def test_python_and_unit_files_in_the_documentation_can_be_read() -> None:
    for text in (README, *PAGES.values()):
        for kind, block in re.findall(r"```(python|ini|toml)\n(.*?)```", text, re.DOTALL):
            if kind == "python":
                compile(block, "documentation", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            elif kind == "toml":
                tomllib.loads(block)
            else:
                configparser.ConfigParser(interpolation=None, strict=True).read_string(block)


def _texts() -> str:
    """Return all texts in the program's modules."""
    return "\n".join(
        node.value
        for path in (ROOT / "llmbatch").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and type(node.value) is str
    )


def _rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading of a page."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGES[page], re.MULTILINE | re.DOTALL)
    assert section, f"the page {page} has no section {heading}"
    table = [line for line in section[1].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]
    return cells[2:]


def _varied_runs(folder: Path) -> list[dict[str, Any]]:
    prompts = [
        "a plain question",
        "a plain question",
        "[[mock:status code=500 times=1]]",
        "[[mock:refusal]]",
        "[[mock:model-length]]",
        "[[mock:reasoning]]",
        "[[mock:image]]",
        "[[mock:audio]]",
        "[[mock:citations]]",
        {"prompt": "with log probabilities", "params": {"logprobs": True}},
        "[[mock:nan]]",
        "[[mock:bad-utf8]]",
        "[[mock:status code=400]]",
        {"prompt": "two answers", "params": {"n": 2}},
        {
            "prompt": "with a tool",
            "params": {
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
                "tool_choice": "required",
            },
        },
        {"nothing": "to ask"},
    ]
    results = _run(folder, prompts, "--include", "request,response,input")
    results += _run(folder, ["answer in JSON"], "--json")
    results += _run(folder, ["one", "two"], "--endpoint", "embeddings")
    results += _run(folder, ["equal", "equal"], "-o", "first.jsonl", "--tee", "--dedupe")
    return results + _run(folder, ["equal"], "-o", "second.jsonl", "--tee", "--reuse", "first.jsonl")


def _run(folder: Path, prompts: Sequence[Any], *flags: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [Path(sys.executable).parent / "llmbatch", "run", "-p", "mock", "-q", *flags],
        input="".join(json.dumps(prompt) + "\n" for prompt in prompts).encode(),
        capture_output=True,
        cwd=folder,
        timeout=30,
    )
    assert done.returncode in (0, 1), done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]
