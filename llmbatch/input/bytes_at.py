"""Reads the bytes of an input from any place on, whether it is a file here or an object at an address."""

import os
from typing import Protocol

from llmbatch.input.address import is_remote

__all__ = ["BytesAt", "bytes_at"]


class BytesAt(Protocol):
    """An open input. `has_ranges` says whether reading from the middle costs no more than what is read."""

    has_ranges: bool

    def read_at(self, place: int, size: int) -> bytes:
        """Return so many bytes from a place on, fewer at the end. Raises OSError, InputError."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class _File:
    has_ranges = True

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read_at(self, place: int, size: int) -> bytes:
        return os.pread(self._fd, size, place)

    def close(self) -> None:
        os.close(self._fd)


def bytes_at(path: str) -> BytesAt:
    """Open a regular file, or an object. Raises OSError, InputError."""
    if not is_remote(path):
        return _File(path)
    from llmbatch.input.remote import RemoteFile  # few runs have one

    return RemoteFile(path)
