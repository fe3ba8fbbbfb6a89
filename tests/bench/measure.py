"""What running a program costs: wall, CPU, peak memory, and what the server spent meanwhile."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.bench.servers import Server

__all__ = ["Figures", "Rounds", "run", "turns"]


class Figures(NamedTuple):
    """One run of one program. Seconds, and bytes: the memory of its processes at its peak."""

    wall: float
    cpu: float
    server: float
    memory: int


Rounds = list[Figures]

LOOK = 0.05
"""Seconds between two looks at a program's memory."""


def run(*commands: Sequence[str], server: Server | None = None, home: Path) -> Figures:
    """Run programs side by side to their ends; `cpu` is theirs and their children's. Exits when one fails."""
    spent, began = server.cpu() if server else 0.0, time.monotonic()
    processes = [subprocess.Popen(command, env=environment(home), stdout=subprocess.DEVNULL) for command in commands]
    cpu = 0.0
    with _peak([process.pid for process in processes]) as peak:
        for process in processes:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                sys.exit(f"{process.args!r} ended with {process.returncode}")
            cpu += usage.ru_utime + usage.ru_stime
        wall = time.monotonic() - began
    return Figures(wall, cpu, server.cpu() - spent if server else 0.0, peak[0])


@contextmanager
def _peak(pids: Sequence[int]) -> Iterator[list[int]]:
    """Watch processes and their descendants; yield what will hold their memory at its peak, in bytes.

    Pages that several of them share, as a forked one does, count once.
    """
    peak = [0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK):
            family, total = [*pids], 0
            for pid in family:
                with suppress(OSError):
                    family += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
                    if found := re.search(r"Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text()):
                        total += int(found[1]) * 1024
            peak[0] = max(peak[0], total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def environment(home: Path) -> dict[str, str]:
    """Return an environment with a key and without anybody's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LLMBATCH_")}
    return kept | {"LLMBATCH_API_KEY": "key", "XDG_CONFIG_HOME": str(home)}


def turns(programs: Mapping[str, Callable[[], Figures]], rounds: int) -> dict[str, Rounds]:
    """Run each program once a round, every other round in reverse order, so that what drifts meets all alike."""
    figures: dict[str, Rounds] = {name: [] for name in programs}
    for number in range(rounds):
        for name in list(programs)[:: -1 if number % 2 else 1]:
            figures[name].append(programs[name]())
    return figures
