"""Three runs on one key: they share a limit that the server announces, or one that it is silent about.

Run by `make scale`. The mock refuses what is beyond its limit; its ledger shows how much that was.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import LLMBATCH, Mock, lines_of, until
from tests.scale.driver import PATIENCE, most_within

RECORDS, RUNS = 240, 3


class Runs:
    """Runs on one machine that share limits by a name."""

    def __init__(self, folder: Path, *mock: str) -> None:
        self.folder, self.mock = folder, Mock(folder, *mock)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str) -> None:
        """Start them all, on inputs of their own."""
        for number in range(RUNS):
            source = self.folder / f"in-{number}.jsonl"
            source.write_text("".join(json.dumps({"prompt": f"scale {number} {n}"}) + "\n" for n in range(RECORDS)))
            given = self.mock("-o", f"out-{number}.jsonl", "--share-limits", "key", *options)
            environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(self.folder)}
            command = [LLMBATCH, "run", str(source), *map(str, given)]
            self.processes.append(subprocess.Popen(command, cwd=self.folder, env=environment, stderr=subprocess.PIPE))

    def end(self) -> None:
        """Wait for their ends; each record that was not killed with its run has one answer."""
        for number, process in enumerate(self.processes):
            said = process.communicate(timeout=2 * PATIENCE)[1].decode()
            if process.returncode != -signal.SIGKILL:
                assert process.returncode == 0, said
                lines = lines_of(self.folder / f"out-{number}.jsonl")
                assert [line["status"] for line in lines] == ["ok"] * RECORDS

    def close(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
        self.mock.close()


@pytest.fixture
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path, "--latency", "0.05", *request.param)
    yield runs
    runs.close()


@pytest.mark.xdist_group("announced")
@pytest.mark.parametrize("runs", [("--rpm", "1200", "--window", "1")], indirect=True)
def test_a_named_limit_is_kept_though_the_run_that_lends_it_is_killed(runs: Runs) -> None:
    runs.start("--rpm", "1100")
    until(lambda: len(runs.mock.ledger("scale")) > 200, patience=PATIENCE)
    serving = _who_serves(runs)
    serving.kill()
    runs.end()
    sent = runs.mock.ledger("scale")
    times = [entry["t_start"] for entry in sent]
    for seconds in (5.0, 10.0, 20.0):
        assert most_within(times, seconds) <= 1100 / 60 * (seconds + 3.0)


@pytest.mark.xdist_group("silent")
@pytest.mark.parametrize("runs", [("--rpm", "600", "--no-announce")], indirect=True)
def test_a_silent_limit_is_found_by_all_together(runs: Runs) -> None:
    runs.start("--max-concurrency", "10")  # so many may be refused together when the limit is met
    runs.end()
    sent = runs.mock.ledger("scale")
    assert sum(entry["status"] == 200 for entry in sent) == RUNS * RECORDS
    refused = sum(entry["status"] == 429 for entry in sent)
    assert refused <= 0.1 * len(sent), f"{refused} of {len(sent)} were refused"


@pytest.mark.xdist_group("silent second")
@pytest.mark.parametrize("runs", [("--rpm", "1200", "--window", "1", "--no-announce")], indirect=True)
def test_a_silent_limit_per_second_is_found_by_one_of_them(runs: Runs) -> None:
    runs.start()
    runs.end()
    sent = runs.mock.ledger("scale")
    refused = sum(entry["status"] == 429 for entry in sent)
    assert refused <= 0.4 * len(sent), f"{refused} of {len(sent)} were refused; all at once had 54 %"


def _who_serves(runs: Runs) -> "subprocess.Popen[bytes]":
    """Find the run that holds the socket on which limits are lent."""
    for process in runs.processes:
        for name in os.listdir(f"/proc/{process.pid}/fd"):
            try:
                if os.readlink(f"/proc/{process.pid}/fd/{name}").endswith(".limits.lock"):
                    return process
            except FileNotFoundError:
                continue
    raise AssertionError("no run serves the limits")
