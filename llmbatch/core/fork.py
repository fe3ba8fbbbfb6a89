"""Runs a function in a copy of this process, on another core, and takes over its result."""

import gc
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

from llmbatch.core.parent import end_with_parent

__all__ = ["Forked", "can_fork", "forked"]

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PIECE = 1 << 20


def can_fork() -> bool:
    """Say whether a copy of this process would be safe, and would have a core of its own.

    A copy has one thread, and what others were doing stays half done in it.
    """
    return sys.platform == "linux" and len(os.listdir("/proc/self/task")) == 1 and len(os.sched_getaffinity(0)) > 1


class Forked(Generic[T]):
    """A function at work in a child process."""

    def __init__(self, pid: int, results: int) -> None:
        self._pid, self._results = pid, results

    def result(self) -> T | None:
        """Wait for the result; None when the function raised an exception, or the child process was ended."""
        pieces = []
        while piece := os.read(self._results, _PIECE):
            pieces.append(piece)
        with suppress(EOFError, pickle.UnpicklingError):  # the child process ended before it had written all
            result: T = pickle.loads(b"".join(pieces))
            return result
        return None

    def end(self) -> None:
        """End the child process, whatever it is doing."""
        os.close(self._results)
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


@contextmanager
def forked(function: Callable[[], T], *, files: Sequence[int] = ()) -> Iterator[Forked[T] | None]:
    """Run a function in a child process as long as the context lasts; None where the system refuses one.

    The child ends when this process does. Of its open files it has the standard ones and `files`, each opened anew: it
    holds none of the locks of this process.
    """
    results, sender = os.pipe()
    alive, held = os.pipe()
    try:
        with warnings.catch_warnings():  # of threads, which `can_fork` has looked for
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    except OSError:
        pid = -1
    if pid == 0:
        _work(function, sender, alive, files)
    os.close(sender)
    os.close(alive)
    if pid < 0:
        os.close(results)
        os.close(held)
        yield None
        return
    child = Forked[T](pid, results)
    try:
        yield child
    finally:
        child.end()
        os.close(held)


def _work(function: Callable[[], object], sender: int, alive: int, files: Sequence[int]) -> None:
    """Be the child process."""
    status = 1
    try:
        for signum in _SIGNALS:
            signal.signal(signum, signal.SIG_DFL)
        gc.disable()  # its memory is shared with the parent as long as nothing writes to it
        _close_others({sender, alive, *files})
        for fd in files:
            again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
            os.dup2(again, fd, inheritable=False)
            os.close(again)
        end_with_parent(alive)
        view = memoryview(pickle.dumps(function(), protocol=5))
        while view:
            view = view[os.write(sender, view) :]
        status = 0
    finally:
        os._exit(status)  # what the function raised is found out by who does the same work again


def _close_others(kept: set[int]) -> None:
    """Close all files but the standard ones and these."""
    first = 3
    for fd in sorted(kept):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
