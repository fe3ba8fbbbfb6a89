"""Works on batches in the background: checks their input, and runs their rows when they are due."""

import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256

import anyio
import anyio.lowlevel

from llmbatch.codec import json
from llmbatch.mock.batch import Batch, Checked, Problem
from llmbatch.mock.batch_family import BatchFamily
from llmbatch.mock.batch_results import SLICE, Shared, settle
from llmbatch.mock.batch_rows import BadLine, Row, read_row

__all__ = ["BatchWorker"]

_RETRY = 1.0
"""Seconds until the folder is looked at again while a batch should have ended: another process may have it."""


class BatchWorker:
    """One task for all batches of a folder."""

    def __init__(self, shared: Shared, families: Mapping[str, BatchFamily]) -> None:
        self._shared = shared
        self._settings, self._provider, self._store = shared.settings, shared.provider, shared.store
        self._ledger, self._clock = shared.ledger, shared.clock
        self._families = families
        self._woken = anyio.Event()
        self._store.forget_old(self._clock())
        for batch in self._store.batches():
            if batch.ended:
                self._provider.remember(batch.ended.attempts)

    def wake(self) -> None:
        """Look at the batches now: one was created or cancelled."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            wait = float("inf")
            for batch in reversed(self._store.batches()):
                await self.advance(batch.id)
                if (later := self._store.batch(batch.id)) and not later.over:
                    wait = min(wait, max(later.ends - self._clock(), _RETRY if self._clock() > later.ends else 0.0))
            with anyio.move_on_after(wait):
                await self._woken.wait()
            self._woken = anyio.Event()

    async def advance(self, id: str) -> None:
        """Do what is due for one batch."""
        async with self._store.lock():
            batch = self._store.batch(id)
            if batch is None:
                return
            if batch.checked is None:
                batch.checked = await self.check(batch)
                self._store.save(batch)
            if not batch.over and self._clock() >= batch.ends:
                batch.ended = await settle(batch, self._families[batch.family], self._shared)
                self._store.save(batch)
            if batch.over:
                self._log(batch)
                self._store.drop_input(batch.id)

    async def check(self, batch: Batch) -> Checked:
        """Read all of the input; only the first bad line is reported."""
        family, provider = self._families[batch.family], self._provider
        seen: set[bytes] = set()
        count = tokens = 0
        model: str | None = None
        first = ""

        def failed(problem: Problem) -> Checked:
            return Checked(self._clock(), problem=problem)

        try:
            file = self._store.open_input(batch.id)
        except FileNotFoundError:
            return failed(Problem("invalid_request", f"There is no batch input file {batch.file}.", "input_file_id"))
        with file:
            for number, raw in enumerate(file, 1):
                if number % SLICE == 0:
                    await anyio.lowlevel.checkpoint()
                if not raw.strip():
                    continue
                try:
                    row = read_row(provider, family.line(raw, batch), batch.headers)
                    model = self._checked_row(family, row, seen, model)
                except BadLine as error:
                    problem = error.problem
                    return failed(Problem(problem.code, problem.message, problem.param, number))
                first = first or row.line.custom_id
                count += 1
                tokens += row.tokens
        if not count:
            return failed(Problem("empty_file", "The input file is empty. Please ensure that the batch has requests."))
        if count > family.most_lines:
            text = f"The batch has {count:,} requests. The most are {family.most_lines:,}."
            return failed(Problem("too_many_tasks", text))
        if (limit := self._settings.batch_queue) is not None and self._enqueued(batch, model) + tokens > limit:
            text = family.too_many_tokens.format(model=model, limit=limit)
            return failed(Problem("token_limit_exceeded", text))
        return Checked(self._clock(), count, tokens, model, first)

    def _checked_row(self, family: BatchFamily, row: Row, seen: set[bytes], model: str | None) -> str | None:
        """Return the model of the batch so far. Raises BadLine."""
        digest = sha256(row.line.custom_id.encode("utf-8", "surrogatepass")).digest()[:12]
        if digest in seen:
            text = f"The custom_id {row.line.custom_id!r} is used more than once."
            raise BadLine("duplicate_custom_id", text, "custom_id")
        seen.add(digest)
        if family.refuses_bodies and row.refusal is not None and row.refusal.status == 400:
            raise BadLine("invalid_request", row.refusal.message, "body")
        if family.one_model:
            if row.model == "missing-model":
                raise BadLine("model_not_found", f"The model `{row.model}` does not exist.", "body.model")
            asked = row.line.body.get("model")
            if model is not None and asked != model:
                raise BadLine("mismatched_model", f"The model {asked!r} differs from {model!r}.", "body.model")
            model = asked
        for fault in row.script if family.refuses_lines else ():
            if fault.name == "batch" and fault.options["row"] == "invalid":
                raise BadLine("invalid_request", "The mock was told that this line is invalid.", "body")
        return model if family.one_model else model or row.model

    def _enqueued(self, batch: Batch, model: str | None) -> int:
        """Return the tokens of a model in batches that have not ended."""
        others = (other for other in self._store.batches(batch.family) if other.id != batch.id and not other.over)
        return sum(other.checked.tokens for other in others if other.checked and other.checked.model == model)

    def _log(self, batch: Batch) -> None:
        """Move the ledger lines of a batch into the ledger; those that are there from before a death are left out."""
        path = self._store.unlogged(batch.id)
        try:
            with open(path, "rb") as file:
                lines = file.readlines()
        except FileNotFoundError:
            return
        if self._ledger and lines:
            there = self._ledger.custom_ids(batch.id)
            for line in lines:
                if not there or json.loads(line)["custom_id"] not in there:
                    self._ledger.append(line)
        with suppress(FileNotFoundError):
            os.remove(path)
