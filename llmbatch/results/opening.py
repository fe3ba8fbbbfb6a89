"""A results file opened for one run: held against others, refused when it is not ours, brought into order."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path

from llmbatch.core.errors import InputError, LlmbatchError, OutputError, UsageError
from llmbatch.results import disk
from llmbatch.results.lines import foreign, scan, torn_tail
from llmbatch.results.lock import locked
from llmbatch.results.recovery import could_be_ours
from llmbatch.results.store import Store

__all__ = ["is_ours", "open_store"]

LOOKED_AT = 100
"""Lines that show, when the first one does not, whether a file is ours."""


@contextmanager
def open_store(
    path: Path, *, fsync: str, overwrite: bool = False, move_broken: bool = False, hold: bool = False
) -> Iterator[Store]:
    """Open, lock and mend a results file for one run.

    With `hold` it is refused when it is not known what is in doubt. Raises OutputBusy when another run holds it,
    UsageError for a file that cannot be continued, OutputError when the disk refuses. Until then nothing of an earlier
    run is changed.
    """
    store = Store(Path(os.path.realpath(path)), fsync=fsync)
    with ExitStack() as stack:
        try:
            with ExitStack() as undo:
                new = _begin_folder(store, overwrite)
                if new:
                    undo.callback(_remove_folder, store.folder)
                stack.enter_context(locked(store.folder / "lock", store.path))
                stack.callback(store.close)
                if overwrite:
                    _set_aside(store)
                elif not new and not store.path.exists() and (store.folder / "runs.jsonl").exists():
                    raise UsageError(
                        f"{store.folder} is there, but {store.path} is not: its answers are missing",
                        "Put the file back, or start anew with --overwrite.",
                    )
                store.hold_results()
                disk.sync_folder(store.path.parent)
                store.mend(move_broken=move_broken, hold=hold)
                undo.pop_all()
            if new and (store.found.ok or store.found.failed):
                store.found.notices.append(f"{store.folder} is new: which records are in doubt is not known")
        except OSError as error:
            raise _unusable(store.path, error) from error
        try:
            yield store
        except (UsageError, InputError):  # raised only where nothing was sent
            if overwrite:
                _bring_back(store)
            raise


def _unusable(path: Path, error: OSError) -> LlmbatchError:
    """Tell a place where nothing can be written from a disk that refuses just now."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return OutputError(f"cannot write -o {path}: {error.strerror}", "Make room, or choose another -o FILE.")
    return UsageError(f"cannot write -o {path}: {error.strerror}", "Choose another -o FILE.")


def _begin_folder(store: Store, overwrite: bool) -> bool:
    """Make the state folder; say whether it is new. Raises UsageError for a results file that is not a file."""
    try:
        kind = os.stat(store.path).st_mode
    except FileNotFoundError:
        kind = None
    if kind is not None and not stat.S_ISREG(kind):
        raise UsageError(f"-o {store.path} is not a regular file", "Leave -o out to write results to stdout.")
    if kind is not None and not overwrite and not is_ours(store.path):
        raise foreign(store.path)  # before anything is made beside it
    try:
        store.folder.mkdir(mode=0o700)
    except FileExistsError:
        if store.folder.is_symlink():
            raise UsageError(
                f"{store.folder} is a symbolic link, and whoever made it may read what is kept there",
                "Replace it by what it leads to.",
            ) from None
        return False
    disk.sync_folder(store.folder.parent)
    return True


def _remove_folder(folder: Path) -> None:
    """Take away a state folder that nothing was put into: the run that made it is refused."""
    with suppress(OSError):
        if os.listdir(folder) == ["lock"]:
            disk.remove(folder / "lock")
        folder.rmdir()


def is_ours(path: Path) -> bool:
    """Say whether most of the first lines of a file are results; an empty file may become ours."""
    with path.open("rb") as source:
        fd = source.fileno()
        if not could_be_ours(fd):
            return False
        lines = scan(fd, torn_tail(fd, os.fstat(fd).st_size))
        first = [line.fields is not None for line in islice(lines, LOOKED_AT)]
    return not first or first[0] or 2 * sum(first) > len(first)


def _set_aside(store: Store) -> None:
    """Put what earlier runs wrote aside, the lock excepted: whoever sends nothing must not lose it."""
    for here, there in store.replaced():
        if here.exists():
            here.replace(there)
        else:
            disk.remove(there)


def _bring_back(store: Store) -> None:
    """Undo `_set_aside`, unless results were written since."""
    if store.path.stat().st_size:
        return
    for here, there in store.replaced():
        disk.remove(here)
        if there.exists():
            there.replace(here)
