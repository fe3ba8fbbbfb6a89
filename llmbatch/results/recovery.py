"""The end of a file as a crash may leave it: a whole line that lacks its newline, or a piece of one."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from llmbatch.codec import json
from llmbatch.codec.digest import fingerprint
from llmbatch.results import disk
from llmbatch.results.disk import aside
from llmbatch.results.lines import parse, torn_tail

__all__ = ["Torn", "could_be_ours", "mend_tail"]

_BEGINNING = re.compile(rb'\{"id":("(?:[^"\\]|\\.)*"|-?\d+)(?:,"occurrence":(\d+))?,"')


class Torn(NamedTuple):
    """A piece of a line: where it was put, and the fingerprint of the record that is in doubt, when it tells."""

    aside: Path
    record: int | None


def mend_tail(fd: int, folder: Path) -> Torn | None:
    """End a whole last line that lacks its newline; put a torn one into the state folder. Raises OSError."""
    size = os.fstat(fd).st_size
    end = torn_tail(fd, size)
    if end == size:
        return None
    tail = os.pread(fd, size - end, end)
    if parse(tail) is not None:
        disk.append(fd, b"\n")
        return None
    there = aside(folder, "torn", ".bin")
    copy = disk.create(there, exclusive=True)
    try:
        disk.append(copy, tail)
        disk.sync(copy)
    finally:
        os.close(copy)
    disk.sync_folder(folder)
    disk.cut(fd, end)
    disk.sync(fd)
    return Torn(there, _record(tail))


def could_be_ours(fd: int) -> bool:
    """Say, of a file without a whole line, whether it can be one of ours that a crash cut, or what a power cut left."""
    size = os.fstat(fd).st_size
    if torn_tail(fd, size) > 0:
        return True
    tail, beginning = os.pread(fd, size, 0), b'{"id":'
    return parse(tail) is not None or beginning.startswith(tail.strip(b"\0")[: len(beginning)])


def _record(tail: bytes) -> int | None:
    """Read in the beginning of a line whose it is: lines begin with the id."""
    found = _BEGINNING.match(tail)
    if found is None:
        return None
    try:
        id = json.loads(found[1])
    except ValueError:
        return None
    return fingerprint(id, "", int(found[2] or 0))
