"""Turns the input into jobs: reads, decodes, builds bodies and keys. Runs in a thread, batch by batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

from llmbatch.app.first_records import FIRST, FirstRecords
from llmbatch.app.survey import Survey
from llmbatch.codec import json
from llmbatch.codec.digest import digest_after, fingerprint
from llmbatch.core.errors import UsageError
from llmbatch.core.fault import Fault, Kind
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import AlreadyDone, InvalidRecord, Outcome
from llmbatch.core.ports import Dialect
from llmbatch.core.prompt import RecordError
from llmbatch.input.decode import Decoded, Decoder
from llmbatch.input.entry import Entry, RecordSource
from llmbatch.pacing.token_estimate import estimated

__all__ = ["Earlier", "JobReader", "SkipDone"]

_MOST_KEPT = 1 << 16
"""Records that are passed over at most until those behind them are handed out."""

_CAPS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_MAY_CAP = frozenset({*_CAPS, "generationConfig"})
"""Fields of a body that may cap its answer."""

SkipDone = Callable[[list[Job | InvalidRecord]], list[Job | InvalidRecord | AlreadyDone | Outcome]]
"""Replaces the records of a batch that need no request."""


class Earlier(NamedTuple):
    """An earlier pass over the same input, and what passes over entries of it."""

    survey: Survey
    skip: Callable[[int], int]


class JobReader:
    """An input of jobs. `bound` returns the most that a job may cost, or raises RecordError.

    An error of the settings that the first record shows, or the `first` records together, is raised before anything
    is sent, if they are those the input begins with. What an `earlier` pass showed to keep its line is not decoded
    again.
    """

    def __init__(
        self,
        source: RecordSource,
        decoder: Decoder,
        dialect: Dialect,
        *,
        limit: int | None = None,
        include: frozenset[str] = frozenset(),
        skip_done: SkipDone | None = None,
        shard: tuple[int, int] | None = None,
        bound: Callable[[Job], float] | None = None,
        first: FirstRecords | None = None,
        earlier: Earlier | None = None,
        from_start: bool = True,
    ) -> None:
        self._source = source
        self._from_start = from_start
        self._decoder = decoder
        self._dialect = dialect
        self._left = limit
        self._keeps_input, self._keeps_body = "input" in include, "response" in include
        self._skip_done = skip_done
        self._shard = shard
        self._bound = bound
        self._keys = _Keys()
        self._index = 0
        self._first = first
        self._earlier = earlier
        self._ready: list[Job | InvalidRecord] = []
        """Records that were looked at, and not returned yet."""

    def read(self, limit: int) -> list[Job | InvalidRecord | AlreadyDone | Outcome]:
        """Return at least one and at most `limit` records; an empty list at the end. Raises InputError, UsageError.

        Those that an earlier pass showed to keep their lines do not count.
        """
        kept: list[AlreadyDone] = []
        records = self.records(limit) if self._earlier is None else self._others(self._earlier, limit, kept)
        return [*kept, *(self._skip_done(records) if self._skip_done is not None else records)]

    def records(self, limit: int) -> list[Job | InvalidRecord]:
        """Return records as `read` does, but without `skip_done`: also those that need no request."""
        if self._first is not None:
            first, self._first = self._first, None
            self._ready = self._look(first, limit)
        if self._ready:
            batch, self._ready = self._ready[:limit], self._ready[limit:]
            return batch
        while True:
            entries, records = self._decoded(limit)
            records = self._mine(records)
            if records or not entries:
                return records

    def _others(self, earlier: Earlier, limit: int, kept: list[AlreadyDone]) -> list[Job | InvalidRecord]:
        """Return at most `limit` records that do not keep their lines; add those in between to `kept`."""
        records: list[Job | InvalidRecord] = []
        survey, skip = earlier
        while len(records) < limit and len(kept) < _MOST_KEPT:
            start = self._index
            end, is_kept = survey.next_run(start)
            if start == end:
                break
            if is_kept:
                self._index += skip(end - start)
                kept += survey.kept(start, self._index)
            else:
                records += self._decoded(min(limit - len(records), end - start))[1]
            if self._index == start:  # interrupted
                break
        return records

    def _look(self, first: FirstRecords, limit: int) -> list[Job | InvalidRecord]:
        """Read the first records until they suffice; of an endless input, only those that are there."""
        endless = self._source.fraction is None
        found: list[Job | InvalidRecord] = []
        while True:
            entries, records = self._decoded(max(limit, FIRST) if endless else limit)
            first.add(entries, records)
            found += records
            if endless or not entries or first.is_decided:
                first.conclude(ended=not entries)
                return self._mine(found)

    def _decoded(self, limit: int) -> tuple[list[Entry], list[Job | InvalidRecord]]:
        entries = self._entries(limit)
        records = [self._job(index, entry) for index, entry in enumerate(entries, self._index)]
        self._index += len(entries)
        return entries, records

    def _mine(self, records: list[Job | InvalidRecord]) -> list[Job | InvalidRecord]:
        return records if self._shard is None else [one for one in records if self._is_mine(one, *self._shard)]

    def _entries(self, limit: int) -> list[Entry]:
        if self._left is None:
            return self._source.read(limit)
        limit = min(limit, self._left)
        entries = self._source.read(limit) if limit else []
        self._left -= len(entries)
        return entries

    def _is_mine(self, job: Job | InvalidRecord, shard: int, shards: int) -> bool:
        """Say whether a record belongs to this shard. Records with the same id share one, which finds the repeat."""
        identity = job.identity
        return fingerprint(identity.id, identity.record, 0) % shards == shard - 1

    @property
    def position(self) -> int:
        """How many records of the input were read, those of other shards too."""
        return self._index

    def interrupt(self) -> None:
        """Make a blocked `read` return."""
        self._source.interrupt()

    def _job(self, index: int, entry: Entry) -> Job | InvalidRecord:
        decoded = self._decoder.decode(index, entry)
        if isinstance(decoded, InvalidRecord):
            if self._keeps_input:
                decoded.input = entry.value
            return decoded
        try:
            return self._shape(decoded)
        except RecordError as error:
            if index == 0 and error.hint is not None and self._from_start:
                raise UsageError(f"{entry.where}: {error.message}", error.hint) from error
            hint = f" ({error.hint})" if error.hint else ""
            fault = Fault(kind=Kind.INVALID_RECORD, message=f"{entry.where}: {error.message}{hint}")
            kept = decoded.fields if self._keeps_input else None
            return InvalidRecord(decoded.identity, fault, decoded.meta, kept)

    def _shape(self, decoded: Decoded) -> Job:
        route, item = self._dialect.item(decoded.prompt)
        body = json.canonical(item)
        job = Job(
            decoded.identity,
            self._keys[route](body),
            route,
            item,
            decoded.meta,
            estimated(body),
            _token_cap(route, item),
            decoded.fields if self._keeps_input else None,
            self._keeps_body or decoded.prompt.body is not None,
        )
        if "service_tier" in item:  # it changes the price, and not what is asked
            job.former_key = job.key
            job.key = self._keys[route](json.canonical({n: v for n, v in item.items() if n != "service_tier"}))
        if self._bound is not None:
            job.worst_cost = self._bound(job)
        return job


class _Keys(dict[Route, Callable[[bytes], str]]):
    """By route, the function that makes the key of a request as sent alone; the model is in its body."""

    def __missing__(self, route: Route) -> Callable[[bytes], str]:
        of_body = self[route] = digest_after(route.dialect.encode(), route.path.encode())
        return of_body


def _token_cap(route: Route, item: dict[str, Any]) -> int | None:
    if route.dialect == "embeddings":
        return 0  # no answer is written
    if _MAY_CAP.isdisjoint(item):
        return None
    for name in _CAPS:
        cap = item.get(name)
        if isinstance(cap, int) and cap > 0:
            return cap
    config = item.get("generationConfig")
    if not isinstance(config, dict):
        return None
    cap, candidates = config.get("maxOutputTokens"), config.get("candidateCount", 1)
    return cap * candidates if isinstance(cap, int) and isinstance(candidates, int) and cap * candidates > 0 else None
