"""Each recipe of the page of recipes is run as it stands there; only names of places, keys and models are put in."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
import yaml

from tests.support.forked_command import LLMBATCH

from .command import ROOT, Ended, Mock, lines_of

PAGE = (ROOT / "llmbatch" / "help" / "recipes.md").read_text()
Bash = Callable[..., Ended]


def recipe(heading: str, number: int = 0) -> str:
    """Return a block of code below a heading, with a model in it."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    return re.findall(r"```\w+\n(.*?)```", section[1], re.DOTALL)[number].replace("MODEL", "mock-1")


@pytest.fixture
def bash(tmp_path: Path, mock: Mock) -> Bash:
    """Run a script in a folder with inputs, against the mock, with cron's bare environment and no terminal."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "llmbatch.env").write_text(
        f"export OPENAI_API_KEY=sk-test OPENAI_BASE_URL={mock.base_url} PATH={Path(LLMBATCH).parent}:/usr/bin:/bin\n"
    )
    for name in ("prompts.jsonl", "tests/prompts.jsonl"):
        (tmp_path / name).write_text('{"id":"a","prompt":"hi"}\n{"id":"b","prompt":"there"}\n')

    def run(script: str, shell: str = "bash", **env: str) -> Ended:
        bare = {"HOME": str(tmp_path), "LOGNAME": "me", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [shell, "-ec", script],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=tmp_path,
            env=bare | env,
            timeout=60,
        )
        return Ended(done.returncode, done.stdout, done.stderr.decode())

    return run


def test_the_line_of_cron_runs_with_its_bare_environment_and_says_nothing(bash: Bash, tmp_path: Path) -> None:
    line = recipe("cron").splitlines()[-1]
    times, command = line.split()[:5], line.split(maxsplit=5)[5]
    assert all(re.fullmatch(r"[\d*]+", one) for one in times) and not re.search(r"(?<!\\)%", command)
    bash('cp prompts.jsonl "$(date +%F).jsonl"')
    for _ in range(2):
        done = bash(command.replace("\\%", "%").replace("/srv/prompts", str(tmp_path)), shell="/bin/sh")
        assert (done.code, done.stdout, done.stderr) == (0, b"", "")
    assert [line["status"] for line in lines_of(tmp_path / "answers.jsonl")] == ["ok", "ok"]


def test_the_units_of_systemd_are_valid_and_their_command_runs(bash: Bash, tmp_path: Path) -> None:
    units = {"llmbatch.service": recipe("systemd timer", 0), "llmbatch.timer": recipe("systemd timer", 1)}
    for name, text in units.items():
        here = text.replace("/opt/llmbatch/bin/llmbatch", LLMBATCH).replace("/srv/", f"{tmp_path}/")
        (tmp_path / name).write_text(here)
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(tmp_path / "llmbatch.service")
    if shutil.which("systemd-analyze") is not None:
        done = subprocess.run(
            ["systemd-analyze", "verify", *(str(tmp_path / name) for name in units)], capture_output=True, text=True
        )
        assert "llmbatch" not in done.stderr, done.stderr
    words = shlex.split(unit["Service"]["ExecStart"])
    done = bash(f". ./llmbatch.env; {shlex.join(words)}")
    assert done.code == 0 and len(lines_of(tmp_path / "answers.jsonl")) == 2
    assert {"5", "8"} == {*unit["Service"]["SuccessExitStatus"].split()}


def test_the_steps_of_github_actions_run(bash: Bash, tmp_path: Path) -> None:
    workflow = yaml.safe_load(recipe("GitHub Actions"))
    assert workflow[True] == ["push"], "YAML 1.1 reads on: as true, and so does GitHub's own schema"
    (job,) = workflow["jobs"].values()
    env = _variables(tmp_path)
    steps = [step for step in job["steps"] if "run" in step and not step["run"].startswith("pip install ./")]
    assert len(steps) == 2 and all("uses" in step or "run" in step for step in job["steps"])
    for step in steps:
        given = {
            name: value.replace("${{ secrets.OPENAI_API_KEY }}", "sk") for name, value in step.get("env", {}).items()
        }
        done = bash(step["run"], **env, **given, GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))
        assert done.code == 0, done.stderr
    assert "2 of 2 answered" in (tmp_path / "summary.md").read_text()


def test_the_job_of_gitlab_runs_and_leaves_what_it_promises(bash: Bash, tmp_path: Path) -> None:
    job = yaml.safe_load(recipe("GitLab CI"))["prompts"]
    env = _variables(tmp_path) | {"OPENAI_API_KEY": "sk"}
    for command in [*job["script"][1:], *job["after_script"]]:
        assert bash(command, **env).code == 0
    assert all((tmp_path / path).exists() for path in job["artifacts"]["paths"])
    cases = ET.parse(tmp_path / job["artifacts"]["reports"]["junit"]).getroot().iter("testcase")
    assert len([*cases]) == 2


def test_pipes_and_chains_of_runs_answer_each_record(bash: Bash, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id":1,"text":"hi"}\n{"id":2,"text":"there"}\n')
    (tmp_path / "articles.csv").write_text("id,text\n1,hi\n2,there\n")
    env = _variables(tmp_path) | {"OPENAI_API_KEY": "sk"}
    pipe, failures = recipe("jq").splitlines()
    assert len(bash(pipe, **env).stdout.splitlines()) == 2
    chained = bash(recipe("One run's answers as the next run's prompts"), **env)
    assert chained.code == 0, chained.stderr
    first, last = lines_of(tmp_path / "summaries.jsonl"), lines_of(tmp_path / "french.jsonl")
    assert {one["id"] for one in first} == {one["id"] for one in last} == {"1", "2"}
    failed = {"id": "x", "status": "failed", "error": {"kind": "timeout", "message": "late"}}
    (tmp_path / "answers.jsonl").write_text(json.dumps(failed) + "\n")
    assert bash(failures).stdout == b"x\ttimeout\tlate\n"


@pytest.fixture
def answers(bash: Bash, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results file with an answer and a failure, in the folder that is the current one."""
    (tmp_path / "in.jsonl").write_text('"hi"\n{"no":"prompt"}\n')
    assert bash(". ./llmbatch.env; llmbatch run in.jsonl -m mock-1 -o answers.jsonl --price 1,2").code == 1
    monkeypatch.chdir(tmp_path)
    return tmp_path / "answers.jsonl"


