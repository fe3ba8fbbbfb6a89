"""Calls a function at intervals, on a thread of its own, while a context lasts."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["ticking"]


@contextmanager
def ticking(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    """Call `do` every so many seconds, not at the beginning nor at the end."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(seconds):
            do()

    thread = threading.Thread(target=tick, name="ticking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
