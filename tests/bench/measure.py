"""What running a program costs: wall, CPU, peak memory, and what the server spent meanwhile."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench.servers import Server

__all__ = ["Figures", "Rounds", "run", "turns"]


class Figures(NamedTuple):
    """One run of one program. Seconds, and bytes of its largest process."""

    wall: float
    cpu: float
    server: float
    memory: int


Rounds = list[Figures]


def run(*commands: Sequence[str], server: Server | None = None, home: Path) -> Figures:
    """Run programs side by side to their ends; `cpu` is theirs and their children's. Exits when one fails."""
    spent, began = server.cpu() if server else 0.0, time.monotonic()
    processes = [subprocess.Popen(command, env=environment(home), stdout=subprocess.DEVNULL) for command in commands]
    cpu, memory = 0.0, 0
    for process in processes:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{process.args!r} ended with {process.returncode}")
        cpu += usage.ru_utime + usage.ru_stime
        memory = max(memory, usage.ru_maxrss * 1024)  # never below this process's own, which is why it stays small
    return Figures(time.monotonic() - began, cpu, server.cpu() - spent if server else 0.0, memory)


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
