"""Runs the rows of a batch when they are due, and writes the results. After a crash all of that is repeated."""

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from random import Random
from typing import Any, BinaryIO, NamedTuple

import anyio
import anyio.lowlevel

from llmbatch.codec import json
from llmbatch.mock.batch import Batch, Ended
from llmbatch.mock.batch_family import BatchFamily, WrittenRow
from llmbatch.mock.batch_rows import Answer, Line, Row, answer, drawn_fate, read_row
from llmbatch.mock.batch_store import BatchStore, StoredFile
from llmbatch.mock.error_formats import OPENAI, Refusal
from llmbatch.mock.fault_markers import due
from llmbatch.mock.ledger import Ledger
from llmbatch.mock.provider import Provider
from llmbatch.mock.settings import MockSettings

__all__ = ["SLICE", "Shared", "settle"]

SLICE = 100
"""Rows between two chances for connections to be served."""


class Shared(NamedTuple):
    """What the work on all batches shares; `serials` numbers requests, the clock tells Unix seconds."""

    settings: MockSettings
    provider: Provider
    store: BatchStore
    ledger: Ledger | None
    serials: Iterator[int]
    clock: Callable[[], float]


async def settle(batch: Batch, family: BatchFamily, shared: Shared) -> Ended:
    """Run the rows that had their turn, in an order of chance; write the results and the lines for the ledger."""
    store = shared.store
    names = [_result_id(batch, family.prefix, which) for which in ("output", "errors")]
    log = store.unlogged(batch.id)
    with ExitStack() as stack:
        source = stack.enter_context(store.open_input(batch.id))
        text = stack.enter_context(mmap(source.fileno(), 0, access=ACCESS_READ))
        files = [stack.enter_context(_create(path + ".part")) for path in (*map(store.content, names), log)]
        settlement = _Settlement(batch, family, shared, files)
        starts, rows_run = _line_starts(text), batch.rows_run(batch.ends)
        expired = family.no_results_if_expired and settlement.expires(text[at : _line_end(text, at)] for at in starts)
        order = list(range(len(starts)))
        Random(f"{shared.settings.seed}:{batch.number}:order").shuffle(order)
        for position, at in enumerate(order):
            if position % SLICE == 0:
                await anyio.lowlevel.checkpoint()
            line = family.line(text[starts[at] : _line_end(text, starts[at])], batch)
            if expired:
                settlement.counts["expired"] += 1
            elif position < rows_run:
                settlement.run(line)
            else:
                settlement.leave(line, "cancelled")
    outputs: list[str | None] = []
    roles = ("result", "error")
    for name, shown, role, count in zip(names, family.files(batch), roles, settlement.lines, strict=True):
        content = store.content(name)
        if not count:
            os.remove(content + ".part")
            outputs.append(None)
            continue
        os.replace(content + ".part", content)
        size = os.stat(content).st_size
        owner = family.files_of or family.name
        store.add_file(StoredFile(name, owner, shown, family.results, size, shared.clock(), count, role=role))
        outputs.append(name)
    os.replace(log + ".part", log)
    counts, usage = dict(settlement.counts), dict(settlement.usage)
    return Ended(shared.clock(), counts, usage, (outputs[0], outputs[1]), dict(settlement.attempts))


