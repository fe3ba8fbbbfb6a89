"""Saves lines that a results file cannot take, in the first of several folders that has room for them."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from llmbatch.results import disk

__all__ = ["Rescue"]


class Rescue:
    """Files for what a results file cannot take: in `folder`, else in the temporary one, else where there is room.

    `name` is that of the results file. Nothing is made before something is to be saved.
    """

    def __init__(self, name: str, folder: Path | None) -> None:
        self._name = name
        self._folders = _folders(folder)
        self._fd = -1
        self._size = 0
        """Where the last line ends that was saved in the present file."""
        self.paths: list[str] = []
        """The files that hold something."""

    def save(self, pieces: Callable[[], Iterable[bytes]], *, torn: bool) -> None:
        """Write and sync pieces. Raises OSError if no folder takes them.

        With `torn` they will be appended to an incomplete line.
        """
        refusal = OSError(errno.ENOENT, "there is no other folder")
        for folder in ("", *self._folders) if self._fd >= 0 else self._folders:
            try:
                if folder:
                    self._begin(folder, b"\n" if torn or self.paths else b"")
                for piece in pieces():
                    disk.append(self._fd, piece)
                disk.sync(self._fd)
                self._size = os.fstat(self._fd).st_size
                return
            except OSError as error:
                refusal = error
                self._end()
        raise refusal

    def _begin(self, folder: str, first: bytes) -> None:
        self._fd, path = tempfile.mkstemp(prefix=f"{self._name}.", suffix=".rescue.jsonl", dir=folder)
        self._size = 0
        self.paths.append(path)
        with suppress(OSError):
            disk.sync_folder(Path(folder))
        disk.append(self._fd, first)

    def _end(self) -> None:
        """Leave the present file, with what was saved in it before."""
        if self._fd < 0:
            return
        with suppress(OSError):
            disk.cut(self._fd, self._size)
            if not self._size:
                disk.remove(Path(self.paths.pop()))
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _folders(first: Path | None) -> list[str]:
    """Return the folders to try, each once."""
    places = [str(first)] if first is not None else []
    with suppress(OSError):
        places.append(tempfile.gettempdir())
    places += [os.path.expanduser("~"), "/var/tmp", "/dev/shm"]
    return list(dict.fromkeys(os.path.abspath(place) for place in places if os.path.isdir(place)))
