"""Runs of parts by the installed command: killed, continued, read as a whole."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from .command import Command, Mock, lines_of, until

PROMPTS = [f"part prompt {number}" for number in range(60)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, some in (("a", PROMPTS[:45]), ("b", PROMPTS[45:])):
        text = "".join(json.dumps({"id": prompt, "prompt": prompt}) + "\n" for prompt in some)
        (folder / f"{name}.jsonl").write_text(text)
    return folder


def test_a_run_of_parts_that_is_killed_goes_on_with_the_same_command(
    llmbatch: Command, start_mock: Callable[..., Mock], source: Path, tmp_path: Path
) -> None:
    mock = start_mock("--latency", "0.05")
    command = ("run", source, *mock("-o", "out/", "--part-size", "15", "-c", "4"))
    run = llmbatch.start(*command)
    until(lambda: len(mock.ledger("part prompt")) > 25)
    run.process.kill()
    run.wait()
    done = llmbatch(*command)
    assert done.code == 0, done.stderr
    assert "4 of 4 complete" in done.stderr

    lines = [line for file in sorted(tmp_path.glob("out/part-*.jsonl")) for line in lines_of(file)]
    assert Counter(line["id"] for line in lines) == dict.fromkeys(PROMPTS, 1)
    sent = Counter(entry["prompt"] for entry in mock.ledger("part prompt"))
    assert sent.total() - len(PROMPTS) <= sum(line.get("possibly_billed", 0) for line in lines)

    checked = llmbatch("verify", source, "-o", "out/", "--format", "json")
    assert checked.code == 0 and checked.result["ok"] == 60
    assert llmbatch("report", "out/", "--format", "json").result["ok"] == 60
    assert len(llmbatch("convert", "out/", "--to", "text").results) == 60


def test_an_array_that_is_preempted_and_submitted_again_blindly_ends_complete(
    llmbatch: Command, start_mock: Callable[..., Mock], source: Path, tmp_path: Path
) -> None:
    mock = start_mock("--latency", "0.05")
    command = ("run", source, *mock("-o", "out/", "--part-size", "12", "-c", "4", "--shard", "auto", "-q"))
    slurm = {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "2", "SLURM_ARRAY_TASK_STEP": "1"}
    workers = [llmbatch.start(*command, env=slurm | {"SLURM_ARRAY_TASK_ID": str(place)}) for place in range(3)]
    until(lambda: len(mock.ledger("part prompt")) > 20)
    workers[0].process.kill()
    workers[1].process.terminate()
    again = [llmbatch.start(*command, env=slurm | {"SLURM_ARRAY_TASK_ID": str(place)}) for place in range(3)]
    assert [worker.end().code for worker in again] == [0, 0, 0]
    assert workers[2].end().code == 0
    lines = [line for file in sorted(tmp_path.glob("out/part-*.jsonl")) for line in lines_of(file)]
    assert Counter(line["id"] for line in lines) == dict.fromkeys(PROMPTS, 1)
    sent = Counter(entry["prompt"] for entry in mock.ledger("part prompt"))
    assert sent.total() - len(PROMPTS) <= sum(line.get("possibly_billed", 0) for line in lines)
    split = llmbatch("split", source, *mock("-o", "out/"))
    assert (split.code, split.stdout) == (0, b"0-4\n")
    assert llmbatch("split", source, *mock("-o", "out/", "--missing")).stdout == b"\n"
