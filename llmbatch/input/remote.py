"""Inputs at an address: which there are, what they are at present, and their bytes as a pipe or as a file."""

import fcntl
import io
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from fnmatch import fnmatchcase
from time import monotonic
from typing import Any

from llmbatch.core.errors import InputError
from llmbatch.core.thread import start_thread
from llmbatch.input.address import parsed
from llmbatch.input.object_store import RANGE, Facts, RemoteObject, listed

__all__ = ["RemoteFile", "RemotePipe", "expanded", "facts_of", "must_be_there"]

_FRESH = 60.0
"""Seconds for which a listing tells what is there, so that each of its objects need not be asked for again."""
_AT_ONCE = 32
"""Objects that are asked for at a time."""
_PIPE = 1 << 20
_MAGIC = re.compile(r"[*?[]")

_seen: dict[str, tuple[float, Facts]] = {}
"""What a look at an object has told that nobody has used yet, and when."""


def facts_of(names: Sequence[str]) -> list[Facts]:
    """Return what objects are at present, by a look that is not older than a moment. Raises InputError."""
    if len(names) == 1:
        return [_fresh(names[0])]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(_fresh, names))


def must_be_there(name: str) -> None:
    """Raise InputError for an object that is not there, or cannot be read. The look is kept for `facts_of`."""
    _seen[name] = monotonic(), _fresh(name)


def _fresh(name: str) -> Facts:
    seen, facts = _seen.pop(name, (0.0, None))
    if facts is not None and monotonic() - seen < _FRESH:
        return facts
    with closing(RemoteObject(name)) as there:
        return there.facts


def expanded(name: str, suffixes: Sequence[str], compressions: Sequence[str]) -> list[str]:
    """Return the objects that an address stands for, in the order of their keys.

    One that ends in a slash is a folder, of which those with one of the suffixes count, compressed or not; one with
    *, ? or [ is a pattern, in which ** stands for any number of folders, unless there is an object of that name. An
    address on the web is itself. Raises InputError.
    """
    address = parsed(name)
    if address.is_web:
        return [name]
    place = f"{address.scheme}://{address.bucket}/"
    magic = _MAGIC.search(address.key)
    if address.key and not address.key.endswith("/") and (magic is None or _is_there(name)):
        return [name]
    folder = address.key if magic is None else address.key[: address.key.rfind("/", 0, magic.start()) + 1]
    pattern = address.key[len(folder) :].split("/")
    endings = tuple(suffix + packed for suffix in suffixes for packed in ("", *compressions))
    found = []
    for key, facts in listed(address._replace(key=folder), below=len(pattern) > 1):
        parts = key[len(folder) :].split("/")
        if any(part.startswith(".") for part in parts) or not facts.size:
            continue
        if _matches(parts, pattern) if magic else key.lower().endswith(endings):
            _seen[place + key] = monotonic(), facts
            found.append(place + key)
    if not found and magic:
        raise InputError(f"no object matches {name}", "Put a pattern into quotes; ** stands for any number of folders.")
    if not found:
        raise InputError(f"{name} has no object of a known format", f"Known: {', '.join(suffixes)}.")
    return sorted(found)


def _is_there(name: str) -> bool:
    try:
        must_be_there(name)
    except InputError:
        return False
    return True


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern or not parts:
        return not pattern and not parts
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


class RemotePipe:
    """The bytes of an object from `start` to before `end`, as a pipe that a thread fills.

    A reader can poll it, as any other pipe; when it ends, `failure` says whether it ended too early.
    """

    def __init__(self, name: str, start: int = 0, end: int | None = None) -> None:
        self._object = RemoteObject(name)
        self.failure: InputError | None = None
        self.fd, self._sink = os.pipe()
        with suppress(OSError):  # what the system lets have
            fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, _PIPE)
        start_thread(lambda: self._fill(start, end))

    def close(self) -> None:
        """Close the reader's end; the thread ends by itself."""
        self._object.close()
        os.close(self.fd)

    def _fill(self, start: int, end: int | None) -> None:
        try:
            for data in self._ranges(start, end):
                view = memoryview(data)
                while view:
                    view = view[os.write(self._sink, view) :]
        except InputError as error:
            self.failure = error
        except OSError:
            pass  # the reader has closed its end
        finally:
            os.close(self._sink)

    def _ranges(self, start: int, end: int | None) -> Iterator[bytes]:
        while end is None or start < end:
            data = self._object.read(start, start + RANGE if end is None else min(end, start + RANGE))
            if not data:
                return
            yield data
            start += len(data)


class RemoteFile(io.RawIOBase):
    """An object as a file that is read at any place."""

    def __init__(self, name: str) -> None:
        self._object = RemoteObject(name)
        self.facts = self._object.facts
        self.has_ranges = self._object.has_ranges
        self.failure: InputError | None = None
        self._place = 0

    def read_at(self, place: int, size: int) -> bytes:
        """Return so many bytes from a place on, fewer at the end. Raises InputError."""
        pieces = []
        while size > 0 and (data := self._object.read(place, place + min(size, RANGE))):
            pieces.append(data)
            place, size = place + len(data), size - len(data)
        return b"".join(pieces)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place that is read next."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Choose the place that is read next."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.facts.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer. Raises InputError, which is also in `failure`, since other libraries hide it."""
        try:
            data = self.read_at(self._place, len(buffer))
        except InputError as error:
            self.failure = error
            raise
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        """Close it."""
        self._object.close()
        super().close()
