"""Runs an inference server for the tests of this folder, and says how to ask it."""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["BIN", "CAP", "PATIENCE", "Served", "free_port", "make_model", "served"]

BIN = Path(__file__).parents[2] / ".venv-real" / "bin"
PATIENCE = 180.0
"""Loading torch takes a while, and so does a random model on a busy processor."""
CAP = 6
"""Tokens of an answer."""


class Served:
    """A server that is up, and the model it serves."""

    def __init__(self, url: str, model: str) -> None:
        self.url, self.model = url, model

    def __call__(self, *more: str) -> tuple[str, ...]:
        """Return the arguments that send a run here."""
        return ("--base-url", self.url, "-m", self.model, "--max-tokens", str(CAP), "-c", "4", *more)


def make_model(script: str, path: Path) -> None:
    """Have a script of this folder write its model to a path."""
    subprocess.run([BIN / "python", Path(__file__).with_name(script), path], check=True, env=_environment(path.parent))


def free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@contextmanager
def served(command: Sequence[str | Path], port: int, log: Path) -> Iterator[str]:
    """Run a server while the context lasts; yield its base URL once it is ready."""
    with open(log, "ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=_environment(log.parent), cwd=log.parent)
    try:
        end = time.monotonic() + PATIENCE
        while not _is_ready(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(folder),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "cache"),
    }
