"""A Ray cluster for all tests that need one, and a folder of its own for what Ray writes.

Only `make scale` has Ray: nothing here is imported by other tests.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Start a head without processors, and a node that does the work."""
    os.environ.update(
        RAY_AUTH_MODE="disabled",  # else Ray writes a token into the home folder
        RAY_health_check_initial_delay_ms="1000",  # so that a node that is lost is found lost soon
        RAY_health_check_period_ms="1000",
        RAY_health_check_failure_threshold="5",
    )
    import ray
    from ray.cluster_utils import Cluster

    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: the paths of sockets are limited
    # Ray writes the address of a cluster into its usual folder, which it does not make where another one is named.
    Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()), "ray").mkdir(exist_ok=True)
    started = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "temp_dir": str(folder)}
    )
    try:
        started.add_node(num_cpus=2)
        yield started
    finally:
        ray.shutdown()
        started.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
