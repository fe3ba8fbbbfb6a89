"""A run in memory: scripted answers, an input that is a list, a sink that remembers."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from llmbatch.core.errors import LlmbatchError
from llmbatch.core.events import Event, Finished
from llmbatch.core.exchange import ReadReply, Reply, Request
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.job import Identity, Job, Route
from llmbatch.core.outcome import Completion, InvalidRecord, Outcome
from llmbatch.core.settings import PatienceSettings
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.openai_chat import PATH, Chat
from llmbatch.dialects.request_options import Options
from llmbatch.engine.dispatch import Dispatch
from llmbatch.engine.pipeline import Pipeline
from llmbatch.pacing.concurrency_limit import ConcurrencyLimit
from llmbatch.pacing.cost import Budget
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.retry import RetryPolicy
from llmbatch.pacing.token_bucket import TokenBucket

from .virtual_time import LoopClock, run_virtually

ROUTE = Route(PATH, "m")
READER = AnswerReader()

Attempt = tuple[float, Reply | Fault]
"""How long an attempt takes, and what comes of it."""

Script = Callable[[Request, int], Attempt]
"""What becomes of the n-th request that is sent (counted from 0)."""


def job(index: int, model: str = "m") -> Job:
    """Make a job that asks about its own number."""
    return Job(
        identity=Identity(index, f"id-{index}", f"record-{index}"),
        key=f"{index:032x}",
        route=Route(PATH, model),
        item={"model": model, "messages": [{"role": "user", "content": str(index)}]},
        meta={},
        tokens=1,
    )


def fixed_gate(limit: int) -> Gate:
    """Make a gate that only counts."""
    return Gate(ConcurrencyLimit(limit, adaptive=False), TokenBucket(), TokenBucket())


def invalid(index: int) -> InvalidRecord:
    """Make a record that is not valid."""
    return InvalidRecord(Identity(index, None, f"record-{index}"), Fault(kind=Kind.INVALID_RECORD, message="no"), {})


def answer(text: str = "yes") -> Reply:
    """Make a good answer."""
    body = {"model": "m", "choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    return Reply(200, {}, json.dumps(body).encode())


def error(status: int, code: str | None = None, **headers: str) -> Reply:
    """Make an error answer; `retry_after` becomes the header `retry-after`."""
    body = {"error": {"message": "sorry", "type": None, "param": None, "code": code}}
    return Reply(status, {k.replace("_", "-"): v for k, v in headers.items()}, json.dumps(body).encode())


UNREACHABLE = Fault(kind=Kind.CONNECTION, message="refused", scope=Scope.RUN, retry=True)
TIMED_OUT = Fault(kind=Kind.TIMEOUT, message="too slow", billing=Billing.DOUBTFUL, retry=True)


@dataclass
class World:
    """What the senders of a run saw."""

    sent: list[tuple[float, int]] = field(default_factory=list)
    """When each request left, and the index of its first job."""
    in_flight: int = 0
    peak: int = 0
    opened: int = 0
    closed: int = 0


class ScriptedLane:
    """One lane, answering from a script: what comes is read as any other answer is."""

    def __init__(self, script: Script, world: World) -> None:
        self._script = script
        self._world = world
        world.opened += 1

    async def ask(self, request: Request) -> ReadReply | Fault:
        world = self._world
        duration, result = self._script(request, len(world.sent))
        world.sent.append((asyncio.get_running_loop().time(), request.jobs[0].identity.index))
        world.in_flight += 1
        world.peak = max(world.peak, world.in_flight)
        try:
            await asyncio.sleep(duration)
        finally:
            world.in_flight -= 1
        return result if isinstance(result, Fault) else READER.read_reply(request.expected, result)

    async def aclose(self) -> None:
        self._world.closed += 1


class MemoryInput:
    """Records from an iterable, endless if it is; an exception in it is raised."""

    def __init__(self, records: Iterable[Job | InvalidRecord | Exception]) -> None:
        self._records: Iterator[Job | InvalidRecord | Exception] = iter(records)
        self._held: Exception | None = None
        self.read_count = 0
        self.interrupted = False

    def read(self, limit: int) -> list[Job | InvalidRecord]:
        if self.interrupted:
            return []
        if self._held is not None:
            raise self._held
        batch: list[Job | InvalidRecord] = []
        for record in islice(self._records, limit):
            if isinstance(record, Exception):
                self._held = record
                break
            batch.append(record)
        if self._held is not None and not batch:
            raise self._held
        self.read_count += len(batch)
        return batch

    def interrupt(self) -> None:
        self.interrupted = True


class MemorySink:
    """Remembers outcomes; after `good` of them it fails with `failure`, as often as it is asked."""

    def __init__(self, failure: LlmbatchError | None = None, good: int = 0) -> None:
        self.outcomes: list[Outcome | InvalidRecord] = []
        self.batches: list[int] = []
        self.refused_batches = 0
        self._failure = failure
        self._good = good

    def write(self, outcomes: Sequence[Outcome | InvalidRecord]) -> None:
        if self._failure is not None and len(self.outcomes) >= self._good:
            self.refused_batches += 1
            raise self._failure
        self.outcomes += outcomes
        self.batches.append(len(outcomes))

    @property
    def indices(self) -> list[int]:
        return [(o.job.identity if isinstance(o, Outcome) else o.identity).index for o in self.outcomes]

    @property
    def ok(self) -> int:
        return sum(isinstance(o, Outcome) and isinstance(o.verdict, Completion) for o in self.outcomes)

    @property
    def failed(self) -> int:
        return len(self.outcomes) - self.ok


async def inline(function: Callable[..., Any], *args: Any) -> Any:
    """Do blocking work on the spot: it does not block here."""
    return function(*args)


@dataclass
class Run:
    """One run and all that can be seen of it."""

    pipeline: Pipeline
    input: MemoryInput
    sink: MemorySink
    world: World
    events: list[Event]
    took: float = 0.0

    @property
    def dispatch(self) -> Dispatch:
        return self.pipeline.dispatch

    @property
    def stops(self) -> list[LlmbatchError]:
        return self.pipeline.progress.stops

    @property
    def accounted(self) -> int:
        """What every record that was read became, summed up."""
        return (
            len(self.sink.outcomes) + self.pipeline.writer.unwritten + self.dispatch.not_started + self.dispatch.dropped
        )


def new_run(
    records: Iterable[Job | InvalidRecord | Exception],
    script: Script,
    *,
    workers: int = 4,
    batch: int = 8,
    ordered: bool = False,
    sink: MemorySink | None = None,
    policy: RetryPolicy | None = None,
    patience: PatienceSettings | None = None,
    random: Callable[[], float] = lambda: 0.5,
    offload: Callable[..., Awaitable[Any]] | None = inline,
    observe: Callable[[Event], None] = lambda event: None,
    new_gate: Callable[[], Gate] | None = None,
    servers: Sequence[str] = ("",),
    budget: Budget | None = None,
) -> Run:
    """Wire a run whose only parts that are not the program's own are the two ends."""
    world, events = World(), list[Event]()
    input, sink = MemoryInput(records), sink or MemorySink()
    dialect = Chat(Options())

    def notify(event: Event) -> None:
        events.append(event)
        observe(event)

    dispatch = Dispatch(
        dialect=dialect,
        new_gate=new_gate or (lambda: fixed_gate(workers)),
        policy=policy or RetryPolicy(),
        patience=patience or PatienceSettings(),
        random=random,
        notify=notify,
        budget=budget,
        servers=servers,
    )
    pipeline = Pipeline(
        input=input,
        sink=sink,
        dispatch=dispatch,
        open_lane=lambda: ScriptedLane(script, world),
        workers=workers,
        batch=batch,
        clock=LoopClock(),
        notify=notify,
        ordered=ordered,
        offload=offload,
    )
    return Run(pipeline, input, sink, world, events)


async def finish(run: Run, *alongside: Callable[[Run], Awaitable[None]]) -> Run:
    """Run to the end, with others alongside who may stop it; their failures are failures."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    others = [asyncio.ensure_future(other(run)) for other in alongside]
    await run.pipeline.run()
    run.took = loop.time() - began
    for other in others:
        other.cancel()
    for result in await asyncio.gather(*others, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
    return run


def play(
    records: Iterable[Job | InvalidRecord | Exception],
    script: Script,
    *alongside: Callable[[Run], Awaitable[None]],
    **options: Any,
) -> Run:
    """Run all of it in virtual time."""

    async def main() -> Run:
        return await finish(new_run(records, script, **options), *alongside)

    return run_virtually(main())


def written(event: Event) -> int:
    """Count the outcomes that an event says are written."""
    return len(event.outcomes) if isinstance(event, Finished) else 0
