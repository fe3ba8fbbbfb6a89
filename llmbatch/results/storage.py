"""Identifies the storage of a file: while it stays the same, bytes that were written and never synced are still there.

Such bytes outlive the process that wrote them. They are lost when the machine goes down, and also when a file system
is mounted again: after a disk dropped out, from a snapshot, in another container.
"""

import ctypes
import os
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

__all__ = ["boot", "storage_of"]

_AT_FDCWD = -100
_MOUNT, _UNIQUE_MOUNT = 0x1000, 0x4000
"""Flags of statx for the number of the mount; since Linux 6.8 for one that no later mount will have."""
_MASK, _MOUNT_ID = slice(0, 4), slice(144, 152)
"""The fields of statx's result: which of them are set, and the number of the mount."""


def storage_of(folder: Path) -> bytes:
    """Return 16 bytes that name this boot of the machine and this mount of the file system of a folder.

    Before Linux 6.8 a mount may get the number of an earlier one; on other systems all mounts count as one.
    """
    return blake2b(f"{boot()} {folder.stat().st_dev} {_mount(folder)}".encode(), digest_size=16).digest()


def boot() -> str:
    """Name this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"boot {round((time.time() - time.monotonic()) / 60)}"


def _mount(folder: Path) -> int:
    answer = ctypes.create_string_buffer(256)
    with suppress(AttributeError, OSError):  # no such call, or no such library
        statx = ctypes.CDLL(None).statx
        for wanted in (_UNIQUE_MOUNT, _MOUNT):
            failed = statx(_AT_FDCWD, os.fsencode(folder), 0, wanted, answer)
            if not failed and int.from_bytes(answer.raw[_MASK], "little") & wanted:
                return int.from_bytes(answer.raw[_MOUNT_ID], "little")
    return 0
