"""The samples for clusters are what their schedulers read, and their commands are commands of llmbatch."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from llmbatch.cli.main import app
from tests.docs import ROOT

SAMPLES = ROOT / "samples" / "cluster"


def parsed(words: list[str]) -> dict[str, object]:
    """Parse the words of a command as the program does."""
    run = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    return dict(run.make_context("run", words, resilient_parsing=False).params)


@pytest.mark.parametrize("name", ["kubernetes.yaml", "skypilot.yaml"])
def test_the_command_of_a_manifest_is_one_of_a_worker(name: str) -> None:
    text = (SAMPLES / name).read_text()
    args = re.search(r"args: \[(.*)\]", text)
    line = args[1].replace(",", " ") if args else re.search(r"llmbatch (run .*)", text)[1]  # type: ignore[index]
    line = line.replace("$((SKYPILOT_JOB_RANK + 1))/$SKYPILOT_NUM_JOBS", "1/8")
    options = parsed(shlex.split(line)[1:])
    assert options["output"] == "/data/out/" and options["shard"] in ("auto", "1/8")
    assert all(len(line) - len(line.lstrip()) in range(0, 22, 2) and "\t" not in line for line in text.splitlines())
    assert re.findall(r"completions: (\d+)", text) in ([], [str(options["of"])])


def test_the_script_for_slurm_is_a_script_and_its_command_one_of_a_worker() -> None:
    script = SAMPLES / "slurm.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    command = re.search(r"llmbatch (run .*?) &", script.read_text(), re.DOTALL)
    assert command
    options = parsed(shlex.split(command[1].replace("\\\n", " "))[1:])
    assert (options["shard"], options["wait_ready"]) == ("auto", "30m")
    directives = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line) for line in directives)


def test_the_samples_are_named_in_the_help() -> None:
    text = Path(ROOT / "llmbatch" / "help" / "parts.md").read_text()
    assert all(f"samples/cluster/{path.name}" in text for path in SAMPLES.iterdir())
