"""Every call that changes a file of a run, in one place, so that tests can make any of them fail."""

import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

__all__ = ["append", "aside", "create", "cut", "remove", "replace", "reserve", "sync", "sync_folder"]


def create(path: Path, *, exclusive: bool = False, appending: bool = True) -> int:
    """Open for reading and writing; a new file is private to its owner. Never follows a link planted at the end."""
    flags = os.O_RDWR | os.O_CREAT | (os.O_APPEND if appending else 0) | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.open(path, flags | (os.O_EXCL if exclusive else 0), 0o600)


def append(fd: int, data: bytes) -> None:
    """Write all of it, at the end or where the descriptor stands.

    Short writes are normal; the error comes with the next call.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def cut(fd: int, size: int) -> None:
    """Cut a file back."""
    os.ftruncate(fd, size)


def reserve(fd: int, size: int) -> None:
    """Give a file real blocks up to a size: a store into a mapped hole on a full disk would be a SIGBUS."""
    os.posix_fallocate(fd, 0, size)


def sync(fd: int) -> None:
    """Put a file's bytes on the disk. A failed sync is never tried again: the kernel may have dropped the pages."""
    os.fdatasync(fd)


def sync_folder(path: Path) -> None:
    """Put the names in a folder on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace(source: Path, target: Path, chunks: Iterable[bytes]) -> None:
    """Write `source` anew, sync it, and give it the name `target`: whole or not at all, whenever the power fails.

    A file that is replaced keeps its mode.
    """
    remove(source)
    fd = create(source, exclusive=True)
    try:
        with suppress(FileNotFoundError):
            os.fchmod(fd, stat.S_IMODE(target.stat().st_mode))
        for chunk in chunks:
            append(fd, chunk)
        sync(fd)
        os.rename(source, target)
    except BaseException:
        with suppress(OSError):
            remove(source)  # it would take the room that is missing
        raise
    finally:
        os.close(fd)
    sync_folder(target.parent)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def aside(folder: Path, what: str, suffix: str) -> Path:
    """Return a name that is not taken, whatever the clock says."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (folder / f"{what}-{stamp}-{number}{suffix}" for number in count(1))
    return next(name for name in names if not name.exists())
