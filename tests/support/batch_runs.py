"""Whole runs with batches in virtual time: a results file on disk, and a provider of OpenAI's shape in memory."""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from llmbatch.batches.batches import Batches
from llmbatch.batches.calls import BatchClient
from llmbatch.batches.chunks import ChunkLimits, Chunks
from llmbatch.batches.sizes import SHARE, BatchSizes
from llmbatch.core.errand import Errand, FilePart
from llmbatch.core.errors import LlmbatchError
from llmbatch.core.exchange import Reply, Request
from llmbatch.core.fault import Fault
from llmbatch.core.job import Job
from llmbatch.core.outcome import AlreadyDone, InvalidRecord
from llmbatch.core.ports import Dialect
from llmbatch.core.redact import Redactor
from llmbatch.core.settings import BatchSettings, PatienceSettings
from llmbatch.core.ticket import Step
from llmbatch.dialects.batch_api import BatchApi
from llmbatch.dialects.batch_openai import OpenAIBatches
from llmbatch.dialects.openai_chat import Chat
from llmbatch.dialects.request_options import Options
from llmbatch.engine.dispatch import Dispatch
from llmbatch.engine.pipeline import Pipeline
from llmbatch.pacing.batch_polling import LOCAL
from llmbatch.pacing.cost import Budget
from llmbatch.pacing.retry import RetryPolicy
from llmbatch.results.chunk import members_line
from llmbatch.results.opening import open_store
from llmbatch.results.render import jsonl
from llmbatch.results.resume_policy import Action, ResumePolicy
from llmbatch.results.store import Store
from llmbatch.results.ticket_log import TicketLog

from .scripted import READER, ScriptedLane, World, answer, fixed_gate, inline
from .scripted import job as scripted_job
from .virtual_time import LoopClock, run_virtually

Line = dict[str, Any]


class Killed(BaseException):
    """The process ends here."""


def die_at(patch: pytest.MonkeyPatch, step: Step, *, after: bool) -> None:
    """End the process just before or after a step is put on the disk."""
    record = TicketLog.record

    def dying(self: TicketLog, ticket: Any, at: Step, **facts: Any) -> Any:
        if at is not step:
            return record(self, ticket, at, **facts)
        if after:
            record(self, ticket, at, **facts)
        raise Killed

    patch.setattr(TicketLog, "record", dying)


def completion(text: str = "yes") -> dict[str, Any]:
    """Return the body of a good answer."""
    return {"model": "m", "choices": [{"message": {"content": text}, "finish_reason": "stop"}]}


def row(line: Line, status: int = 200, **body: Any) -> bytes:
    """Return the row of a line."""
    response = {"status_code": status, "request_id": "r", "body": body or completion()}
    return json.dumps({"custom_id": line["custom_id"], "response": response, "error": None}).encode()


def expired(line: Line) -> bytes:
    """Return the row of a line that did not run."""
    return json.dumps({"custom_id": line["custom_id"], "response": None, "error": {"code": "batch_expired"}}).encode()


def content(line: Line) -> int:
    """Return the number that a line asks about."""
    return int(line["body"]["messages"][0]["content"])


def inputs(line: Line) -> list[int]:
    """Return the numbers that a line asks about, several where embeddings share it."""
    if "messages" in line["body"]:
        return [content(line)]
    input = line["body"]["input"]
    return [int(one) for one in (input if isinstance(input, list) else [input])]


