"""The script for Slurm, as it is: preempted twice, submitted again blindly, with a model server of its own each time.

Run by `make scale`. Slurm is simulated: a process for each index, its variables, SIGTERM to the script.
"""

import json
import os
import socket
import subprocess
from collections import Counter
from pathlib import Path

from tests.docs import ROOT
from tests.e2e.command import LLMBATCH, lines_of, until

SCRIPT = ROOT / "samples" / "cluster" / "slurm.sbatch"
PROMPTS = [f"slurm prompt {number}" for number in range(120)]
PATIENCE = 100.0


def free_ports(count: int) -> list[int]:
    """Return ports of those that the script uses."""
    found: list[int] = []
    for port in range(20000 + os.getpid() % 5000, 30000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
        if len(found) == count:
            break
    return found


class Array:
    """An array of two workers, submitted as often as wanted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "in").mkdir()
        rows = "".join(json.dumps({"id": prompt, "prompt": prompt}) + "\n" for prompt in PROMPTS)
        (folder / "in" / "a.jsonl").write_text(rows)
        (folder / "serve").write_text(f'exec {LLMBATCH} mock --port "$5" --latency 0.1 --ledger ledger-$5.jsonl\n')

    def submit(self) -> "list[subprocess.Popen[bytes]]":
        """Start both workers, with the same command each time."""
        return [self._start(index, port) for index, port in enumerate(free_ports(2))]

    def sent(self) -> Counter[str]:
        """The requests so far, by prompt."""
        ledgers = self._folder.glob("ledger-*.jsonl")
        lines = [json.loads(line) for ledger in ledgers for line in ledger.read_bytes().splitlines() if line]
        return Counter(line["prompt"] for line in lines if "slurm prompt" in str(line.get("prompt")))

    def _start(self, index: int, port: int) -> "subprocess.Popen[bytes]":
        environment = {
            "PATH": f"{Path(LLMBATCH).parent}:{os.environ['PATH']}",
            "HOME": str(self._folder),
            "SERVER": "bash serve",
            "MODEL": "m",
            "LLMBATCH_PART_SIZE": "20",
            "LLMBATCH_CONCURRENCY": "2",
            "SLURM_JOB_ID": str(port),
            "SLURM_ARRAY_TASK_ID": str(index),
            "SLURM_ARRAY_TASK_MIN": "0",
            "SLURM_ARRAY_TASK_MAX": "1",
        }
        return subprocess.Popen(["bash", SCRIPT], cwd=self._folder, env=environment, stderr=subprocess.PIPE)


def test_an_array_that_is_preempted_twice_ends_complete_without_an_array_expression(tmp_path: Path) -> None:
    array = Array(tmp_path)
    for sent in (20, 50):
        workers = array.submit()
        until(lambda sent=sent: array.sent().total() > sent, patience=PATIENCE)  # type: ignore[misc]
        for worker in workers:
            worker.terminate()
        for worker in workers:
            said = worker.communicate(timeout=PATIENCE)[1].decode()
            assert worker.returncode == 143, said
    for worker in array.submit():
        said = worker.communicate(timeout=PATIENCE)[1].decode()
        assert worker.returncode == 0, said
    lines = [line for file in sorted(tmp_path.glob("out/part-*.jsonl")) for line in lines_of(file)]
    assert Counter(line["id"] for line in lines) == dict.fromkeys(PROMPTS, 1)
    assert array.sent().total() - len(PROMPTS) <= sum(line.get("possibly_billed", 0) for line in lines)
    subprocess.run([LLMBATCH, "verify", "in/", "-o", "out/"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
