"""Runs of parts by the installed command: killed, continued, read as a whole."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .command import LLMBATCH, ROOT, Command, Mock, lines_of, until

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


def test_processes_share_the_work_and_one_that_is_killed_is_replaced(
    llmbatch: Command, start_mock: Callable[..., Mock], source: Path, tmp_path: Path
) -> None:
    mock = start_mock("--latency", "0.05")
    command = ("run", source, *mock("-o", "out/", "--part-size", "15", "-c", "4", "--processes", "2", "--rpm", "1800"))
    run = llmbatch.start(*command)
    until(lambda: len(mock.ledger("part prompt")) > 20)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    workers = [pid for pid in children if "llmbatch.parts.process" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(workers) == 2
    os.kill(int(workers[0]), signal.SIGKILL)
    done = run.end()
    assert done.code == 0 and "4 of 4 complete" in done.stderr and "another one goes on" in done.stderr
    lines = [line for file in sorted(tmp_path.glob("out/part-*.jsonl")) for line in lines_of(file)]
    assert Counter(line["id"] for line in lines) == dict.fromkeys(PROMPTS, 1)
    sent = mock.ledger("part prompt")
    assert len(sent) - len(PROMPTS) <= sum(line.get("possibly_billed", 0) for line in lines)
    times = sorted(entry["t_start"] for entry in sent)
    assert times[-1] - times[0] > (len(PROMPTS) - 31 - 15) / 30  # a second's burst, and the loan of the dead


def test_ctrl_c_ends_all_processes_in_order(llmbatch: Command, start_mock: Callable[..., Mock], source: Path) -> None:
    mock = start_mock("--latency", "0.3")
    command = ("run", source, *mock("-o", "out/", "--part-size", "15", "-c", "2", "--processes", "2"))
    run = llmbatch.start(*command)
    until(lambda: len(mock.ledger("part prompt")) > 6)
    run.process.send_signal(signal.SIGINT)
    done = run.end()
    assert done.code == 130 and "\nnext" in done.stderr
    assert llmbatch("run", *command[1:]).code == 0
    assert len(mock.ledger("part prompt")) == len(PROMPTS)


def test_the_recipe_for_other_schedulers_runs_on_a_pool_of_its_own(
    llmbatch: Command, mock: Mock, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "llmbatch" / "help" / "parts.md").read_text()
    recipe = page.partition("## Other schedulers")[2].partition("```python\n")[2].partition("codes = ")[0]
    for name, value in (
        llmbatch.environment | {"LLMBATCH_BASE_URL": mock.base_url, "LLMBATCH_PART_SIZE": "15"}
    ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(LLMBATCH).parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(recipe, names)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(partial(names["work"], of=2), (1, 2))) == [0, 0]
    assert llmbatch("verify", source, "-o", "out/").code == 0


def test_the_batches_of_all_parts_are_listed_checked_given_up_and_collected(
    llmbatch: Command, start_mock: Callable[..., Mock], source: Path, tmp_path: Path
) -> None:
    mock = start_mock("--batch-delay", "0.5")
    command = ("run", source, *mock("-o", "out/", "--part-size", "30", "--batch-api", "--no-first-live"))
    assert llmbatch(*command, "--no-wait", "-q").code == 8
    tickets = llmbatch("batches", "out/", "--format", "json").results
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("out/part-*.jsonl"))
    assert len(files) > 1 and [ticket["file"] for ticket in tickets] == files
    assert sum(ticket["records"] for ticket in tickets) == 60
    checked = llmbatch("batches", "out/", "--check", "--format", "json").results
    assert all(one["status"] in ("validating", "in_progress", "finalizing", "completed") for one in checked)
    assert llmbatch("batches", "out/", "--give-up", tickets[1]["ticket"]).code == 0
    left = llmbatch("batches", "out/", "--format", "json").results
    assert [one["ticket"] for one in left] == [one["ticket"] for one in tickets if one != tickets[1]]
    done = llmbatch(*command)
    assert done.code == 0, done.stderr
    assert llmbatch("verify", source, "-o", "out/", "--format", "json").result["ok"] == 60

    (tmp_path / "out" / "run.json").write_text("{")
    damaged = llmbatch("batches", "out/")
    assert damaged.code == 2 and "run.json" in damaged.stderr
