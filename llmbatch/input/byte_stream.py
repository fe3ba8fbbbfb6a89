"""The bytes of one input as they come: polled, so that waiting can be cut short, and decompressed."""

import fcntl
import io
import os
import select
import socket
import stat
import zlib
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Protocol, cast

from llmbatch.core.errors import InputError, UsageError

__all__ = ["COMPRESSIONS", "Stream", "Wake", "check", "title"]

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma", ".zst": "zstd"}
_FILE_CHUNK = 1 << 17
_PIPE_CHUNK = 1 << 16  # what a pipe holds


class Wake:
    """A flag another thread raises, once and for all; raising it also ends every poll that watches it."""

    def __init__(self) -> None:
        self.raised = False
        self._watched, self._rung = socket.socketpair()
        self._rung.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._watched.fileno()

    def ring(self) -> None:
        """Raise the flag."""
        self.raised = True
        with suppress(OSError):  # closed, or so full that every poll has long ended
            self._rung.send(b"!")

    def close(self) -> None:
        """Release the descriptors; ringing later is harmless."""
        self._watched.close()
        self._rung.close()


class Stream:
    """One input, open. A raised wake is its end."""

    def __init__(self, path: str, wake: Wake) -> None:
        self._path = path
        self._raw = _Descriptor(path, wake)
        suffix = os.path.splitext(path)[1].lower()
        self._broken: tuple[type[Exception], ...] = (OSError,)
        self._read: Callable[[int], bytes] = self._raw.read
        if suffix in COMPRESSIONS:
            module = _compression(suffix)
            own = [getattr(module, name, OSError) for name in ("LZMAError", "ZstdError")]
            self._broken = (OSError, EOFError, zlib.error, *own)
            self._read = module.open(self._raw, "rb").read1

    def read(self) -> bytes:
        """Wait for some bytes and return what is there; nothing at the end. Raises InputError."""
        try:
            return self._read(self._raw.chunk)
        except self._broken as error:
            reason = getattr(error, "strerror", None) or f"damaged: {error}"
            raise InputError(f"cannot read {title(self._path)}: {reason}") from error

    @property
    def taken(self) -> int:
        """How many bytes have left the file."""
        return self._raw.taken

    def close(self) -> None:
        """Close the file; stdin stays open."""
        self._raw.close()


def title(path: str) -> str:
    """Return what people call an input."""
    return "stdin" if path == "-" else path


def check(path: str) -> int | None:
    """Find out that an input cannot be read before anything is sent; return its size if it has one.

    Raises InputError, UsageError. Only a regular file is opened for it: a writer would notice a FIFO being
    opened and closed.
    """
    try:
        status = os.fstat(0) if path == "-" else os.stat(path)
        mode = status.st_mode
        if path == "-" and fcntl.fcntl(0, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            raise InputError("cannot read stdin: it is closed", "Name a file, or connect stdin to something.")
        if stat.S_ISDIR(mode):
            raise InputError(f"cannot read {title(path)}: it is a directory")
        if path != "-" and stat.S_ISREG(mode):
            os.close(os.open(path, os.O_RDONLY))
        elif path != "-" and not os.access(path, os.R_OK):
            raise InputError(f"cannot read {path}: Permission denied")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {title(path)}: {getattr(error, 'strerror', None) or error}") from error
    suffix = os.path.splitext(path)[1].lower()
    if suffix in COMPRESSIONS:
        _compression(suffix)
    return status.st_size if stat.S_ISREG(mode) else None


class _Descriptor:
    """A file descriptor that looks enough like a file for the decompressors."""

    def __init__(self, path: str, wake: Wake) -> None:
        self._wake, self._own = wake, path != "-"
        try:
            # Not blocking: opening a FIFO must not wait for its writer; the poll does, and can be woken.
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC) if self._own else 0
            regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        except OSError as error:
            raise InputError(f"cannot read {title(path)}: {error.strerror}") from error
        self.taken = 0
        self.chunk = _FILE_CHUNK if regular else _PIPE_CHUNK
        self._poll: select.poll | None = None
        if not regular:
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLIN)
            self._poll.register(wake, select.POLLIN)

    def read(self, size: int) -> bytes:
        while not self._wake.raised:
            if self._poll is not None:
                self._poll.poll()
                if self._wake.raised:
                    break
            try:
                data = os.read(self._fd, size)
            except BlockingIOError:  # somebody else was faster
                continue
            self.taken += len(data)
            return data
        return b""

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0) -> int:
        raise io.UnsupportedOperation("seek")

    def close(self) -> None:
        if self._own and self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class _Compression(Protocol):
    """What the compression modules have in common."""

    def open(self, file: _Descriptor, mode: str) -> io.BufferedReader: ...


def _compression(suffix: str) -> _Compression:
    names = ["compression.zstd", "backports.zstd"] if suffix == ".zst" else [COMPRESSIONS[suffix]]
    for name in names:
        try:
            return cast(_Compression, import_module(name))
        except ImportError:
            continue
    raise UsageError(f"{suffix} files need an extra", hint="pip install 'llmbatch[zstd]'")
