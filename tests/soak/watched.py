"""The command, with a thread that writes down what it holds: memory, descriptors, sockets, tasks.

Usage: python -m tests.soak.watched SAMPLES run ...
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

EVERY = 0.5
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Watch:
    """Writes a JSON line for each sample; each is one write."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._run = anyio.run
        self._over = threading.Event()

    def run_main(self, main: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """Stand in for `anyio.run`, to get hold of the loop."""

        async def noted(*args: Any) -> Any:
            self._loop = asyncio.get_running_loop()
            try:
                return await main(*args)
            finally:
                self._loop = None
                mine = asyncio.current_task()
                left = [task for task in asyncio.all_tasks() if task is not mine]
                self.write(left_tasks=len(left))

        before = sockets()
        try:
            return self._run(noted, *args, **options)
        finally:
            self.write(left_sockets=len(sockets() - before))

    def watch(self) -> None:
        """Sample until the end."""
        while not self._over.wait(EVERY):
            loop = self._loop
            if loop is not None:
                self.write(
                    rss=resident(), fds=len(os.listdir("/proc/self/fd")), sockets=len(sockets()), tasks=tasks_of(loop)
                )

    def write(self, **what: int) -> None:
        """Write one line down."""
        os.write(self._fd, json.dumps({"t": time.time(), "pid": os.getpid(), **what}).encode() + b"\n")


def resident() -> int:
    """Return the resident set in bytes."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE


def sockets() -> set[str]:
    """Return the names of this process's sockets. That to the transport process is there before a run only."""
    names = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            names.add(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return {name for name in names if name.startswith("socket:")}


def tasks_of(loop: asyncio.AbstractEventLoop) -> int:
    """Count the tasks of a loop that runs on another thread."""
    try:
        return len(asyncio.all_tasks(loop))
    except RuntimeError:  # it changed while it was counted, again and again
        return -1


if __name__ == "__main__":
    watch = Watch(sys.argv[1])
    anyio.run = watch.run_main  # type: ignore[assignment]
    threading.Thread(target=watch.watch, daemon=True).start()
    sys.argv = ["llmbatch", *sys.argv[2:]]
    from llmbatch.cli.entry import entry

    entry()
