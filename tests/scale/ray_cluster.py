"""Runs of parts on a Ray cluster of two nodes: a node lost, the driver killed or interrupted, one limit, no cluster.

Run by `make scale`. The mock's ledger judges: nothing lost, nothing billed again that the books do not show.
"""

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["RAY_AUTH_MODE"] = "disabled"  # else Ray writes a token into the home folder

from ray.cluster_utils import Cluster

from tests.e2e.command import LLMBATCH, Mock, lines_of, until

RECORDS = 1200
PATIENCE = 100.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start a head without processors, and a node that does the work."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.add_node(num_cpus=2)
    yield cluster
    cluster.shutdown()


class Driver:
    """The command on the cluster, with a mock that answers after a while."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._folder = folder
        source = folder / "in.jsonl"
        source.write_text("".join(json.dumps({"id": n, "prompt": f"ray prompt {n}"}) + "\n" for n in range(RECORDS)))
        self.mock = Mock(folder, "--latency", "0.1")
        options = self.mock("-o", "out/", "--part-size", "300", "-c", "10", "--engine", "ray", "--processes", "2")
        self.arguments = [LLMBATCH, "run", str(source), *map(str, options), "--ray-address", cluster.address]

    def start(self, *more: str) -> "subprocess.Popen[bytes]":
        """Start it."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._folder), "RAY_AUTH_MODE": "disabled"}
        return subprocess.Popen([*self.arguments, *more], cwd=self._folder, env=environment, stderr=subprocess.PIPE)

    def wait_for(self, requests: int) -> None:
        """Wait until so many requests were sent."""
        until(lambda: self.sent > requests, patience=PATIENCE)

    @property
    def sent(self) -> int:
        """The requests so far."""
        return len(self.mock.ledger("ray prompt"))

    def check(self, process: "subprocess.Popen[bytes]") -> None:
        """Check that each record has one result, and that the books show what was sent twice."""
        said = process.communicate(timeout=PATIENCE)[1].decode()
        assert process.returncode == 0, said
        lines = [line for file in sorted(self._folder.glob("out/part-*.jsonl")) for line in lines_of(file)]
        assert Counter(line["id"] for line in lines) == dict.fromkeys(range(RECORDS), 1)
        assert self.sent - RECORDS <= sum(line.get("possibly_billed", 0) for line in lines)


@pytest.fixture
def driver(cluster: Cluster, tmp_path: Path) -> Iterator[Driver]:
    driver = Driver(cluster, tmp_path)
    yield driver
    driver.mock.close()


def test_a_node_that_is_lost_loses_nothing(cluster: Cluster, driver: Driver) -> None:
    lost = cluster.add_node(num_cpus=2)
    process = driver.start()
    driver.wait_for(300)
    cluster.remove_node(lost, allow_graceful=False)
    driver.check(process)


def test_a_driver_that_is_killed_goes_on_with_the_same_command(driver: Driver) -> None:
    process = driver.start()
    driver.wait_for(300)
    process.kill()
    process.communicate()
    driver.check(driver.start())


def test_ctrl_c_drains_all_nodes(driver: Driver) -> None:
    process = driver.start()
    driver.wait_for(100)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=PATIENCE)[1].decode()
    assert process.returncode == 130, said
    assert 100 < driver.sent < RECORDS


def test_a_cluster_that_is_not_there_is_told(driver: Driver) -> None:
    driver.arguments[-1] = "127.0.0.1:1"
    process = driver.start()
    said = process.communicate(timeout=PATIENCE)[1].decode()
    assert process.returncode == 4, said
    assert "no Ray cluster at 127.0.0.1:1" in said
