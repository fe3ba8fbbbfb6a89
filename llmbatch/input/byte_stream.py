"""Reads and decompresses the bytes of one input as they arrive. It polls, so that waiting can be interrupted."""

import fcntl
import io
import os
import select
import shlex
import socket
import stat
import zlib
from collections.abc import Callable
from contextlib import closing, suppress
from importlib import import_module
from types import ModuleType
from typing import Protocol, cast

from llmbatch.codec.text import HEAD, LONGEST_MARK, MARKS, wide_encoding
from llmbatch.core.errors import InputError, UsageError
from llmbatch.input.address import is_remote, shown, suffix_of
from llmbatch.input.bytes_at import bytes_at
from llmbatch.input.unchanged import Watch

__all__ = [
    *("COMPRESSIONS", "ByteStream", "Span", "Wake"),
    *("check", "has_compression", "is_compressed", "must_exist", "not_there", "title"),
]

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma", ".zst": "zstd"}
_FOREIGN = {
    b"PAR1": ("Parquet", "Put it into a file, and add --input-format parquet unless it is named .parquet."),
    b"PK\x03\x04": ("a spreadsheet or a zip archive", "Save the sheet as CSV, or unpack the archive."),
}
_MAGIC = {
    b"\x1f\x8b\x08": ".gz",
    **{b"BZh%d1AY&SY" % level: ".bz2" for level in range(1, 10)},
    b"\xfd7zXZ\x00": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    **dict.fromkeys(_FOREIGN, ""),
}
"""The first bytes of files that are not text."""
_MAGIC_OF = {suffix: magic[:2] for magic, suffix in _MAGIC.items() if suffix}
_FILE_CHUNK = 1 << 17
_PIPE_CHUNK = 1 << 16  # what a pipe holds

Span = tuple[int, int | None]
"""Where the part of a file begins that is read, and where it ends, if not with the file.

In bytes; of Parquet in row groups."""


class Wake:
    """A flag that another thread raises for good; raising it also ends every poll that watches it."""

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


class ByteStream:
    """One open input, decompressed as its first bytes, or else its name, say. It ends when `wake` is raised.

    `watch` is shown the bytes of the file. Only those in `span` are read, if there is one.
    """

    def __init__(self, path: str, wake: Wake, watch: Watch | None = None, span: Span | None = None) -> None:
        self._path = path
        self._inside = span is not None and span[0] > 0
        """Whether the span begins behind the first bytes, which say what a file is."""
        self._raw = _Descriptor(path, wake, watch, span)
        self._broken: tuple[type[Exception], ...] = (OSError,)
        self._read: Callable[[int], bytes] | None = None
        self._looked_at = b""
        """Bytes that `look` has read and `read` has not returned yet."""

    def read(self) -> bytes:
        """Wait for some bytes and return what is there; nothing at the end. Raises InputError."""
        if self._read is None:
            self.look()
        looked_at, self._looked_at = self._looked_at, b""
        return looked_at or self._more()

    def look(self) -> None:
        """Read the first bytes, and keep them. Raises InputError when they show that this is not UTF-8 text."""
        try:
            self._read = self._opened()
        except OSError as error:
            raise self._unreadable(error) from error
        head = self._more()
        if self._inside:
            self._looked_at = head
            return
        while any(mark.startswith(head) for mark in MARKS) and len(head) < LONGEST_MARK and (more := self._more()):
            head += more
        encoding = wide_encoding(head[:HEAD])
        if encoding is not None:
            name = title(self._path)
            raise InputError(
                f"{name} is {encoding} text, not UTF-8", f"Convert it: iconv -f {encoding} -t UTF-8 < {name} > FILE"
            )
        self._looked_at = head

    @property
    def bytes_read(self) -> int:
        """How many bytes of the file have been read, as they are compressed."""
        return self._raw.bytes_read

    def close(self) -> None:
        """Close the file; stdin stays open."""
        self._raw.close()

    def _more(self) -> bytes:
        assert self._read is not None
        try:
            return self._read(self._raw.chunk)
        except self._broken as error:
            raise self._unreadable(error) from error

    def _opened(self) -> Callable[[int], bytes]:
        """Return what reads the text. Waits only for the bytes that show whether it is compressed."""
        if self._inside:
            return self._raw.read  # only plain text is cut
        head = self._raw.peek(1)
        while any(magic.startswith(head) for magic in _MAGIC) and (more := self._raw.peek(len(head) + 1)) != head:
            head = more
        for magic, what in _FOREIGN.items():
            if head.startswith(magic):
                raise InputError(f"{title(self._path)} is {what[0]}, not text", what[1])
        suffix = suffix_of(self._path)
        found = next((compression for magic, compression in _MAGIC.items() if head.startswith(magic)), suffix)
        if found not in COMPRESSIONS or (found == suffix and _is_plain(head, _MAGIC_OF[suffix])):
            return self._raw.read
        module = _compression(found)
        own = [getattr(module, name, OSError) for name in ("LZMAError", "ZstdError")]
        self._broken = (OSError, EOFError, zlib.error, *own)
        return module.open(self._raw, "rb").read1

    def _unreadable(self, error: Exception) -> InputError:
        reason = getattr(error, "strerror", None) or f"damaged: {error}"
        return InputError(f"cannot read {title(self._path)}: {reason}")


