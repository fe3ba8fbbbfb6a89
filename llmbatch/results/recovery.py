"""Repairs the end of a file after a crash: a line that lacks its newline, or a piece of one."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from llmbatch.codec import json
from llmbatch.codec.digest import fingerprint
from llmbatch.results import disk
from llmbatch.results.disk import free_name
from llmbatch.results.lines import parse, torn_tail
from llmbatch.results.rewrite import rewrite

__all__ = ["could_be_ours", "may_be_cut", "mend_redo", "mend_tail"]

_BEGINNING = re.compile(rb'\{"id":("(?:[^"\\]|\\.)*"|-?\d+)(?:,"occurrence":(\d+))?(?:,"sample":(\d+))?,"')


def mend_tail(fd: int, folder: Path, notice: Callable[[str], None]) -> int | None:
    """End a complete last line that lacks its newline; move a torn one to the state folder. Raises OSError.

    Returns the fingerprint of the record whose line was torn, which then is in doubt, if the piece tells it.
    """
    size = os.fstat(fd).st_size
    end = torn_tail(fd, size)
    if end == size:
        return None
    tail = os.pread(fd, size - end, end)
    if parse(tail) is not None:
        disk.append(fd, b"\n")
        return None
    there = free_name(folder, "torn", ".bin")
    copy = disk.create(there, exclusive=True)
    try:
        disk.append(copy, tail)
        disk.sync(copy)
    finally:
        os.close(copy)
    disk.sync_folder(folder)
    disk.cut(fd, end)
    disk.sync(fd)
    notice(f"a line that a crash cut was moved to {there}; its record is in doubt")
    return _record(tail)


def mend_redo(redo: Path, folder: Path, notice: Callable[[str], None]) -> None:
    """Move lines of the redo file that are not results to the state folder; they may hold a paid answer."""
    if not redo.exists():
        return
    fd = disk.create(redo)
    try:
        mend_tail(fd, folder, notice)
    finally:
        os.close(fd)
    there = free_name(folder, "broken-redo", ".jsonl")
    if rewrite(redo, folder / "redo.new", lambda line: line.fields is not None, there):
        notice(f"broken lines of {redo} were moved to {there}")


def could_be_ours(fd: int) -> bool:
    """Say whether a file without a complete line may be a results file that a crash or a power cut has cut."""
    size = os.fstat(fd).st_size
    if torn_tail(fd, size) > 0:
        return True
    tail = os.pread(fd, size, 0)
    return parse(tail) is not None or may_be_cut(tail)


def may_be_cut(tail: bytes) -> bool:
    """Say whether a last line that is no result may be the beginning of one."""
    try:
        json.loads(tail)
    except ValueError:
        beginning = b'{"id":'
        return beginning.startswith(tail.strip(b"\0")[: len(beginning)])
    return False  # it is complete JSON


def _record(tail: bytes) -> int | None:
    """Return the fingerprint of the record from the beginning of a line: lines begin with the id."""
    found = _BEGINNING.match(tail)
    if found is None:
        return None
    try:
        id = json.loads(found[1])
    except ValueError:
        return None
    return fingerprint(id, "", int(found[2] or 0), int(found[3] or 0))