class Provider:
    """Files and batches in memory. `rows` answers the lines of a batch; `refuse` may answer any call instead."""

    def __init__(
        self,
        rows: Callable[[list[Line]], Iterable[bytes]] = lambda lines: map(row, lines),
        refuse: Callable[[Errand], Reply | Fault | None] = lambda errand: None,
        fail: Callable[[list[Line]], dict[str, Any] | None] = lambda lines: None,
        billed: Callable[[Line], bool] = lambda line: True,
    ) -> None:
        self._rows, self._refuse, self._fail, self._bills = rows, refuse, fail, billed
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.sizes: list[int] = []
        self.billed: Counter[int] = Counter()
        self.calls: list[Errand] = []

    async def call(self, errand: Errand) -> Reply | Fault:
        self.calls.append(errand)
        refused = self._refuse(errand)
        if refused is not None:
            return refused
        match errand.method, errand.address.strip("/").split("?")[0].split("/"):
            case "POST", ["files"]:
                assert isinstance(errand.body, FilePart)
                name = f"file-{len(self.files)}"
                self.files[name] = _read(errand.body.path)
                return _ok({"id": name, "status": "processed"})
            case "POST", ["batches"]:
                assert isinstance(errand.body, bytes)
                return _ok(self._create(json.loads(errand.body)))
            case "GET", ["batches"]:
                return _ok({"data": list(self.batches.values())[::-1], "has_more": False})
            case "GET", ["batches", id]:
                return _ok(self.batches[id])
            case "GET", ["files", id, "content"]:
                assert errand.sink is not None
                _write(errand.sink, self.files[id])
                return Reply(200, {}, b"")
            case "DELETE", _:
                return _ok({})
        raise AssertionError(errand)

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        lines = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        self.sizes.append(len(lines))
        id = f"batch-{len(self.batches)}"
        batch: dict[str, Any] = {"id": id, "status": "failed", "created_at": 0, **asked}
        if error := self._fail(lines):
            batch["errors"] = {"data": [error]}
        else:
            self.billed.update(number for line in lines if self._bills(line) for number in inputs(line))
            self.files[f"{id}-out"] = b"".join(one + b"\n" for one in self._rows(lines))
            batch |= {"status": "completed", "output_file_id": f"{id}-out"}
        self.batches[id] = batch
        return batch


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


def _write(path: str, data: bytes) -> None:
    Path(path).write_bytes(data)


def _ok(value: Any) -> Reply:
    return Reply(200, {}, json.dumps(value).encode())


class Records:
    """The input of a run: what the file has of each record decides what becomes of it."""

    def __init__(self, store: Store, jobs: Iterable[Job], *, hold: bool) -> None:
        self._store, self._jobs = store, list(jobs)
        self._policy = ResumePolicy(hold=hold)
        self.ended = False

    def read(self, limit: int) -> list[Any]:
        if self.ended:
            return []
        taken, self._jobs = self._jobs[:limit], self._jobs[limit:]
        entries: list[Job | AlreadyDone] = []
        for job in taken:
            if self._store.claim(job.identity):
                entries.append(AlreadyDone.PENDING)
                continue
            decision = self._store.decide(job.identity, job.key, self._policy)
            if decision.action is Action.SEND:
                job.redo, job.attempts.possibly_billed = decision.redo, self._store.prior(job.identity, job.key)
                entries.append(job)
            else:
                entries.append(AlreadyDone.HELD if decision.action is Action.HOLD else AlreadyDone.OK)
        self._store.plan([one for one in entries if isinstance(one, Job)])
        return entries

    def interrupt(self) -> None:
        self.ended = True