def _is_plain(head: bytes, magic: bytes) -> bool:
    """Say whether what is named as compressed is text: downloads decompressed on the way keep the name."""
    text = head[:256]
    return bool(text) and not text.startswith(magic) and all(byte >= 32 or byte in b"\t\n\r" for byte in text)


def title(path: str) -> str:
    """Return the name of an input for messages."""
    return "stdin" if path == "-" else shown(path)


def check(path: str, *, is_text: bool = True) -> int | None:
    """Check, before anything is sent, that an input can be read; return its size if it has one.

    Raises InputError, UsageError. Only a regular file is opened for it: a writer would notice a FIFO being
    opened and closed.
    """
    suffix = suffix_of(path)
    if suffix in COMPRESSIONS:
        _compression(suffix)
    if is_remote(path):
        size: int = _remote().facts_of([path])[0].size
        return size
    try:
        status = os.fstat(0) if path == "-" else os.stat(path)
        mode = status.st_mode
        if path == "-" and fcntl.fcntl(0, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            raise InputError("cannot read stdin: it is closed", "Name a file, or connect stdin to something.")
        if stat.S_ISDIR(mode):
            raise InputError(f"cannot read {title(path)}: it is a directory")
        if path != "-" and not stat.S_ISREG(mode) and not os.access(path, os.R_OK):
            raise InputError(f"cannot read {path}: Permission denied")
        if not is_text and stat.S_ISREG(mode):
            os.close(os.open(path, os.O_RDONLY))
    except FileNotFoundError as error:
        raise not_there(path) from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {title(path)}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(mode):
        return None
    if is_text and path != "-":
        with closing(Wake()) as wake, closing(ByteStream(path, wake)) as stream:
            stream.look()
    return status.st_size


def must_exist(path: str) -> None:
    """Raise InputError for an input that does not exist."""
    if is_remote(path):
        _remote().must_be_there(path)
    elif path != "-":
        try:
            os.lstat(path)
        except PermissionError as error:
            raise InputError(f"cannot read {title(path)}: {error.strerror}") from error
        except (OSError, ValueError) as error:
            raise not_there(path) from error


def not_there(path: str) -> InputError:
    """Say that an input does not exist; who wrote a prompt in its place is told how to send one."""
    hint = "Check the name; INPUT is a file, a folder, or a pattern in quotes."
    if not path:
        return InputError("an INPUT is empty, as a variable that is not set gives", hint)
    if " " in path and "/" not in path:
        hint = f"A prompt goes through stdin: echo {shlex.quote(path)} | llmbatch run --input-format text -m MODEL"
    return InputError(f"cannot read {title(path)}: No such file or directory", hint)


def is_compressed(path: str) -> bool:
    """Say whether a file is read as anything but the bytes it has. Raises OSError."""
    with closing(bytes_at(path)) as file:
        head = file.read_at(0, max(map(len, _MAGIC)))
    return any(map(head.startswith, _MAGIC)) or has_compression(path)


def has_compression(path: str) -> bool:
    """Say whether the name of a file says that it is compressed."""
    return suffix_of(path) in COMPRESSIONS


def _remote() -> ModuleType:
    """Return the module for inputs at an address, which few runs have."""
    return import_module("llmbatch.input.remote")


class _Descriptor:
    """A file descriptor that looks enough like a file for the decompressors."""

    def __init__(self, path: str, wake: Wake, watch: Watch | None, span: Span | None) -> None:
        self._wake, self._own = wake, path != "-"
        self._watch = watch
        self._left = span[1] - span[0] if span is not None and span[1] is not None else None
        """How many bytes are to be read at most."""
        self._pipe = _remote().RemotePipe(path, *(span or ())) if is_remote(path) else None
        try:
            # Not blocking: opening a FIFO must not wait for its writer; the poll does, and can be woken.
            if self._pipe is not None:
                self._fd = self._pipe.fd
            else:
                self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC) if self._own else 0
            regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
            if span is not None and self._pipe is None:
                os.lseek(self._fd, span[0], os.SEEK_SET)
        except OSError as error:
            raise InputError(f"cannot read {title(path)}: {error.strerror}") from error
        self.bytes_read = 0
        self._peeked = b""
        self.chunk = _FILE_CHUNK if regular else _PIPE_CHUNK
        self._poll: select.poll | None = None
        if not regular:
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLIN)
            self._poll.register(wake, select.POLLIN)

    def peek(self, size: int) -> bytes:
        """Return the first bytes without consuming them: at least `size`, unless there are fewer."""
        while len(self._peeked) < size and (more := self._take(self.chunk)):
            self._peeked += more
        return self._peeked

    def read(self, size: int) -> bytes:
        if not self._peeked:
            return self._take(size)
        data, self._peeked = self._peeked[:size], self._peeked[size:]
        return data

    def _take(self, size: int) -> bytes:
        while not self._wake.raised:
            if self._poll is not None:
                self._poll.poll()
                if self._wake.raised:
                    break
            try:
                data = os.read(self._fd, size if self._left is None else min(size, self._left))
            except BlockingIOError:  # another reader of the same pipe was faster
                continue
            if not data and self._pipe is not None and self._pipe.failure is not None:
                raise self._pipe.failure
            self.bytes_read += len(data)
            if self._left is not None:
                self._left -= len(data)
            return data if self._watch is None else self._watch(data)
        return b""

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0) -> int:
        raise io.UnsupportedOperation("seek")

    def close(self) -> None:
        if self._pipe is not None and self._fd >= 0:
            self._pipe.close()
        elif self._own and self._fd >= 0:
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
