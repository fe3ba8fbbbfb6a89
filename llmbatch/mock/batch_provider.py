"""Uploads and reads files; creates, finds and cancels batches, by the rules that all APIs share."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from llmbatch.mock.batch import Batch
from llmbatch.mock.batch_call import BadCall, Call
from llmbatch.mock.batch_results import Shared
from llmbatch.mock.batch_store import StoredFile
from llmbatch.mock.batch_upload import Upload
from llmbatch.mock.batch_worker import BatchWorker
from llmbatch.mock.reply import Reply

__all__ = ["BatchProvider"]

_PIECE = 2**18
_INPUTS = ("batch", "batch-api")
"""The purposes of files that may be the input of a batch."""


class BatchProvider:
    """The store and the worker, and the rules that all APIs share."""

    def __init__(self, shared: Shared, worker: BatchWorker) -> None:
        self.settings, self.store = shared.settings, shared.store
        self.worker = worker
        self._clock = shared.clock

    def now(self) -> float:
        """Return Unix seconds."""
        return self._clock()

    async def create(self, call: Call, *, checked: bool = False, files_of: str | None = None, **fields: Any) -> Batch:
        """Make a batch. With `checked`, its input is checked at once, and one that cannot run is not made."""
        store, settings = self.store, self.settings
        async with store.lock():
            number = max((batch.number for batch in store.batches()), default=-1) + 1
            batch = Batch(number=number, created=self.now(), delay=settings.batch_delay, **fields)
            file = store.file(batch.file, files_of or batch.family, batch.created)
            if file is not None and file.role == "request" and file.purpose in _INPUTS:
                store.keep_input(batch.id, file)
            if checked:
                batch.checked = await self.worker.check(batch)
                if batch.checked.problem is not None:
                    store.drop_input(batch.id)
                    return batch
            store.save(batch)
        call.created = batch
        self.worker.wake()
        return batch

    def is_visible(self, batch: Batch) -> bool:
        """Tell whether reads know of the batch already."""
        return self.now() >= batch.created + self.settings.batch_lag

    def find(self, id: str, family: str) -> Batch | None:
        """Return a batch that reads know of."""
        batch = self.store.batch(id, family)
        if batch is not None and not batch.over and self.now() >= batch.ends:
            self.worker.wake()  # another process made it, and may have ended
        return batch if batch and self.is_visible(batch) else None

    def listed(self, family: str) -> list[Batch]:
        """Return the batches that reads know of, newest first."""
        return [batch for batch in self.store.batches(family) if self.is_visible(batch)]

    async def cancel(self, batch: Batch) -> Batch:
        """Cancel a batch that runs; one that is over stays as it is."""
        async with self.store.lock():
            latest = self.store.batch(batch.id)
            if latest is None:
                raise BadCall(404, f"The batch {batch.id} was deleted.")
            if not latest.over and latest.cancelled is None:
                latest.cancelled = self.now()
                self.store.save(latest)
        self.worker.wake()
        return latest

    async def receive_form(
        self, prefix: str, call: Call, most: int, read: Callable[[str, Upload], StoredFile]
    ) -> StoredFile:
        """Keep the file of a form, whose other fields `read` checks; of one that is refused nothing stays."""
        id = self.store.new_id(prefix)
        try:
            with self.private_file(id) as into:
                form = Upload(call.header(b"content-type"), into)
                await form.read(call.chunks, most)
            file = read(id, form)
        except BaseException:
            os.remove(self.store.content(id))
            raise
        self.store.add_file(file)
        return file

    async def receive(self, id: str, chunks: AsyncIterator[bytes], most: int) -> int:
        """Write a body to the place of a file's content, as it comes; return its size."""
        size = 0
        with self.private_file(id) as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > most:
                    raise BadCall(413, f"The file is larger than {most} bytes.")
                file.write(chunk)
        return size

    def private_file(self, id: str) -> BinaryIO:
        """Open the place of a new file's content, for its owner only."""
        return open(self.store.content(id), "wb", opener=lambda name, flags: os.open(name, flags, 0o600))

    def expiring(self, file: StoredFile, seconds: float) -> StoredFile:
        """Return a file that is deleted after a time."""
        return replace(file, expires=file.created + seconds)

    def download(self, file: StoredFile, content_type: bytes) -> Reply:
        """Return a file's content, sent piece by piece."""
        opened = open(self.store.content(file.id), "rb")  # noqa: SIM115
        return Reply(200, b"", content_type, pieces=_pieces(opened), size=os.fstat(opened.fileno()).st_size)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece
