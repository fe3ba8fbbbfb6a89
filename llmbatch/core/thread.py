"""Starts a thread or raises: `threading.Thread.start` waits for ever when memory runs out while a thread begins."""

import _thread
from collections.abc import Callable

from llmbatch.core.errors import OutOfMemory
from llmbatch.core.system_limits import cannot_start

__all__ = ["start_thread"]

_PATIENCE = 10.0
"""Seconds for a thread to begin, which even a busy machine does sooner."""


def start_thread(work: Callable[[], None]) -> None:
    """Run `work` on a thread that does not keep the process alive. Raises UsageError or OutOfMemory."""
    begun = _thread.allocate_lock()
    begun.acquire()

    def run() -> None:
        begun.release()
        work()

    try:
        _thread.start_new_thread(run, ())
    except RuntimeError as error:
        raise cannot_start("a thread", error) from error
    if not begun.acquire(timeout=_PATIENCE):
        raise OutOfMemory