@pytest.mark.usefixtures("answers")
def test_duckdb_reads_results_with_the_query_of_the_page() -> None:
    (query,) = re.findall(r'duckdb -c "(.*)"', recipe("DuckDB"))
    rows: Any = duckdb.sql(query).fetchall()
    assert sum(count for _, count, _, _ in rows) == 2 and any(cost for *_, cost in rows)


@pytest.mark.usefixtures("answers")
def test_pandas_reads_results_as_the_page_does() -> None:
    scope: dict[str, Any] = {}
    *before, last = recipe("pandas and notebooks").strip().splitlines()
    exec("\n".join(before), scope)
    assert dict(eval(last, scope)) == {"invalid_record": 1}
    assert isinstance(scope["answers"], pd.DataFrame)


def test_the_cell_of_a_notebook_runs_and_continues(
    bash: Bash, mock: Mock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    monkeypatch.setenv("OPENAI_BASE_URL", mock.base_url)
    for _ in range(2):
        scope: dict[str, Any] = {"prompts": ["a notebook asks", "a notebook asks more"]}
        exec(recipe("pandas and notebooks", 1), scope)
        assert list(scope["answers"]["status"]) == ["ok", "ok"]
    assert len(mock.ledger("a notebook asks")) == 2


def _variables(folder: Path) -> dict[str, str]:
    """Return what a CI system has set: where the mock is, and where llmbatch is installed."""
    found = dict(re.findall(r"(OPENAI_BASE_URL)=(\S+)", (folder / "llmbatch.env").read_text()))
    return found | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
