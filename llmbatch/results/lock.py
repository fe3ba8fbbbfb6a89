"""One run per results file: a lock that dies with its owner."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from llmbatch.core.errors import OutputBusy

__all__ = ["holder_of", "locked"]


@contextmanager
def locked(path: Path, results: Path) -> Iterator[None]:
    """Hold the lock file at `path` for as long as the context lasts. Raises OutputBusy, which names the holder.

    The kernel releases the lock when the process ends in any way, so there are no stale locks.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 200, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(fd)
            raise OutputBusy(f"{results} is held by another run: {holder}", "Wait for it, or stop it.") from None
        if _is_at(fd, path):
            break
        os.close(fd)  # the file was replaced between our open and our lock
    try:
        os.ftruncate(fd, 0)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()} since {now}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def holder_of(fd: int) -> str:
    """Name the process that holds a lock on an open file, if the system tells."""
    inode = f":{os.fstat(fd).st_ino}"
    with suppress(OSError), open("/proc/locks", "rb") as locks:
        for words in (line.decode().split() for line in locks):
            if words[1:2] == ["FLOCK"] and any(word.endswith(inode) for word in words):
                return f"process {words[4]}"
    return "another process"


def _is_at(fd: int, path: Path) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino)
