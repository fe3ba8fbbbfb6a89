"""`--overwrite`: keeps the files of earlier runs in FILE.state/replaced/ until the first new answer is on disk.

If the run ends before that, the old files come back, at its end or when the next run opens FILE. If the process dies in
between, the next run repeats the step: files move one by one into or out of `moving/`, and a folder is renamed when all
of them have moved.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from llmbatch.results import disk
from llmbatch.results.index import LineFlags, flags_of
from llmbatch.results.lines import glance, parse, scan, torn_tail
from llmbatch.results.state_folder import remove_folder

__all__ = ["Replaced"]

_PAID = LineFlags.OK | LineFlags.BILLED | LineFlags.DOUBTS

_KEPT = frozenset(["lock", "tables.json"])
"""Files of the state folder that are not of one run."""


class Replaced:
    """The files of earlier runs on `results`, which will be replaced. The lock must be held."""

    def __init__(self, results: Path, folder: Path) -> None:
        self._results, self._folder = results, folder
        self._moving, self._replaced = folder / "moving", folder / "replaced"
        self.undone = folder / "undone"
        """The files of a run that replaced nothing: its intents tell what it left in doubt."""

    def set_aside(self) -> None:
        """Move the files of earlier runs away. Raises OSError."""
        remove_folder(self.undone)
        self._take_away(self._moving)
        disk.rename(self._moving, self._replaced)
        disk.sync_folder(self._folder)

    def settle(self, *, complete: bool = False) -> bool:
        """Keep the new files if they have an answer or the run was `complete`; else bring the old ones back.

        Returns whether the old ones came back. Raises OSError.
        """
        if self._moving.is_dir():
            self._bring_back()
        if not self._replaced.is_dir():
            return False
        if complete or self._has_answer():
            remove_folder(self._replaced)
            return False
        self._take_away(self.undone)
        disk.rename(self._replaced, self._moving)
        self._bring_back()
        return True

    def _take_away(self, to: Path) -> None:
        """Move the files of a run to a folder."""
        with suppress(FileExistsError):
            disk.make_folder(to)
        for path, name in self._files():
            disk.rename(path, to / name)
        disk.sync_folder(to)

    def _bring_back(self) -> None:
        for name in sorted(os.listdir(self._moving)):
            disk.rename(self._moving / name, self._results if name == "results" else self._folder / name)
        disk.sync_folder(self._folder)
        disk.sync_folder(self._results.parent)
        disk.remove_folder(self._moving)

    def _files(self) -> Iterator[tuple[Path, str]]:
        """Yield the files of a run, each with the name under which it is kept."""
        for name in sorted(os.listdir(self._folder)):
            path = self._folder / name
            if name not in _KEPT and path.is_file():
                yield path, name
        if self._results.exists():
            yield self._results, "results"

    def _has_answer(self) -> bool:
        """Say whether the new files have an answer that is on the disk."""
        return any(_has_answer(path) for path in (self._results, self._folder / "redo.jsonl"))


def _has_answer(path: Path) -> bool:
    """Say whether a line is an answer, or tells of a request that may have been paid; sync the file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        size = os.fstat(fd).st_size
        end = torn_tail(fd, size)
        tail = parse(os.pread(fd, size - end, end))
        for fields in chain((line.fields for line in scan(fd, end, read=glance)), (tail,)):
            if fields is not None and flags_of(fields) & _PAID:
                disk.sync(fd)
                return True
    finally:
        os.close(fd)
    return False
