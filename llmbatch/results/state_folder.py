"""Checks FILE.state/: it must be private, and hold nothing that would hang a run or lead it elsewhere."""

import os
import stat
from pathlib import Path

from llmbatch.core.errors import UsageError
from llmbatch.results import disk

__all__ = ["check_folder", "make_folder", "remove_folder"]

_OPEN_TO_OTHERS = 0o077
_WRITABLE_BY_OTHERS = 0o022

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def make_folder(folder: Path) -> bool:
    """Make the folder, or make sure that an existing one is private to us; say whether it is new.

    Raises UsageError for a folder that cannot be trusted, OSError.
    """
    try:
        disk.make_folder(folder)
    except FileExistsError:
        check_folder(folder)
        _make_private(folder)
        return False
    disk.sync_folder(folder.parent)
    return True


def check_folder(folder: Path) -> None:
    """Raise UsageError for a folder that is a link, or that holds anything but files and folders. Raises OSError."""
    if folder.is_symlink():
        raise UsageError(
            f"{folder} is a symbolic link, and whoever made it may read what is kept there",
            "Replace it by what it leads to.",
        )
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                kind = stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
            except FileNotFoundError:  # another run starts at this moment and has just renamed or removed it
                continue
            if kind in _KINDS:
                raise UsageError(
                    f"{entry.path} is {_KINDS[kind]}, which llmbatch never puts there",
                    "Remove it, then run the same command again.",
                )


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
    """Remove a folder of ours with the files in it, if it exists. Raises OSError."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        disk.remove(folder / name)
    disk.remove_folder(folder)
