"""A stand-in for the `os` that `llmbatch.results.disk` uses: it counts what changes a file, and strikes once."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmbatch.results import disk

__all__ = ["Trap", "lay"]


@dataclass(frozen=True)
class Trap:
    """What happens at operation number `at`, counted from 1.

    Without `errno` the process dies there, of a write only the first half done. With it the operation fails, `for_good`
    with all that follow; a write has then written half. Only operations below `folder` count. The name of what was
    struck is written to the file `told`.
    """

    at: int
    errno: int | None = None
    for_good: bool = False
    folder: str = "/"
    only: str | None = None
    """Only operations of this name count."""
    told: str | None = None
    stall: float = 0.0
    """Instead of dying the operation takes so many seconds, and succeeds."""
    power: bool = False
    """When the process dies, the power fails too: of the files of results only what was synced is left."""

    def as_json(self) -> dict[str, Any]:
        """Return what `Trap(**...)` takes."""
        return asdict(self)


def lay(trap: Trap) -> None:
    """Let the trap strike in this process."""
    trapped = _Trapped(trap)
    disk.os = trapped  # type: ignore[attr-defined]


class _Trapped:
    """The module `os`, as far as disk needs it."""

    def __init__(self, trap: Trap) -> None:
        self._trap = trap
        self._count = 0
        self._synced = {str(path): path.read_bytes() for path in self._files()}
        """What would be left by a power cut, by path."""

    def _files(self) -> list[Path]:
        """List the results file and what is in its state folder."""
        folder = Path(self._trap.folder)
        return [path for path in folder.rglob("*") if path.is_file() and "out.jsonl" in str(path.relative_to(folder))]

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        if str(path).startswith(self._trap.folder):
            self._maybe("open")
        if flags & os.O_CREAT:
            self._synced.setdefault(str(path), b"")
        return os.open(path, flags, mode)

    def write(self, fd: int, data: Any) -> int:
        self._on(fd, "write", lambda: os.write(fd, data[: len(data) // 2]))
        return os.write(fd, data)

    def rename(self, source: Any, target: Any) -> None:
        if str(target).startswith(self._trap.folder):
            self._maybe("rename")
        os.rename(source, target)
        self._synced[str(target)] = self._synced.pop(str(source), b"")

    def ftruncate(self, fd: int, size: int) -> None:
        self._on(fd, "ftruncate")
        os.ftruncate(fd, size)

    def posix_fallocate(self, fd: int, offset: int, size: int) -> None:
        self._on(fd, "fallocate")
        os.posix_fallocate(fd, offset, size)

    def fdatasync(self, fd: int) -> None:
        self._on(fd, "fdatasync")
        os.fdatasync(fd)
        path = os.readlink(f"/proc/self/fd/{fd}")
        self._synced[path] = Path(path).read_bytes() if os.path.exists(path) else b""

    def pwrite(self, fd: int, data: bytes, at: int) -> None:
        self._on(fd, "pwrite", lambda: os.pwrite(fd, data[: len(data) // 2], at))
        os.pwrite(fd, data, at)

    def fsync(self, fd: int) -> None:
        self._on(fd, "fsync")
        os.fsync(fd)

    def unlink(self, path: Any) -> None:
        if str(path).startswith(self._trap.folder):
            self._maybe("unlink")
        os.unlink(path)
        self._synced.pop(str(path), None)

    def _cut_power(self) -> None:
        for path in self._files():
            if str(path) in self._synced or path.name == "lock":
                path.write_bytes(self._synced.get(str(path), b""))
            else:
                path.unlink()

    def _on(self, fd: int, name: str, half: Callable[[], object] = lambda: None) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").startswith(self._trap.folder):
            self._maybe(name, half)

    def _maybe(self, name: str, half: Callable[[], object] = lambda: None) -> None:
        """Strike, if it is time."""
        trap = self._trap
        if trap.only not in (None, name):
            return
        self._count += 1
        if self._count == trap.at and trap.stall:
            time.sleep(trap.stall)
        if self._count < trap.at or trap.stall or (self._count > trap.at and not (trap.for_good and trap.errno)):
            return
        if self._count == trap.at:
            half()
            if trap.told is not None:
                with open(trap.told, "w") as file:
                    file.write(name)
        if trap.errno is None:
            if trap.power:
                self._cut_power()
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(trap.errno, os.strerror(trap.errno or 0))
