"""Stores the files and batches of a provider in a folder, so that they outlive a crash of the provider.

Several processes may share the folder. Files are replaced, never changed; to change a batch, a process takes the lock.
"""

import fcntl
import os
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import anyio

from llmbatch.codec import json
from llmbatch.mock.batch import Batch

__all__ = ["BatchStore", "StoredFile"]

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_RETRY = 0.01  # seconds to the next attempt to get the lock
_KEPT = 30 * 86400.0
"""Seconds after which files and batches are forgotten, as providers do."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file as it is listed. `family` says whose API lists it."""

    id: str
    family: str
    name: str
    purpose: str
    bytes: int
    created: float
    lines: int = 0
    expires: float | None = None
    mime: str = "application/jsonl"
    role: str = "request"
    """What it is to a batch: `request`, `result` or `error`."""


class BatchStore:
    """A folder that only its owner may read: it holds prompts and answers."""

    def __init__(self, folder: str) -> None:
        self._files = os.path.join(folder, "files")
        self._batches = os.path.join(folder, "batches")
        self._lock = os.path.join(folder, "lock")
        for made in (folder, self._files, self._batches):
            os.makedirs(made, mode=0o700, exist_ok=True)

    @staticmethod
    def new_id(prefix: str) -> str:
        """Return an id that nobody can guess."""
        return prefix + secrets.token_hex(16)

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Wait until nobody else changes a batch."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await anyio.sleep(_RETRY)
            yield
        finally:
            os.close(descriptor)

    def content(self, id: str) -> str:
        """Return the path of a file's content."""
        return os.path.join(self._files, id)

    def add_file(self, file: StoredFile) -> None:
        """Enter a file whose content is in its place."""
        _replace(self._record(file.id), asdict(file))

    def file(self, id: str, family: str, now: float) -> StoredFile | None:
        """Return a file of a family, None for one that never was, was deleted or has expired."""
        value = _load(self._record(id)) if _ID.fullmatch(id) else None
        file = value and StoredFile(**value)
        return file if file and file.family == family and (file.expires is None or now < file.expires) else None

    def files(self, family: str, now: float) -> list[StoredFile]:
        """Return the files of a family, newest first."""
        names = [name.removesuffix(".json") for name in os.listdir(self._files) if name.endswith(".json")]
        found = [file for name in names if (file := self.file(name, family, now))]
        return sorted(found, key=lambda file: (-file.created, file.id))

    def delete_file(self, id: str) -> None:
        """Remove a file; one that is gone is no error."""
        for path in (self._record(id), self.content(id)):
            with suppress(FileNotFoundError):
                os.remove(path)

    def save(self, batch: Batch) -> None:
        """Replace what is recorded of a batch."""
        _replace(os.path.join(self._batches, f"{batch.id}.json"), batch.dump())

    def batch(self, id: str, family: str | None = None) -> Batch | None:
        """Return a batch, None if there is none or it is of another family."""
        value = _load(os.path.join(self._batches, f"{id}.json")) if _ID.fullmatch(id) else None
        batch = value and Batch.load(value)
        return batch if batch and family in (None, batch.family) else None

    def batches(self, family: str | None = None) -> list[Batch]:
        """Return the batches, newest first."""
        names = [name.removesuffix(".json") for name in os.listdir(self._batches) if name.endswith(".json")]
        found = [batch for name in names if (batch := self.batch(name, family))]
        return sorted(found, key=lambda batch: -batch.number)

    def delete_batch(self, id: str) -> None:
        """Remove a batch; one that is gone is no error."""
        with suppress(FileNotFoundError):
            os.remove(os.path.join(self._batches, f"{id}.json"))

    def keep_input(self, id: str, file: StoredFile) -> None:
        """Make what a file holds the input of a batch; it stays so when the file is deleted."""
        os.link(self.content(file.id), self._input(id))

    def open_input(self, id: str) -> BinaryIO:
        """Open the input of a batch."""
        return open(self._input(id), "rb")

    def drop_input(self, id: str) -> None:
        """Remove the input of a batch that is over."""
        with suppress(FileNotFoundError):
            os.remove(self._input(id))

    def unlogged(self, id: str) -> str:
        """Return the path of the ledger lines of a batch that are not in the ledger yet."""
        return os.path.join(self._batches, f"{id}.ledger")

    def forget_old(self, now: float) -> None:
        """Remove what is older than providers keep it, and pieces of uploads that were cut off."""
        for folder in (self._files, self._batches):
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                with suppress(FileNotFoundError):
                    if os.stat(path).st_mtime < now - _KEPT:
                        os.remove(path)

    def _input(self, id: str) -> str:
        return os.path.join(self._batches, f"{id}.input")

    def _record(self, id: str) -> str:
        return os.path.join(self._files, f"{id}.json")


def _replace(path: str, value: dict[str, Any]) -> None:
    part = path + ".part"
    with open(part, "wb", opener=_private) as file:
        file.write(json.dumps(value))
    os.replace(part, path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _load(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except FileNotFoundError:
        return None
