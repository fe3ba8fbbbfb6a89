"""The command lines: ours and the peers', each from a file of prompts to a file of results."""

import json
import sys
from pathlib import Path

__all__ = ["PEERS", "ours", "prompts", "written"]

HERE = Path(__file__).parent

PEERS = {
    "aiohttp and uvloop, worker pool": ("aiohttp_pool.py", "plain"),
    "aiohttp and uvloop, worker pool, orjson": ("aiohttp_pool.py", "orjson"),
    "openai client and uvloop, semaphore": ("openai_gather.py",),
    "httpx and uvloop, one shared client": ("httpx_pool.py",),
}
"""Name to script and first arguments; base URL, input, output and requests in flight follow."""


def peer(name: str, url: str, source: Path, output: Path, in_flight: int) -> list[str]:
    """Return the command line of a peer."""
    script, *first = PEERS[name]
    return [sys.executable, str(HERE / script), *first, url, str(source), str(output), str(in_flight)]


def ours(url: str, source: Path, output: Path, in_flight: int, *more: str) -> list[str]:
    """Return the command line of ours, beginning anew."""
    run = [sys.executable, "-m", "llmbatch", "run", str(source), "--base-url", url, "-m", "m"]
    return [*run, "-c", str(in_flight), "-o", str(output), "--overwrite", "-q", *more]


def prompts(path: Path, count: int) -> Path:
    """Write records of the usual kind."""
    with path.open("w") as out:
        for number in range(count):
            out.write(json.dumps({"id": number, "prompt": f"Write one sentence about the number {number}."}) + "\n")
    return path


def written(*paths: Path) -> int:
    """Count the lines of results."""
    total = 0
    for path in paths:
        with path.open("rb") as lines:
            total += sum(1 for _ in lines)
    return total
