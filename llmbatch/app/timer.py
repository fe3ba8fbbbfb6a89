"""Calls a function at intervals, on a thread of its own, while a context lasts."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llmbatch.core.thread import start_thread

__all__ = ["ticking"]


@contextmanager
def ticking(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    """Call `do` every so many seconds, not at the beginning nor at the end."""
    over, ended = threading.Event(), threading.Event()

    def tick() -> None:
        try:
            while not over.wait(seconds):
                do()
        finally:
            ended.set()

    start_thread(tick)
    try:
        yield
    finally:
        over.set()
        ended.wait()
