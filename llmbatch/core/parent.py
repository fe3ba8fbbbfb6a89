"""Ends a child process when its parent has ended."""

import fcntl
import os
import select
import signal

__all__ = ["end_with_parent"]


def end_with_parent(fd: int) -> None:
    """Have the kernel end this process when the last holder of the other end of a pipe is gone. Raises OSError.

    `fd` is an end of a pipe that nothing passes through while both processes live: the kernel sends a signal when it
    changes. That needs no thread, which the system may refuse, and it ends a process that hangs, loops or is stopped.
    """
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)  # elsewhere it is SIGIO, which ends a process by default
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(fd, 0)  # reports hang-ups and nothing else
    if poll.poll(0):
        os._exit(1)  # the parent was gone before the kernel was asked
