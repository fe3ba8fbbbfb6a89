"""Every call that changes a file of a run, in one place, so that tests can make any of them fail."""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path

__all__ = [
    "append",
    "create",
    "cut",
    "free_name",
    "joined",
    "make_folder",
    "overwrite",
    "put",
    "remove",
    "remove_folder",
    "rename",
    "replace",
    "reserve",
    "set_mode",
    "sync",
    "sync_folder",
    "whole_file",
    "write_new",
]

_JOINED = 1 << 20
"""Bytes that are worth a write."""
_NOT_OFFERED = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)
"""What network file systems and those in user space answer to what they do not offer."""


def create(path: Path, *, exclusive: bool = False, appending: bool = True, mode: int = 0o600) -> int:
    """Open for reading and writing; a new file is private to its owner. A link at the end is never followed."""
    flags = os.O_RDWR | os.O_CREAT | (os.O_APPEND if appending else 0) | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.open(path, flags | (os.O_EXCL if exclusive else 0), mode)


def append(fd: int, data: bytes) -> None:
    """Write all of the data, at the end or at the position of the descriptor.

    Short writes are normal; the error comes with the next call.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def put(fd: int, data: bytes, at: int) -> None:
    """Write a few bytes at a place for which blocks are reserved."""
    os.pwrite(fd, data, at)


def cut(fd: int, size: int) -> None:
    """Cut a file back."""
    os.ftruncate(fd, size)


def reserve(fd: int, size: int) -> None:
    """Allocate the blocks of a file up to a size, so that small writes succeed although the disk is full."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
        end = os.fstat(fd).st_size
        os.pwrite(fd, bytes(max(0, size - end)), end)


def sync(fd: int) -> None:
    """Sync the bytes of a file to the disk. A failed sync is never repeated: the kernel may have dropped the pages."""
    os.fdatasync(fd)


def sync_folder(path: Path) -> None:
    """Sync the names in a folder to the disk, where the file system offers that and the folder may be opened."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # a folder of others, where we may only put files
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
    finally:
        os.close(fd)


@contextmanager
def whole_file(target: Path, *, scratch: Path | None = None, mode: int = 0o600) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that writes; the file gets its name when the context ends without an error.

    Until then it is `scratch`, or a new file beside the target with an unguessable name. A file that is replaced keeps
    its mode and, where that is allowed, its owner; `mode` is that of a new one. Only a regular file is replaced, and a
    link at the end of `target` is not followed. Raises OSError.
    """
    if scratch is None:
        stem = os.fsdecode(os.fsencode(target.name)[:100])
        scratch = target.with_name(f".{stem}.{os.urandom(8).hex()}.new")
    else:
        remove(scratch)
    fd = create(scratch, exclusive=True, mode=mode)
    try:
        if (replaced := _regular(target)) is not None:
            with suppress(OSError):
                os.fchown(fd, replaced.st_uid, replaced.st_gid)
            os.fchmod(fd, stat.S_IMODE(replaced.st_mode))
        yield partial(append, fd)
        sync(fd)
        _regular(target)
        os.rename(scratch, target)
    except BaseException:
        with suppress(OSError):
            remove(scratch)  # it takes up space on a disk that may be full
        raise
    finally:
        os.close(fd)
    sync_folder(target.parent)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet; it gets its name when all of it is on the disk.

    Raises FileExistsError when it exists: then nothing of it was changed. Raises OSError.
    """
    scratch = path.with_name(f".{path.name}.{os.urandom(8).hex()}.new")
    fd = create(scratch, exclusive=True, mode=0o666)
    try:
        append(fd, data)
        sync(fd)
        try:
            os.link(scratch, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            if path.exists():  # a file system without links: two writers of one moment have the same data
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            os.rename(scratch, path)
    finally:
        os.close(fd)
        remove(scratch)
    sync_folder(path.parent)


def overwrite(path: Path, data: bytes) -> None:
    """Write over a regular file in its place, where it cannot be replaced. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        _regular(path)
        os.ftruncate(fd, 0)
        append(fd, data)
        sync(fd)
    finally:
        os.close(fd)


def replace(scratch: Path, target: Path, chunks: Iterable[bytes]) -> None:
    """Write a new file as `scratch`, then rename it to `target`. Raises OSError."""
    with whole_file(target, scratch=scratch) as write:
        for chunk in chunks:
            write(chunk)


def joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join pieces into larger ones, so that few writes are needed."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _JOINED:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)


def _regular(path: Path) -> os.stat_result | None:
    """Return the status of a regular file, None for a free name. Raises OSError for anything else."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EEXIST, "it is not a regular file")
    return status


def rename(source: Path, target: Path) -> None:
    """Rename a file; a file that had the new name is gone."""
    os.rename(source, target)


def make_folder(path: Path) -> None:
    """Make a folder that is private to its owner."""
    os.mkdir(path, 0o700)


def remove_folder(path: Path) -> None:
    """Remove an empty folder."""
    os.rmdir(path)


def set_mode(path: Path, mode: int) -> None:
    """Set the mode of a file or folder."""
    os.chmod(path, mode)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def free_name(folder: Path, what: str, suffix: str) -> Path:
    """Return a free name with the present time in it."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (folder / f"{what}-{stamp}-{number}{suffix}" for number in count(1))
    return next(name for name in names if not name.exists())
