"""Checks FILE.state/: it must be private, and hold nothing that would hang a run or lead it elsewhere."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from llmbatch.core.errors import UsageError
from llmbatch.results import disk

__all__ = ["LOCK", "check_folder", "is_empty", "make_folder", "remove_folder"]

LOCK = "lock"
"""The name of the file that is locked."""
_FOLDERS = frozenset(["moving", "replaced", "undone"])
"""The folders in it, which `results.replaced` makes; any others are left alone."""
_SCRATCH = ".new"
"""How the names of files end that replace others when they are complete. What is in their way would fail a run late."""
_OPEN_TO_OTHERS = 0o077
_WRITABLE_BY_OTHERS = 0o022

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def make_folder(folder: Path) -> None:
    """Make the folder, or make sure that an existing one is private to us.

    Raises UsageError for a folder that cannot be trusted, OSError.
    """
    while True:
        try:
            disk.make_folder(folder)
        except FileExistsError:
            with suppress(FileNotFoundError):  # a run that was refused has just removed it
                check_folder(folder)
                _make_private(folder)
                return
        else:
            disk.sync_folder(folder.parent)
            return


def is_empty(folder: Path) -> bool:
    """Say whether no run has left anything in the folder but its lock. Raises OSError."""
    return os.listdir(folder) in ([], [LOCK])


def check_folder(folder: Path) -> None:
    """Raise UsageError for a folder that is a link, or that holds anything but files and folders. Raises OSError."""
    if folder.is_symlink():
        raise UsageError(
            f"{folder} is a symbolic link: the user who made it could read what is kept there",
            "Replace it by what it leads to.",
        )
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # another run starts at this moment and has just renamed or removed it
                _check_entry(entry)


def _check_entry(entry: os.DirEntry[str]) -> None:
    kind = stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
    what = _KINDS.get(kind)
    if kind == stat.S_IFDIR and entry.name.endswith(_SCRATCH):
        what = "a folder"
    if what is not None:
        raise UsageError(
            f"{entry.path} is {what}, which llmbatch never puts there",
            "Remove it, then run the same command again.",
        )
    if kind == stat.S_IFDIR and entry.name in _FOLDERS:
        with os.scandir(entry) as inner:
            for one in inner:
                _check_entry(one)


def _make_private(folder: Path) -> None:
    """Take away the rights of others. Where a file system has no such rights, it is enough that we own the folder."""
    status = os.stat(folder)
    if not status.st_mode & _OPEN_TO_OTHERS:
        return
    try:
        disk.set_mode(folder, 0o700)
    except PermissionError:
        if status.st_mode & _WRITABLE_BY_OTHERS and status.st_uid not in (os.geteuid(), 0):
            raise UsageError(
                f"{folder} is of another user, and others may write to it", "Remove it, or choose another -o FILE."
            ) from None


def remove_folder(folder: Path) -> None:
    """Remove a folder of ours with the files in it, if it exists. Raises OSError.

    The lock goes last: once it is gone another run may begin, and what is there then is not ours. So a folder that is
    not empty after that stays.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    for name in sorted(names, key=LOCK.__eq__):
        disk.remove(folder / name)
    disk.remove_folder(folder)
