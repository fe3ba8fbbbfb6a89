"""Workers on one machine: killed with all of their processes, and continued by the same command.

Run by `make scale`. The mock's ledger judges.
"""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import children_of
from tests.scale.driver import PATIENCE, Driver

pytestmark = pytest.mark.xdist_group("local")


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    driver = Driver(tmp_path)
    yield driver
    driver.close()


def test_two_processes_of_which_one_is_killed_lose_nothing(driver: Driver) -> None:
    process = driver.start("--processes", "2")
    driver.wait_for(200)
    workers = [pid for pid in children_of(process.pid) if b"parts.process" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    driver.ends(process)
    driver.check_complete()


@pytest.mark.parametrize("policy", ["retry", "hold"])
def test_two_workers_of_an_array_of_which_one_is_killed(driver: Driver, policy: str) -> None:
    options = ("--in-doubt", policy)
    first, second = (driver.start("--shard", f"{number}/2", *options) for number in (1, 2))
    driver.wait_for(200)
    first.kill()
    first.communicate()
    driver.ends(second)
    again = driver.start("--shard", "1/2", *options)
    if policy == "retry":
        driver.ends(again)
        driver.check_complete()
    else:
        again.communicate(timeout=PATIENCE)
        assert again.returncode == 7, "what was in flight is held"
        assert max(Counter(entry["prompt"] for entry in driver.sent()).values()) == 1, "nothing is billed twice"
