"""Something done every so often, on a thread of its own, while a context lasts."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["ticking"]


@contextmanager
def ticking(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    """Do it every so many seconds; not at the beginning and not at the end."""
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