class BatchRun:
    """One run on a results file, after it: what it sent, wrote and says."""

    def __init__(
        self,
        path: Path,
        provider: Provider,
        records: int | Iterable[Job] = 4,
        *,
        api: BatchApi | None = None,
        settings: BatchSettings | None = None,
        hold: bool = False,
        dedupe: bool = False,
        policy: RetryPolicy | None = None,
        limits: ChunkLimits | None = None,
        budget: Budget | None = None,
        worst: float = 0.0,
        dialect: Dialect | None = None,
        alongside: Callable[["BatchRun"], None] | None = None,
    ) -> None:
        self.path, self.provider = path, provider
        self._jobs = [scripted_job(n) for n in range(records)] if isinstance(records, int) else records
        self._api = api or OpenAIBatches()
        self._settings = settings or BatchSettings(batch_api=True, no_first_live=True)
        self._hold = hold
        self._dedupe = dedupe
        self._policy = policy or RetryPolicy(unknown_outcomes=0 if hold else 1)
        self._limits = limits or ChunkLimits(50_000, 1 << 27, 1 << 24)
        self._budget = budget or Budget()
        self._worst = worst
        self._dialect = dialect or Chat(Options())
        self._alongside = alongside
        self.world = World()
        self.peak_waiting = 0
        run_virtually(self._go())

    async def _go(self) -> None:
        with open_store(self.path, fsync="never") as store:
            store.begin_tickets()
            self.store = store
            if self._dedupe:
                store.index_answers([])
            journal = store.journal(jsonl(include=frozenset(), redact=Redactor()), batch=64, rescue_dir=None)
            dialect, log = self._dialect, store.tickets.log
            sizes = BatchSizes(self._settings.batch_tokens, log.limits, log.learn)

            def limits(route: Any) -> ChunkLimits:
                tokens = sizes.token_limit(route.model)
                return self._limits._replace(
                    records=int(min(self._limits.records, sizes.most(route))),
                    tokens=tokens * SHARE if tokens is not None else None,
                )

            def reprice(job: Job) -> None:
                job.worst_cost = self._worst

            client = BatchClient("provider", self._api, self.provider.call, "https://x", "a", LOCAL)
            self.batches = Batches(
                settings=self._settings,
                store=store,
                run_id=secrets.token_hex(8),
                client=client,
                find_client=lambda ticket: client,
                chunks=Chunks(dialect, self._api, store.tickets.new_chunk, store.tickets.new_tag, members_line, limits),
                sizes=sizes,
                reader=READER,
                policy=self._policy,
                hold=self._hold,
                dedupe=self._dedupe,
                max_outage=900.0,
                budget=self._budget,
                reprice=reprice,
                worked=lambda route: False,
                clock=LoopClock(),
                notify=self._notify,
                random=lambda: 0.5,
                sync=lambda: None,
                offload=inline,
            )
            self.events: list[Any] = []
            self._watch_memory()
            dispatch = Dispatch(
                dialect=dialect,
                new_gate=lambda: fixed_gate(4),
                policy=self._policy,
                patience=PatienceSettings(),
                random=lambda: 0.5,
                notify=self._notify,
                budget=self._budget,
                dedupe=self._dedupe,
                hold=self._hold,
                servers=("",),
            )

            def reply(request: Request, number: int) -> tuple[float, Reply]:
                store.mark_sent()
                return 0.01, answer()

            self.pipeline = Pipeline(
                input=Records(store, self._jobs, hold=self._hold),
                sink=journal,
                dispatch=dispatch,
                open_lane=lambda: ScriptedLane(reply, self.world),
                workers=4,
                batch=64,
                clock=LoopClock(),
                notify=self._notify,
                marks=store,
                offload=inline,
                batches=self.batches,
            )
            try:
                await self.pipeline.run()
                self.batches.end_account()
                if not self.stops:
                    store.finish()
            finally:
                journal.close()
            self._check_account()

    def _watch_memory(self) -> None:
        """Note how many records wait in memory at most."""
        intake = self.batches._intake
        assert intake is not None
        add = intake.add

        def watched(jobs: Iterable[Job], *, again: bool) -> None:
            add(jobs, again=again)
            self.peak_waiting = max(self.peak_waiting, intake.waiting)

        intake.add = watched  # type: ignore[method-assign]

    def _notify(self, event: Any) -> None:
        self.events.append(event)
        if self._alongside is not None:
            self._alongside(self)

    def _check_account(self) -> None:
        """Every record that was read has one end."""
        batches, dispatch, progress = self.batches, self.pipeline.dispatch, self.pipeline.progress
        written = sum(
            not isinstance(event, str) and hasattr(event, "outcomes") and len(event.outcomes) for event in self.events
        )
        total = written + sum(progress.kept.values()) - batches.earlier.resolved - batches.earlier.others
        total += dispatch.held + batches.account.held + batches.pending + batches.account.not_started
        total += self.pipeline.writer.unwritten + dispatch.not_started + dispatch.dropped
        assert total == progress.read, f"{progress.read} records read, {total} accounted for"

    @property
    def stops(self) -> list[LlmbatchError]:
        return self.pipeline.progress.stops

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.events if hasattr(event, "text")]

    @property
    def lines(self) -> dict[int, dict[str, Any]]:
        """The result lines by the number of their record."""
        found = [json.loads(line) for line in self.path.read_bytes().splitlines()]
        redo = self.path.with_name(f"{self.path.name}.state") / "redo.jsonl"
        found += [json.loads(line) for line in redo.read_bytes().splitlines()] if redo.exists() else []
        return {line["index"]: line for line in found}


__all__ = ["BatchRun", "InvalidRecord", "Provider", "completion", "content", "expired", "inputs", "row"]
