"""The samples for clusters are what their schedulers read, and their commands are commands of llmbatch."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import typer
import yaml

from llmbatch.cli.main import app
from tests.docs import ROOT

SAMPLES = ROOT / "samples" / "cluster"


def parsed(words: list[str]) -> dict[str, object]:
    """Parse the words of a command as the program does."""
    run = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    return dict(run.make_context("run", words, resilient_parsing=False).params)


def test_the_manifest_for_kubernetes_is_an_indexed_job_of_workers() -> None:
    job = yaml.safe_load((SAMPLES / "kubernetes.yaml").read_text())
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"], spec["completionMode"]) == ("batch/v1", "Job", "Indexed")
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    options = parsed(container["args"][1:])
    assert (options["output"], options["shard"], options["of"]) == ("/data/out/", "auto", spec["completions"])
    grace = str(options["grace"])
    assert float(grace.removesuffix("s")) < pod["terminationGracePeriodSeconds"], "it ends before it is killed"
    assert (pod["restartPolicy"], spec["podReplacementPolicy"]) == ("Never", "Failed")
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [1, 2, 3, 4], "the others are worth another try"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_task_for_skypilot_runs_a_worker() -> None:
    task = yaml.safe_load((SAMPLES / "skypilot.yaml").read_text())
    assert {"name", "resources", "file_mounts", "setup", "run"} == task.keys()
    subprocess.run(["bash", "-n"], input=task["run"].encode(), check=True)
    variables = {"SKYPILOT_JOB_RANK": "2", "SKYPILOT_NUM_JOBS": "8", "PATH": os.environ["PATH"]}
    script = "llmbatch() { printf '%s\\n' \"$@\"; }\n" + task["run"]
    words = subprocess.run(["bash", "-c", script], env=variables, capture_output=True, check=True).stdout.decode()
    options = parsed(words.split()[1:])
    assert (options["output"], options["shard"]) == ("/data/out/", "3/8")


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
