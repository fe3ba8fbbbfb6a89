"""Runs of parts on a Ray cluster of two nodes: a node lost, the driver killed or interrupted, one limit, no cluster.

Run by `make scale`. The mock's ledger judges: nothing lost, nothing billed again that the books do not show.
"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scale.driver import Driver, most_within

pytestmark = pytest.mark.xdist_group("ray")

NewDriver = Callable[..., Driver]


@pytest.fixture
def new_driver(cluster: Any, tmp_path: Path) -> Iterator[NewDriver]:
    made: list[Driver] = []

    def new(*options: str, **more: Any) -> Driver:
        given = ("--engine", "ray", "--processes", "2", "--ray-address", cluster.address, *options)
        made.append(Driver(tmp_path, *given, **more))
        return made[0]

    yield new
    for driver in made:
        driver.close()


def test_a_node_that_is_lost_loses_nothing(cluster: Any, new_driver: NewDriver) -> None:
    driver = new_driver()
    lost = cluster.add_node(num_cpus=2)
    process = driver.start()
    driver.wait_for(300)
    cluster.remove_node(lost, allow_graceful=False)
    driver.ends(process)
    driver.check_complete()


def test_a_driver_that_is_killed_goes_on_with_the_same_command(new_driver: NewDriver) -> None:
    driver = new_driver()
    process = driver.start()
    driver.wait_for(300)
    process.kill()
    process.communicate()
    driver.ends(driver.start())
    driver.check_complete()


def test_ctrl_c_drains_all_nodes(new_driver: NewDriver) -> None:
    driver = new_driver()
    process = driver.start()
    driver.wait_for(100)
    process.send_signal(signal.SIGINT)
    said = driver.ends(process, 130)
    assert 100 < len(driver.sent()) < driver.records
    assert len(driver.lines()) == len(driver.sent()), f"what was in flight is answered and recorded: {said}"


def test_a_rate_holds_over_nodes_though_its_lender_dies(cluster: Any, new_driver: NewDriver) -> None:
    """No window has more than its share and what may be lent at once, also around the restart."""
    import ray

    a_second, at_once = 20.0, 3.0
    driver = new_driver("--rpm", "1200", "--share-limits", "keys", records=500, mock=("--latency", "0.02"))
    added = cluster.add_node(num_cpus=2)
    process = driver.start()
    driver.wait_for(200)
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    try:
        ray.kill(ray.get_actor("limits keys", namespace="llmbatch"), no_restart=False)
    finally:
        ray.shutdown()
    driver.ends(process)
    driver.check_complete()
    times = [entry["t_start"] for entry in driver.sent()]
    for seconds in (5.0, 10.0, 20.0):
        assert most_within(times, seconds) <= a_second * (seconds + at_once)
    cluster.remove_node(added, allow_graceful=True)


def test_a_node_without_llmbatch_is_named_with_what_to_install(
    cluster: Any, new_driver: NewDriver, tmp_path: Path
) -> None:
    driver = new_driver()
    (tmp_path / "llmbatch.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'llmbatch'\", name='llmbatch')\n"
    )
    without = cluster.add_node(num_cpus=4, env_vars={"PYTHONPATH": str(tmp_path)})
    try:
        said = driver.ends(driver.start("--processes", "4"), 2)
        assert "has no llmbatch" in said and "pip install 'llmbatch[ray]'" in said
    finally:
        cluster.remove_node(without, allow_graceful=True)


@pytest.mark.parametrize("named", ["--ray-address", "RAY_ADDRESS"])
def test_a_cluster_that_is_not_there_is_told_at_once(new_driver: NewDriver, named: str) -> None:
    driver = new_driver()
    place = driver.arguments.index("--ray-address")
    if named == "RAY_ADDRESS":
        del driver.arguments[place : place + 2]
        driver.environment["RAY_ADDRESS"] = "127.0.0.1:1"
    else:
        driver.arguments[place + 1] = "127.0.0.1:1"
    said = driver.ends(driver.start(), 4)
    assert "no Ray cluster at 127.0.0.1:1" in said and "Start one" in said
