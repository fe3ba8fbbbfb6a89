"""Cuts records into batches: one open file per route, closed before the next record would go beyond a limit."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from llmbatch.core.job import Job, Route
from llmbatch.core.ports import Dialect
from llmbatch.core.ticket import Step, Ticket, custom_id
from llmbatch.dialects.batch_api import BatchApi

__all__ = ["Chunk", "ChunkLimits", "Chunks", "Writer", "fits"]


class ChunkLimits(NamedTuple):
    """The most that one batch may hold; `tokens` of a model's queue, None where no limit is known."""

    records: int
    bytes: int
    line: int
    tokens: float | None = None


class Writer(Protocol):
    """Writes the files of a batch. Blocks; raises OSError."""

    count: int
    size: int

    def add(self, line: bytes, member: bytes) -> None:
        """Add a record."""
        ...

    def close(self) -> str:
        """Put the files on the disk; return the digest of what will be sent."""
        ...

    def drop(self) -> None:
        """Remove the files."""
        ...


def fits(count: int, size: int, tokens: int, line: int, weight: int, limits: ChunkLimits) -> bool:
    """Say whether one more record of this length and weight goes into a batch that holds so much; the first may."""
    if count == 0:
        return True
    within = limits.tokens is None or tokens + weight <= limits.tokens
    return count < limits.records and size + line <= limits.bytes and within


class Chunk:
    """The batch of one route that is being filled."""

    def __init__(self, tag: str, route: Route, writer: Writer) -> None:
        self.tag, self.route = tag, route
        self._writer = writer
        self.tokens = 0
        self.worst = 0.0
        self.fresh = 0
        """Records that come from the input, and not from a batch that gave them back."""

    @property
    def count(self) -> int:
        """Count the records."""
        return self._writer.count

    @property
    def size(self) -> int:
        """Count the bytes."""
        return self._writer.size

    def add(self, job: Job, line: bytes, member: bytes, *, again: bool) -> None:
        """Add a record. Raises OSError."""
        self._writer.add(line, member)
        self.tokens += job.tokens
        self.worst += job.worst_cost
        self.fresh += not again

    def drop(self) -> None:
        """Remove what was written, as far as the disk lets us: the next run removes the rest."""
        with suppress(OSError):
            self._writer.drop()

    def close(self, **facts: Any) -> Ticket:
        """Put the files on the disk; return the ticket of them. Raises OSError."""
        digest = self._writer.close()
        return Ticket(
            tag=self.tag,
            step=Step.DRAWN,
            path=self.route.path,
            model=self.route.model,
            dialect=self.route.dialect,
            count=self.count,
            bytes=self.size,
            tokens=self.tokens,
            sha256=digest,
            worst=round(self.worst, 9),
            **facts,
        )


class Chunks:
    """The open batches by route. Its methods block: they write files."""

    def __init__(
        self,
        dialect: Dialect,
        api: BatchApi,
        open_writer: Callable[[str, bytes, bytes, bytes], Writer],
        new_tag: Callable[[], str],
        member_line: Callable[[Job, int], bytes],
        limits: Callable[[Route], ChunkLimits],
    ) -> None:
        self._dialect = dialect
        self._api = api
        self._open_writer = open_writer
        self._new_tag = new_tag
        self._member_line = member_line
        self._limits = limits
        self.open: dict[Route, Chunk] = {}

    @property
    def records(self) -> int:
        """Count the records in open batches."""
        return sum(chunk.count for chunk in self.open.values())

    def add(self, job: Job, *, again: bool) -> Chunk | None:
        """Put a record into the batch of its route; return the batch that is full without it, if there is one.

        Raises OSError; ValueError for a record that is larger than a line may be.
        """
        route, full = job.route, None
        reason = self._api.refuses(route)
        if reason is not None:
            raise ValueError(reason)
        job.sent += 1
        request = self._dialect.request((job,))
        chunk = self.open.get(route)
        tag = chunk.tag if chunk is not None else self._new_tag()
        number = chunk.count if chunk is not None else 0
        limits = self._limits(route)
        line = self._api.line(request.body, route.path, custom_id(tag, number))
        if len(line) > limits.line:
            job.sent -= 1
            raise ValueError(f"its request has {len(line):,} bytes, and a line of a batch at most {limits.line:,}")
        if chunk is not None and not fits(number, chunk.size, chunk.tokens, len(line), job.tokens, limits):
            full, chunk = chunk, None
            tag = self._new_tag()
            line = self._api.line(request.body, route.path, custom_id(tag, 0))
        if chunk is None:
            frame = self._api.frame
            writer = self._open_writer(tag, frame.before, frame.between, frame.after)
            chunk = self.open[route] = Chunk(tag, route, writer)
        chunk.add(job, line, self._member_line(job, request.expected.entries), again=again)
        return full

    def take(self, route: Route) -> Chunk | None:
        """Take the open batch of a route out."""
        return self.open.pop(route, None)
