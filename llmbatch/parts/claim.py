"""Claims a part beside its lock: some file systems of clusters keep locks to the machine that asked for them.

A claim is a file that only one worker can make. It names the machine, its boot and the process, and is renewed while
the work lasts. It is taken over when its process is known to be gone, or when it was not renewed for long. Times are
those of the file system, since the clocks of two machines differ.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from llmbatch.codec import json
from llmbatch.core.errors import OutputBusy
from llmbatch.core.thread import start_thread
from llmbatch.results import disk
from llmbatch.results.storage import boot

__all__ = ["EXPIRES", "claimed"]

RENEWED_EVERY = 60.0
EXPIRES = 300.0
"""Seconds without a renewal after which the owner counts as gone."""


@contextmanager
def claimed(path: Path, results: Path) -> Iterator[None]:
    """Hold the claim at `path` while the context lasts. Raises OutputBusy, which names the holder; OSError."""
    me = json.dumps(_owner() | {"claim": os.urandom(8).hex()})
    while not _make(path, me):
        with suppress(FileNotFoundError):  # given up at this moment
            text = path.read_bytes()
            holder = _holder(path, text)
            if holder is None and _take_over(path, text, me):
                break
            raise OutputBusy(
                f"{results} is held by another run: {holder or 'one that takes it over'}", "Wait for it, or stop it."
            )
    over = threading.Event()

    def renew() -> None:
        while not over.wait(RENEWED_EVERY):
            with suppress(OSError):
                os.utime(path)

    start_thread(renew)
    try:
        yield
    finally:
        over.set()
        with suppress(OSError):
            if path.read_bytes() == me:
                disk.remove(path)


def _owner() -> dict[str, Any]:
    try:
        processes = os.readlink("/proc/self/ns/pid")
    except OSError:
        processes = ""
    pid = os.getpid()
    return {"host": socket.gethostname(), "boot": boot(), "processes": processes, "pid": pid, "began": _began(pid)}


def _make(path: Path, me: bytes) -> bool:
    try:
        disk.write_new(path, me)
    except FileExistsError:
        return False
    return True


def _holder(path: Path, claim: bytes) -> str | None:
    """Name who holds a claim, None if nobody does any more."""
    renewed = path.stat().st_mtime
    try:
        owner, me = json.loads(claim), _owner()
        is_here = all(owner[name] == me[name] for name in ("host", "boot", "processes"))
        text = f"process {owner['pid']} on {owner['host']}"
    except (ValueError, TypeError, KeyError):
        return None  # damaged: nobody could say that it is his
    if is_here:
        is_alive = owner["began"] is not None and _began(owner["pid"]) == owner["began"]
        return text if is_alive and owner["pid"] != me["pid"] else None
    return text if _now(path) - renewed < EXPIRES else None


def _began(pid: int) -> str | None:
    """Return what tells a process from a later one of the same number; None if it is not alive."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else fields[18]
    except FileNotFoundError:
        if os.path.exists("/proc/self/stat"):
            return None
    try:  # a system without /proc
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return ""


def _now(path: Path) -> float:
    """Return the time of the file system."""
    probe = path.with_name(f".{path.name}.{os.urandom(8).hex()}.now")
    os.close(disk.create(probe, exclusive=True))
    try:
        return probe.stat().st_mtime
    finally:
        disk.remove(probe)


def _take_over(path: Path, claim: bytes, me: bytes) -> bool:
    """Replace the claim of an owner that is gone; False if another worker does.

    A file with the digest of the old claim in its name says who may: it can be made once, and no claim comes twice.
    """
    token = path.with_name(f".{path.name}.{blake2b(claim, digest_size=8).hexdigest()}.taken")
    if not _make(token, me):
        if _now(path) - token.stat().st_mtime >= EXPIRES:  # the process that made it is gone, too
            disk.remove(token)
        return False
    with disk.whole_file(path) as write:
        write(me)
    return True
