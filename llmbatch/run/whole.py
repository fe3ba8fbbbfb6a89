"""A file that appears whole or not at all, and never in the place of what it is made from."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from llmbatch.core.errors import OutputError, UsageError
from llmbatch.results import disk
from llmbatch.results.reader import ResultsFile

__all__ = ["check_stdout", "check_target", "whole_file"]


def check_target(path: Path, option: str, sources: Sequence[ResultsFile]) -> Path:
    """Return where a file will stand, links resolved. Raises UsageError where that would cost anybody results."""
    target = Path(os.path.realpath(path))
    try:
        status = target.stat()
    except OSError:
        status = None  # not there, or writing will tell
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{option} {path} is not a regular file", "Leave it out to write to stdout.")
    if status is not None and any((status.st_dev, status.st_ino) in source.inodes for source in sources):
        raise UsageError(f"{option} {path} is one of the files that are read", "Choose another name.")
    if target.with_name(f"{target.name}.state").exists():
        raise UsageError(f"{option} {path} holds the results of a run", "Choose another name, or remove it first.")
    if any(source.folder in target.parents for source in sources):
        raise UsageError(f"{option} {path} is among what a run needs to go on", "Choose another folder.")
    return target


def check_stdout(sources: Sequence[ResultsFile]) -> None:
    """Make sure that stdout is not one of the files that are read: `>>` would add to results what is none."""
    try:
        status = os.fstat(1)
    except OSError:
        return  # writing will tell
    if any((status.st_dev, status.st_ino) in source.inodes for source in sources):
        raise UsageError("stdout is one of the files that are read", "Choose another file.")


@contextmanager
def whole_file(target: Path) -> Iterator[Callable[[bytes], None]]:
    """Give a function that writes; the file gets its name when the context ends well. Raises OutputError.

    A new file is private to its owner, one that is replaced keeps its mode.
    """
    try:
        fd, scratch = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".new", dir=target.parent)
    except OSError as error:
        raise _refused(target, error) from error
    try:
        try:
            with suppress(FileNotFoundError):
                os.fchmod(fd, stat.S_IMODE(target.stat().st_mode))

            def write(data: bytes) -> None:
                try:
                    disk.append(fd, data)
                except OSError as error:
                    raise _refused(target, error) from error

            yield write
            disk.sync(fd)
        finally:
            os.close(fd)
        os.rename(scratch, target)
        disk.sync_folder(target.parent)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(scratch)
        if isinstance(error, OSError):
            raise _refused(target, error) from error
        raise


def _refused(target: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {target}: {error.strerror or error}", "Nothing of it was kept; make room.")
