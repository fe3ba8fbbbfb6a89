"""Runs the built-in mock provider in a process of its own, which ends when this one does, even by a crash."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from llmbatch.core.errors import LlmbatchError
from llmbatch.core.system_limits import cannot_start

__all__ = ["mock_process"]

_NAME = "the built-in mock provider"


@contextmanager
def mock_process(batch_dir: str | None = None) -> Iterator[str]:
    """Start the mock on a free loopback port; yield its base URL; stop it at the end. Raises LlmbatchError.

    It lives as long as its stdin is open, so it ends even if this process is killed. Its batches outlive it in
    `batch_dir`, where the next one finds them, as a real provider's batches outlive a run.
    """
    folder = ["--batch-dir", batch_dir] if batch_dir is not None else []
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "llmbatch.mock", *folder],  # -P: do not import from the working folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # so that Ctrl-C does not end the mock, which has to answer what is in flight
            text=True,
        )
    except OSError as error:
        raise cannot_start(_NAME, error) from error
    with process:
        assert process.stdin is not None and process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise LlmbatchError(
                    f"{_NAME} did not start: it ended with {process.wait()}",
                    "It needs open files (ulimit -n) and memory (ulimit -v); the lines above may say which.",
                )
            yield url
        finally:
            process.terminate()
            process.stdin.close()
