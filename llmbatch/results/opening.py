"""Opens a results file for one run: checks that it is one, locks it, and repairs it after a crash."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from shlex import quote

from llmbatch.core.errors import InputError, LlmbatchError, OutputError, UsageError
from llmbatch.core.plural import counted
from llmbatch.results import disk
from llmbatch.results.lines import foreign, scan, torn_tail
from llmbatch.results.lock import locked
from llmbatch.results.recovery import could_be_ours
from llmbatch.results.state_folder import LOCK, is_empty, make_folder, remove_folder
from llmbatch.results.store import Store
from llmbatch.results.ticket_log import NAME as LOG
from llmbatch.results.ticket_log import read_log

__all__ = ["is_ours", "open_store"]

LOOKED_AT = 100
"""So many lines show whether this is a results file, if the first one does not."""


@contextmanager
def open_store(
    path: Path, *, fsync: str, overwrite: bool = False, move_broken: bool = False, hold: bool = False
) -> Iterator[Store]:
    """Open, lock and mend a results file for one run.

    With `hold` it is refused when it is not known what is in doubt. Raises OutputBusy when another run holds it,
    UsageError for a file that cannot be continued, OutputError when the disk refuses. Until then nothing of an earlier
    run is changed. A run that is refused leaves nothing new behind.
    """
    store = Store(Path(os.path.realpath(path)), fsync=fsync)
    with ExitStack() as stack:
        try:
            _check_kind(path, overwrite)
            new = _lock(store, stack)
            with ExitStack() as undo:
                if new:
                    undo.callback(_remove_folder, store.folder)
                stack.callback(_settle, store)
                stack.callback(store.close)
                if store.replaced.settle():
                    store.found.notices.append(
                        f"a run that was to replace {store.path} ended without an answer: the old results are back"
                    )
                if overwrite:
                    _check_batches(store)
                    store.replaced.set_aside()
                elif not new and not store.path.exists() and (store.folder / "runs.jsonl").exists():
                    raise UsageError(
                        f"{store.folder} is there, but {store.path} is not: its answers are missing",
                        f"Put the file back, or start anew {_way_without(store)}.",
                    )
                made = not store.path.exists()
                store.hold_results()
                disk.sync_folder(store.path.parent)
                store.mend(move_broken=move_broken, hold=hold)
                undo.pop_all()
            if new and (store.found.ok or store.found.failed):
                store.found.notices.append(
                    f"there was no {store.folder}: what was in flight when the last run ended is not known"
                )
        except OSError as error:
            raise _unusable(store.path, error) from error
        try:
            yield store
        except (UsageError, InputError):  # raised only where nothing was sent
            if new and made:
                stack.callback(_remove_both, store)
            raise


def _lock(store: Store, stack: ExitStack) -> bool:
    """Lock the state folder until the stack is closed; say whether it is new. Raises OutputBusy, UsageError."""
    while True:
        make_folder(store.folder)
        with suppress(FileNotFoundError):  # a run that was refused has just removed it
            stack.enter_context(locked(store.folder / LOCK, store.path))
            return is_empty(store.folder)


def _check_batches(store: Store) -> None:
    """Refuse to replace results while batches run: their answers, which are paid for, would have no home."""
    content = read_log(store.folder / LOG)
    running = sum(ticket.is_open for ticket in content.tickets.values())
    if running or content.damaged:
        raise UsageError(
            f"{counted(running, 'batch', 'batches') if running else 'some batches'} of {store.path} "
            f"{'is' if running == 1 else 'are'} not collected yet, and --overwrite would lose the answers",
            f"Run without --overwrite to collect them, or cancel them: llmbatch batches {store.path} --cancel",
        )


def _way_without(store: Store) -> str:
    """Say how to go on without the results file; --overwrite would lose what batches bring."""
    is_open = any(ticket.is_open for ticket in read_log(store.folder / LOG).tickets.values())
    return f"with an empty one (touch {quote(str(store.path))}): batches are open" if is_open else "with --overwrite"


def _settle(store: Store) -> None:
    """Bring back what was to be replaced, if there is no new answer. What fails here, the next run does."""
    with suppress(OSError):
        store.replaced.settle()


def _unusable(path: Path, error: OSError) -> LlmbatchError:
    """Return the error for a path that cannot be written (exit 2), or a disk that is full or failing (exit 6)."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return OutputError(f"cannot write -o {path}: {error.strerror}", "Make room, or choose another -o FILE.")
    other = error.filename if error.filename not in (None, str(path)) else None
    where = f"{other}: " if isinstance(other, str) else ""
    return UsageError(f"cannot write -o {path}: {where}{error.strerror}", "Choose another -o FILE.")


def _check_kind(path: Path, overwrite: bool) -> None:
    """Refuse what is not a results file, before anything is made beside it. Raises UsageError."""
    with suppress(FileNotFoundError):  # perhaps only now: another run may remove or replace the file
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UsageError(f"-o {path} is not a regular file", "Leave -o out to write results to stdout.")
        if not overwrite and not is_ours(path):
            raise foreign(path)


def _remove_folder(folder: Path) -> None:
    """Remove an empty state folder: the run that made it, and holds its lock, cannot begin."""
    with suppress(OSError):
        if is_empty(folder):
            remove_folder(folder)


def _remove_both(store: Store) -> None:
    """Remove a results file that was made for a run which cannot begin, and its folder."""
    with suppress(OSError):
        if not store.path.stat().st_size:
            disk.remove(store.path)
            remove_folder(store.folder)


def is_ours(path: Path) -> bool:
    """Say whether most of the first lines of a file are results, or the file is empty."""
    with path.open("rb") as source:
        fd = source.fileno()
        if not could_be_ours(fd):
            return False
        lines = scan(fd, torn_tail(fd, os.fstat(fd).st_size))
        first = [line.fields is not None for line in islice(lines, LOOKED_AT)]
    return not first or first[0] or 2 * sum(first) > len(first)
