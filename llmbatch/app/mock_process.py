"""The built-in mock provider in a process of its own, which ends with ours however ours ends."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from llmbatch.core.errors import LlmbatchError

__all__ = ["mock_process"]


@contextmanager
def mock_process() -> Iterator[str]:
    """Start the mock on a free loopback port; yield its base URL; stop it at the end.

    It lives as long as its stdin is open, so even a SIGKILL of ours ends it.
    """
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "llmbatch.mock"],  # -P: not what the working directory calls so
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is ours to handle: the mock has to answer what is in flight
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise LlmbatchError("the built-in mock provider did not start")
            yield url
        finally:
            process.stdin.close()
            process.terminate()
