"""Checks whether an open file still has its path and its length, or whether another program changed it."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["OpenFile", "Tampering"]


class Tampering(NamedTuple):
    """What another program did to a file, and what to do about it, both for people."""

    what: str
    remedy: str
    gone: bool = False
    """No name leads to the file any more: its content is lost when the descriptor is closed."""


class OpenFile:
    """An open file, and the name under which it was opened."""

    def __init__(self, fd: int, path: Path) -> None:
        self.fd = fd
        self.path = path
        self._file = _identity(os.fstat(fd))

    def tampering(self, size: int | None = None) -> Tampering | None:
        """Compare the file with the one that its path names now, and its length with `size`; None for no change."""
        # No other file has its device and inode while it is open, so the status of the path is enough.
        there = _at(self.path)
        if there is not None and _identity(there) == self._file:
            return None if size is None or there.st_size == size else self._changed(size, there.st_size)
        now = _present_name(self.fd)
        named = _at(now) if now is not None else None
        if named is not None and _identity(named) == self._file:
            return Tampering(f"{self.path} was moved to {now} during the run", f"Bring it back to {self.path}")
        if there is not None:
            return Tampering(f"{self.path} was replaced during the run", "Move away what is there now", gone=True)
        return Tampering(f"{self.path} was deleted during the run", "", gone=True)

    def _changed(self, size: int, now: int) -> Tampering:
        if now < size:
            return Tampering(
                f"somebody cut {self.path} from {size:,} to {now:,} bytes during the run",
                "Put back the lines that were cut off, if there is a copy",
            )
        return Tampering(f"somebody else wrote to {self.path} during the run", "See to it that this ends")


def _identity(file: os.stat_result) -> tuple[int, int]:
    return file.st_dev, file.st_ino


def _at(path: Path) -> os.stat_result | None:
    """Return the status of a name, links not followed; None if it is free."""
    try:
        return os.stat(path, follow_symlinks=False)
    except OSError:
        return None


def _present_name(fd: int) -> Path | None:
    """Return the present name of a file, if the system tells."""
    with suppress(OSError):
        return Path(os.readlink(f"/proc/self/fd/{fd}"))
    return None
