"""Whether a file that is held open is still what its path names, and as long as it was left."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["Tampering", "tampering"]


class Tampering(NamedTuple):
    """What somebody else did to a file, and what has to be done about it, both for people."""

    what: str
    remedy: str
    gone: bool = False
    """No name leads to the file any more: what it holds ends with the descriptor."""


def tampering(fd: int, path: Path, size: int | None = None) -> Tampering | None:
    """Compare an open file with what its path names now, and its length with `size`; None when all is as it was."""
    mine = os.fstat(fd)
    if not _leads_to(path, mine):
        now = _name_of(fd)
        if mine.st_nlink and now is not None and _leads_to(now, mine):
            return Tampering(f"{path} was moved to {now} during the run", f"Bring it back to {path}")
        if path.exists():
            return Tampering(f"{path} was replaced during the run", "Move away what is there now", gone=True)
        return Tampering(f"{path} was deleted during the run", "", gone=True)
    if size is None or mine.st_size == size:
        return None
    if mine.st_size < size:
        return Tampering(
            f"somebody cut {path} from {size:,} to {mine.st_size:,} bytes during the run",
            "Put back the lines that were cut off, if there is a copy",
        )
    return Tampering(f"somebody else wrote to {path} during the run", "See to it that this ends")


def _leads_to(path: Path, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), file)
    except OSError:
        return False


def _name_of(fd: int) -> Path | None:
    """Return the name that the system knows a file by now, if it tells."""
    with suppress(OSError):
        return Path(os.readlink(f"/proc/self/fd/{fd}"))
    return None
