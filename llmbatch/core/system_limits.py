"""What the system allows a process: open files, threads, other processes, memory."""

import errno
import mmap
import os
import resource
from collections.abc import Iterator
from contextlib import suppress

from llmbatch.core.errors import LlmbatchError, OutOfMemory, OutOfResources, UsageError

__all__ = ["OUT_OF_FILES", "allow_open_files", "cannot_start", "check_memory", "check_open_files", "explain_shortage"]

OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)
"""Error numbers: too many files are open, in this process or in the system."""
_FILES_HINT = "Raise `ulimit -n`, then run the same command again."
_THREADS_HINT = (
    "Raise the limit of processes (`ulimit -u`, a container's pids) or of memory (`ulimit -v`), then run it again."
)


def allow_open_files(wanted: int) -> int:
    """Raise this process's limit of open files to `wanted` if the system permits; return the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with suppress(OSError, ValueError):  # macOS refuses more than it can hold, whatever the hard limit says
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        return limit
    return soft


def check_open_files(count: int) -> None:
    """Check that `count` more files can be opened, by opening them. Raises UsageError."""
    taken: list[int] = []
    try:
        while len(taken) < count:
            taken += os.pipe()
    except OSError as error:
        if error.errno not in OUT_OF_FILES:
            raise
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        raise UsageError(
            f"too few files may be open: the limit is {limit}, and a run opens {count} before its first request",
            _FILES_HINT,
        ) from error
    finally:
        for fd in taken:
            os.close(fd)


def check_memory(size: int) -> None:
    """Check that so much more address space is allowed, by taking it. Raises UsageError.

    Libraries in C crash in many places where there is a little less than they need.
    """
    try:
        mmap.mmap(-1, size).close()
    except (OSError, MemoryError) as error:
        raise UsageError(
            f"there is too little memory: a run takes {size >> 20} MB before its first request",
            "Raise `ulimit -v`, then run the same command again.",
        ) from error


def cannot_start(what: str, error: OSError | RuntimeError) -> LlmbatchError:
    """Explain why a process or a thread does not start. For use before the first request is sent."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    shortage = _shortage(error)
    if isinstance(shortage, OutOfMemory):
        return shortage
    if isinstance(error, RuntimeError) or error.errno == errno.EAGAIN:
        return UsageError(f"cannot start {what}: {reason}", _THREADS_HINT)
    if error.errno in OUT_OF_FILES:
        return UsageError(f"cannot start {what}: {reason}", _FILES_HINT)
    return LlmbatchError(f"cannot start {what}: {reason}", "Allow another process (ulimit -u), or free memory.")


def explain_shortage(error: BaseException) -> LlmbatchError | None:
    """Return an error for people if the system refused memory, a thread, a process or an open file; else None.

    Looks at causes and at the members of groups, too: what fails first often breaks the cleaning up after it.
    """
    for cause in _causes(error):
        shortage = _shortage(cause)
        if shortage is not None:
            shortage.__cause__ = cause
            return shortage
    return None


def _shortage(error: BaseException) -> LlmbatchError | None:
    if isinstance(error, MemoryError):
        return OutOfMemory()
    number = error.errno if isinstance(error, OSError) else _loader_errno(error)
    if number in OUT_OF_FILES:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return OutOfResources(f"too many files are open: the limit of this process is {limit}", _FILES_HINT)
    if number == errno.ENOMEM:
        return OutOfMemory()
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return OutOfResources("the system refuses another thread", _THREADS_HINT)
    return None


def _loader_errno(error: BaseException) -> int | None:
    """Return the number of the error why a module could not be loaded; the loader only tells its text."""
    if not isinstance(error, ImportError):
        return None
    text = str(error).lower()
    if os.strerror(errno.EMFILE).lower() in text:
        return errno.EMFILE
    if os.strerror(errno.ENOMEM).lower() in text or "failed to map segment" in text:
        return errno.ENOMEM
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Go through an error, what it groups, and what led to it; each one once."""
    waiting, seen = [error], set[int]()
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [cause for cause in (current.__context__, current.__cause__) if cause is not None]
        if isinstance(current, BaseExceptionGroup):
            waiting += reversed(current.exceptions)
