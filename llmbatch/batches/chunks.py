"""Cuts records into batches: one open file per route, closed before the next record would go beyond a limit."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from llmbatch.core.exchange import Expected, Request
from llmbatch.core.job import Job, Route
from llmbatch.core.ports import Dialect
from llmbatch.core.ticket import Step, Ticket, custom_id
from llmbatch.dialects.batch_api import BatchApi

__all__ = ["Chunk", "ChunkLimits", "Chunks", "Writer"]


class ChunkLimits(NamedTuple):
    """The most that one batch may hold; `tokens` of a model's queue, None where no limit is known."""

    records: int
    bytes: int
    line: int
    tokens: float | None = None
    inputs: float = math.inf
    """Texts to embed."""


class Writer(Protocol):
    """Writes the files of a batch. Blocks; raises OSError."""

    count: int
    size: int

    def add(self, line: bytes, members: bytes) -> None:
        """Add a request."""
        ...

    def close(self) -> str:
        """Put the files on the disk; return the digest of what will be sent."""
        ...

    def drop(self) -> None:
        """Remove the files."""
        ...


class Chunk:
    """The batch of one route that is being filled."""

    def __init__(self, tag: str, route: Route, writer: Writer) -> None:
        self.tag, self.route = tag, route
        self._writer = writer
        self.count = 0
        """Records in it."""
        self.inputs = 0
        self.tokens = 0
        self.worst = 0.0
        self.fresh = 0
        """Records that come from the input, and not from a batch that gave them back."""

    @property
    def lines(self) -> int:
        """Count the requests."""
        return self._writer.count

    def has_room(self, line: int, request: Request, limits: ChunkLimits) -> bool:
        """Say whether one more request, whose line is so long, goes into it; the first may."""
        if not self.lines:
            return True
        tokens = self.tokens + sum(job.tokens for job in request.jobs)
        return (
            self.count + len(request.jobs) <= limits.records
            and self.inputs + count_inputs(request) <= limits.inputs
            and self._writer.size + line <= limits.bytes
            and (limits.tokens is None or tokens <= limits.tokens)
        )

    def add(self, request: Request, line: bytes, members: bytes, *, again: bool) -> None:
        """Add a request. Raises OSError."""
        self._writer.add(line, members)
        self.count += len(request.jobs)
        self.inputs += count_inputs(request)
        self.tokens += sum(job.tokens for job in request.jobs)
        self.worst += sum(job.worst_cost for job in request.jobs)
        self.fresh += 0 if again else len(request.jobs)

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
            lines=self.lines,
            bytes=self._writer.size,
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
        members_line: Callable[[Sequence[Job], Expected], bytes],
        limits: Callable[[Route], ChunkLimits],
    ) -> None:
        self._dialect = dialect
        self._api = api
        self._open_writer = open_writer
        self._new_tag = new_tag
        self._members_line = members_line
        self._limits = limits
        self.open: dict[Route, Chunk] = {}

    @property
    def records(self) -> int:
        """Count the records in open batches."""
        return sum(chunk.count for chunk in self.open.values())

    def add(self, waiting: Sequence[Job], *, again: bool) -> tuple[int, Chunk | None]:
        """Put the first of these records of one route, and those that share its request, into the route's batch.

        Returns how many went in, and the batch that is full without them, if there is one. Raises OSError; ValueError
        for a first record that is larger than a line may be.
        """
        route, full = waiting[0].route, None
        reason = self._api.refuses(route)
        if reason is not None:
            raise ValueError(reason)
        limits, chunk = self._limits(route), self.open.get(route)
        if chunk is not None and chunk.count >= limits.records:
            full, chunk = chunk, None
        tag, number = (chunk.tag, chunk.lines) if chunk is not None else (self._new_tag(), 0)
        room = limits.records - (chunk.count if chunk is not None else 0)
        request, line = self._fitting(waiting[:room], limits, custom_id(tag, number))
        if chunk is not None and not chunk.has_room(len(line), request, limits):
            full, chunk, tag = chunk, None, self._new_tag()
            line = self._api.line(request.body, route.path, custom_id(tag, 0))
        if chunk is None:
            frame = self._api.frame
            writer = self._open_writer(tag, frame.before, frame.between, frame.after)
            chunk = self.open[route] = Chunk(tag, route, writer)
        for job in request.jobs:
            job.attempts.sent += 1
        chunk.add(request, line, self._members_line(request.jobs, request.expected), again=again)
        return len(request.jobs), full

    def _fitting(self, waiting: Sequence[Job], limits: ChunkLimits, id: str) -> tuple[Request, bytes]:
        """Return the next request with its line, of fewer records where those of a usual one are too much together."""
        most = self._dialect.pack(waiting)
        while True:
            request = self._dialect.request(waiting[:most])
            line = self._api.line(request.body, waiting[0].route.path, id)
            tokens = sum(job.tokens for job in request.jobs)
            if len(line) <= limits.line and (most == 1 or limits.tokens is None or tokens <= limits.tokens):
                return request, line
            if most == 1:
                raise ValueError(f"its request has {len(line):,} bytes, and a line of a batch at most {limits.line:,}")
            most //= 2

    def take(self, route: Route) -> Chunk | None:
        """Take the open batch of a route out."""
        return self.open.pop(route, None)


def count_inputs(request: Request) -> int:
    """Count the texts that a request asks about: a record may be a list of them."""
    job = request.jobs[0]
    return len(request.jobs) if request.expected.entries else len(job.item["input"])
