"""When the batches of a run took their steps, as its log of tickets grows."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = ["Step", "steps_of"]

LOOK = 0.01
"""Seconds between two looks."""


class Step(NamedTuple):
    """A step of one ticket; the first one of a run is `begin`."""

    at: float
    name: str
    ticket: str


@contextmanager
def steps_of(output: Path) -> Iterator[list[Step]]:
    """Yield what will hold the steps of the run that writes `output`, in the order in which they were seen."""
    log, over = output.with_name(f"{output.name}.state") / "tickets.jsonl", threading.Event()
    steps = [Step(time.monotonic(), "begin", "")]

    def watch() -> None:
        seen = 0
        while True:
            ended = over.wait(LOOK)
            data = log.read_bytes() if log.exists() else b""
            lines, now = data[seen:].split(b"\n")[:-1], time.monotonic()
            seen += sum(len(line) + 1 for line in lines)
            steps.extend(Step(now, entry["step"], entry.get("t", "")) for entry in map(json.loads, lines))
            if ended:
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield steps
    finally:
        over.set()
        watcher.join()
