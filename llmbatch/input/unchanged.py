"""Detects that an input which is read a second time has other bytes than the first time."""

import zlib
from array import array
from collections.abc import Callable

from llmbatch.core.errors import InputError

__all__ = ["Contents", "Watch", "WatchInput"]

Watch = Callable[[bytes], bytes]
"""Takes the next bytes of an input, none at its end, and returns those that should be read."""
WatchInput = Callable[[str], Watch]
"""Takes the name of the next input that is opened."""


class Contents:
    """Checksums of the bytes that a first pass read, so that a later pass gets the same bytes, or an error.

    Bytes that are appended in between are left for the next run.
    """

    def __init__(self) -> None:
        self.inputs: list[_Checksums] = []

    def record(self, name: str) -> Watch:
        """Take note of one more input in the first pass."""
        self.inputs.append(checksums := _Checksums())
        return checksums.add

    def add(self, others: "Contents", *, joined: bool) -> None:
        """Add what another first pass read of the inputs behind these; if `joined` its first is the end of our last."""
        first, *rest = others.inputs
        if joined:
            self.inputs[-1].join(first)
        else:
            rest.insert(0, first)
        self.inputs += rest

    def compare(self) -> WatchInput:
        """Return what compares the same inputs, in the same order, in a later pass. It raises InputError."""
        inputs = iter(self.inputs)

        def watch(name: str) -> Watch:
            checksums = next(inputs, None)
            if checksums is None:
                raise _changed(name)
            return _Comparison(name, checksums)

        return watch


class _Checksums:
    """One input: the checksum of each piece, and where that ends."""

    def __init__(self) -> None:
        self.ends, self.sums = array("Q"), array("I")

    def add(self, piece: bytes) -> bytes:
        if piece:
            self.ends.append(self._length + len(piece))
            self.sums.append(zlib.crc32(piece))
        return piece

    def join(self, other: "_Checksums") -> None:
        length = self._length
        self.ends.extend(length + end for end in other.ends)
        self.sums += other.sums

    @property
    def _length(self) -> int:
        return self.ends[-1] if self.ends else 0


class _Comparison:
    """A later pass over one input."""

    def __init__(self, name: str, checksums: _Checksums) -> None:
        self._name = name
        self._pieces = zip(checksums.ends, checksums.sums, strict=True)
        self._next = next(self._pieces, None)
        self._offset = self._checksum = 0

    def __call__(self, piece: bytes) -> bytes:
        if not piece and self._next is not None:
            raise _changed(self._name)
        start = 0
        while self._next is not None and start < len(piece):
            end, expected = self._next
            part = piece[start : start + end - self._offset]
            start += len(part)
            self._offset += len(part)
            self._checksum = zlib.crc32(part, self._checksum)
            if self._offset == end:
                if self._checksum != expected:
                    raise _changed(self._name)
                self._next, self._checksum = next(self._pieces, None), 0
        return piece[:start]


def _changed(name: str) -> InputError:
    return InputError(
        f"{name} is not what it was when its records were counted", "Run the same command again: it counts anew."
    )