class _Settlement:
    """The rows of one batch as they run: `files` get answers, errors, and lines for the ledger."""

    def __init__(self, batch: Batch, family: BatchFamily, shared: Shared, files: list[BinaryIO]) -> None:
        self._batch, self._family, self._shared, self._files = batch, family, shared, files
        self._seed = str(shared.settings.seed)
        self.lines = [0, 0]
        self.counts = Counter(succeeded=0, failed=0, expired=0, cancelled=0)
        self.usage = Counter(input=0, output=0)
        self.attempts: Counter[str] = Counter()
        self._fates: dict[str, str | int | None] = {}

    def expires(self, lines: Iterable[bytes]) -> bool:
        """Tell whether all of the batch expires, by order of one of its prompts or by chance."""
        for raw in lines:
            if b"[[mock:batch" in raw:
                line = self._family.line(raw, self._batch)
                row = read_row(self._shared.provider, line, self._batch.headers)
                self._fates[line.custom_id] = self._fate(row)
        draw = Random(f"{self._seed}:{self._batch.number}:expires").random()
        return "expire" in self._fates.values() or draw < self._shared.settings.batch_expire

    def leave(self, line: Line, why: str) -> None:
        """Write a row that did not run."""
        self.counts[why] += 1
        self._write(self._family.row(line.custom_id, why))

    def run(self, line: Line) -> None:
        """Answer a row, or do to it what its prompt or chance says."""
        shared, family = self._shared, self._family
        row = read_row(shared.provider, line, self._batch.headers)
        fate = self._fates[line.custom_id] if line.custom_id in self._fates else self._fate(row)
        if fate == "expire":
            self.leave(line, "expired")
            return
        if fate == "invalid":
            answer = _error(row, 400)
        else:
            answer = _error(row, fate) if isinstance(fate, int) else self._answer(row, self._seed)
        self.counts["succeeded" if answer.status == 200 else "failed"] += 1
        used = answer.usage
        self.usage.update(input=used[0], output=used[1])
        if shared.ledger:
            self._files[2].write(json.dumps(self._logged(row, answer, fate)) + b"\n")
        if fate != "missing":
            self._write(family.row(line.custom_id, answer), cut=fate == "unreadable")
        if fate == "duplicate-row":
            self._write(family.row(line.custom_id, self._answer(row, f"{self._seed}:again")))
        if fate == "stranger":
            self._write(family.row(f"stranger-{next(shared.serials)}", answer))

    def _fate(self, row: Row) -> str | int | None:
        ordered = [fault for fault in row.script if fault.name == "batch"]
        timed = any(fault.times for fault in ordered)
        if ordered and (fault := due(ordered, self._count(f"batch:{row.prompt}") if timed else 0)):
            return str(fault.options["row"])
        settings = self._shared.settings
        expire = 0.0 if self._family.no_results_if_expired else settings.batch_expire
        shares = (expire, settings.batch_missing, settings.batch_row_errors)
        return drawn_fate(shares, f"{self._seed}:{self._batch.number}:{row.line.custom_id}")

    def _answer(self, row: Row, seed: str) -> Answer:
        shared = self._shared
        if any(fault.times for fault in row.script if fault.name != "batch"):
            self.attempts[shared.provider.digest(row.prompt)] += 1
        return answer(shared.provider, row, seed, serial=next(shared.serials), wall=shared.clock())

    def _count(self, what: str) -> int:
        """Return how often this was run before, in any batch."""
        self.attempts[self._shared.provider.digest(what)] += 1
        return self._shared.provider.count(what)

    def _write(self, row: WrittenRow, *, cut: bool = False) -> None:
        """Write a row as a line, the first half of one if it is cut."""
        text = json.dumps(row.value)
        self._files[row.file].write((text[: len(text) // 2] if cut else text) + b"\n")
        self.lines[row.file] += 1

    def _logged(self, row: Row, answer: Answer, fate: str | int | None) -> dict[str, Any]:
        now = self._shared.clock()
        return {
            "n": next(self._shared.serials),
            "t_start": now,
            "t_end": now,
            "path": row.line.path,
            "key": row.key,
            "prompt": row.prompt[:200],
            "status": answer.status,
            "fault": fate if isinstance(fate, str) else answer.fault,
            "billed": answer.billed,
            "conn": None,
            "in_flight": None,
            "aborted": False,
            "headers": {},
            "batch": self._batch.id,
            "custom_id": row.line.custom_id,
        }


def _error(row: Row, status: int) -> Answer:
    error_format = row.dialect.error_format if row.dialect else OPENAI
    refused = error_format.refuse(Refusal(status, f"The mock was told to fail this row with {status}."))
    return Answer(status, json.loads(refused.body), "row-error")


def _result_id(batch: Batch, prefix: str, which: str) -> str:
    """Return the id of a results file: the same if a death makes the work be done again."""
    return prefix + sha256(f"{batch.id}:{which}".encode()).hexdigest()[:32]


def _create(path: str) -> BinaryIO:
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))


def _line_starts(text: mmap) -> "array[int]":
    """Return where each line begins that is not blank."""
    starts, at = array("Q"), 0
    while at < len(text):
        end = _line_end(text, at)
        if text[at:end].strip():
            starts.append(at)
        at = end + 1
    return starts


def _line_end(text: mmap, start: int) -> int:
    end = text.find(b"\n", start)
    return end if end >= 0 else len(text)
