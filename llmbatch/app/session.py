"""The composition root: settings in, wired parts, summary out."""

import gc
import math
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from random import Random

import anyio

from llmbatch.app.files import check_settings
from llmbatch.app.input import InputReader, new_dialect, new_reader
from llmbatch.app.meter import EVERY
from llmbatch.app.mock_process import mock_process
from llmbatch.app.monitor import Monitor
from llmbatch.app.output import Output, StreamTo, check_stdout, open_output
from llmbatch.app.prices import bound, find_price, spent_in
from llmbatch.app.servers import Servers, find_preset
from llmbatch.app.summary import summarize, why_it_stopped
from llmbatch.core.clock import SystemClock
from llmbatch.core.errors import (
    CeilingReached,
    InputError,
    Interrupted,
    LlmbatchError,
    OutputError,
    UsageError,
)
from llmbatch.core.events import Event, Finished, Notice
from llmbatch.core.job import Job
from llmbatch.core.outcome import AlreadyDone, InvalidRecord, Outcome
from llmbatch.core.ports import Dialect, Input, Observer
from llmbatch.core.redact import Redactor
from llmbatch.core.settings import Settings
from llmbatch.core.snapshot import Snapshot
from llmbatch.core.tally import Summary, Tally
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.engine.dispatch import Dispatch
from llmbatch.engine.offload import Offload
from llmbatch.engine.pipeline import Pipeline
from llmbatch.input.entry import RecordSource
from llmbatch.pacing.concurrency_limit import FEW_SLOTS, SILENT, ConcurrencyLimit
from llmbatch.pacing.cost import Budget, Price
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.retry import RetryPolicy
from llmbatch.pacing.token_bucket import TokenBucket
from llmbatch.results.journal import SYNC_EVERY
from llmbatch.results.render import Render
from llmbatch.results.stream_sink import StreamSink
from llmbatch.transport_process.channel import TransportSettings
from llmbatch.transport_process.event_loop import has_uvloop
from llmbatch.transport_process.files import most_lanes
from llmbatch.transport_process.parent import TransportProcess

__all__ = ["Session", "StreamTo", "View", "WireLog", "open_session", "run"]

View = Callable[[Callable[[], Snapshot]], AbstractContextManager[None]]
"""Shows a run while the context lasts, asking for snapshots as it likes."""

WireLog = Callable[[str], None]
"""Takes one line about an attempt, for `--debug`."""


def run(
    settings: Settings,
    endpoint: Servers,
    wire: TransportProcess,
    *,
    observers: Sequence[Observer] = (),
    view: View | None = None,
    stdout: int = 1,
    stdout_is_terminal: bool = False,
    wire_log: WireLog | None = None,
) -> Summary:
    """Run to the end, or to whatever ends it early; the summary says which.

    Raises LlmbatchError for what is wrong before the first request. Blocks, takes the signals meanwhile and tunes the
    interpreter: for a process that does nothing else.
    """

    def stream(render: Render) -> StreamSink:
        return StreamSink(stdout, render, escape=stdout_is_terminal)

    check_stdout(settings, stdout, _notices(observers))
    _tune_interpreter()
    with open_session(
        settings, endpoint, wire, stream, stdout=stdout, observers=observers, wire_log=wire_log
    ) as session:
        return anyio.run(partial(session.to_the_end, view, signals=True), backend_options={"use_uvloop": has_uvloop()})


@contextmanager
def open_session(
    settings: Settings,
    endpoint: Servers,
    wire: TransportProcess,
    stream: StreamTo,
    *,
    source: RecordSource | None = None,
    stdout: int | None = None,
    observers: Sequence[Observer] = (),
    wire_log: WireLog | None = None,
) -> Iterator["Session"]:
    """Open what a run needs; records come from `source` or the inputs that the settings name, and leave by `wire`.

    `stream` makes the sink for results that pass by, on the descriptor `stdout` if they go to one. May read all of the
    input and of the results file, and blocks meanwhile. Raises LlmbatchError; nothing was sent then.
    """
    check_settings(settings, stdin=source is None, stdout=stdout)
    price = find_price(settings)
    dialect, reader = new_dialect(settings), new_reader(settings)
    with ExitStack() as stack:
        reading = stack.enter_context(closing(InputReader(settings, _notices(observers), source)))
        if settings.input.strict:
            reading.check()
        if settings.model.provider == "mock" and settings.model.base_url is None:
            endpoint = replace(endpoint, base_url=stack.enter_context(mock_process()))
        redact = Redactor(endpoint.secrets)
        output = stack.enter_context(open_output(settings, dialect, redact, _notices(observers), stream))
        settings = _fit_open_files(settings, endpoint, _notices(observers))
        yield Session(settings, endpoint, wire, dialect, reader, reading, output, price, observers, wire_log)


class Session:
    """One run's wired parts. `stopped` is why it ended early, once it has ended."""

    def __init__(
        self,
        settings: Settings,
        endpoint: Servers,
        wire: TransportProcess,
        dialect: Dialect,
        reader: AnswerReader,
        reading: InputReader,
        output: Output,
        price: Price | None,
        observers: Sequence[Observer],
        wire_log: WireLog | None,
    ) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._wire = wire
        self._dialect = dialect
        self._reader = reader
        self._reading = reading
        self._output = output
        self._price = price
        self._wire_log = wire_log
        self._clock = SystemClock()
        self._tally = Tally()
        self._observers: tuple[Observer, ...] = (self._tally, self._watch_failures, *observers)
        self._interrupts = 0
        self.stopped: LlmbatchError | None = None

    async def to_the_end(self, view: View | None = None, *, signals: bool = False) -> Summary:
        """Run the pipeline under its watchers; sum up. With `signals` the first one lets it end in order."""
        settings = self._settings
        dialect = self._dialect
        patience = settings.patience
        self._pipeline = pipeline = Pipeline(
            input=self._input(dialect),
            sink=self._output.sink,
            dispatch=Dispatch(
                dialect=dialect,
                new_gate=_gates(settings),
                policy=_retry_policy(settings),
                patience=patience,
                random=Random().random,
                notify=self._notify,
                hold=settings.resume.in_doubt == "hold",
                dedupe=settings.resume.dedupe,
                budget=self._budget(),
                worked=self._output.worked,
                endpoints=self._endpoint.base_urls,
            ),
            open_lane=self._wire.lane,
            workers=settings.pace.concurrency,
            batch=settings.input.batch_size,
            clock=self._clock,
            notify=self._notify,
            ordered=settings.output.ordered and settings.output.path is None,
            marks=self._output.store,
        )
        self._disk = disk = Offload()  # every thread is started before the first request leaves
        with disk:
            async with self._wire.connected(self._wire_settings(), log=self._wire_log, lost=self.drop):
                self._monitor = monitor = self._monitored(pipeline)
                with nullcontext() if view is None else view(monitor.snapshot):
                    async with anyio.create_task_group() as watchers:
                        if signals:
                            watchers.start_soon(self._watch_signals)
                        watchers.start_soon(self._watch_deadline)
                        watchers.start_soon(self._sync_now_and_then)
                        watchers.start_soon(self._measure)
                        await pipeline.run()
                        watchers.cancel_scope.cancel()
                    monitor.end()
                    for stop in pipeline.progress.stops:
                        if isinstance(stop, UsageError | InputError) and not pipeline.dispatch.sent:
                            raise stop
            orphans = await self._finish()
        self.stopped = why_it_stopped(pipeline)
        return summarize(
            self.stopped,
            pipeline,
            self._tally,
            monitor.meter,
            self._endpoint,
            fail_on=settings.stop.fail_on,
            wall_s=monitor.wall,
            orphans=orphans,
        )

    def _monitored(self, pipeline: Pipeline) -> Monitor:
        settings = self._settings
        return Monitor(
            pipeline,
            self._tally,
            self._clock,
            records=self._output.records,
            fraction=lambda: self._reading.fraction,
            limit=settings.input.limit,
            ceiling=settings.pace.concurrency,
        )

    def _wire_settings(self) -> TransportSettings:
        settings = self._settings
        return TransportSettings(
            base_urls=self._endpoint.base_urls,
            headers=self._endpoint.headers,
            reader=self._reader,
            ca_file=settings.model.ca_file,
            connect=settings.patience.connect_timeout,
            attempt=settings.patience.timeout,
            lanes=settings.pace.concurrency,
            logged=self._wire_log is not None,
        )

    def drop(self, reason: LlmbatchError) -> None:
        """End now: what is in flight is cancelled, what was received is written."""
        self._pipeline.stop(reason, grace=0.0)

    def _input(self, dialect: Dialect) -> Input:
        """Return the records, or what a survey found of them when there is nothing left to do."""
        if self._output.kept is not None:
            return _AllKept(self._output.kept)
        store = self._output.store
        return self._reading.preparation(
            dialect,
            self._output.skip_done,
            bound(self._settings, self._price),
            must_be_usable=store is None or store.is_new,
        )

    def _budget(self) -> Budget:
        """Make the budget; under a ceiling it holds what the results file cost so far."""
        stop, store = self._settings.stop, self._output.store
        if not stop.has_ceiling or self._price is None:
            return Budget(self._price)
        before = spent_in(store.results(), self._price) if store is not None else 0.0
        ceiling, option = stop.ceiling(before)
        return Budget(self._price, ceiling=ceiling, before=before, option=option)

    async def _finish(self) -> int:
        """Close the books on the results file; return its lines without a record."""
        progress = self._pipeline.progress
        complete = progress.input_ended and not progress.stops
        refused = any(isinstance(stop, OutputError) for stop in progress.stops)
        finish = partial(self._output.finish, self._settings, complete=complete, refused=refused)
        try:
            return int(await self._disk.run(finish))
        except LlmbatchError as error:
            progress.stops.append(error)
            return 0

    def _notify(self, event: Event) -> None:
        self._monitor(event)
        for observer in self._observers:
            observer(event)

    def _watch_failures(self, event: Event) -> None:
        """Stop when more fail than `--max-failures` allows, once a hundred have finished."""
        limit = self._settings.stop.max_failures
        if not isinstance(event, Finished) or self._pipeline.progress.stops:
            return
        failed = sum(self._tally.failed.values())
        if limit.exceeded(failed, self._tally.done) and (limit.count is not None or self._tally.done >= 100):
            self._pipeline.stop(
                CeilingReached(
                    f"{failed} of {self._tally.done} records failed, more than --max-failures allows",
                    "Look at the failures, then run the same command again.",
                ),
                grace=self._settings.patience.timeout,
            )

    async def _sync_now_and_then(self) -> None:
        """See to it that no result stands un-synced for long when nothing follows it."""
        journal = self._output.journal
        while journal is not None:
            await anyio.sleep(SYNC_EVERY)
            if journal.unsynced:
                try:
                    await self._disk.run(journal.sync)
                except OutputError as error:
                    self._pipeline.stop(error, grace=math.inf)

    async def _measure(self) -> None:
        while True:
            await anyio.sleep(EVERY)
            self._monitor.sample()

    async def _watch_deadline(self) -> None:
        await anyio.sleep(self._settings.stop.deadline)
        self._pipeline.stop(
            CeilingReached("--deadline is over", "Run the same command again to continue."),
            grace=self._settings.stop.grace,
        )

    async def _watch_signals(self) -> None:
        """First signal: let what is in flight finish. Second: drop it. Third: leave at once."""
        wanted = [
            signum
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(signum) is not signal.SIG_IGN  # nohup stays nohup
        ]
        with anyio.open_signal_receiver(*wanted) as signals:
            async for signum in signals:
                self._interrupts += 1
                patient = self._settings.patience.timeout if signum is signal.SIGINT else self._settings.stop.grace
                self._pipeline.stop(Interrupted(signum), grace=patient if self._interrupts == 1 else 0.0)
                if self._interrupts == 2:
                    # From here on the system's own handler: a third signal ends the process.
                    for other in wanted:
                        signal.signal(other, signal.SIG_DFL)


class _AllKept:
    """An input that was read before, and of which every record keeps its line: all of it at once."""

    def __init__(self, kept: list[AlreadyDone]) -> None:
        self._kept = kept

    def read(self, limit: int) -> list[Job | InvalidRecord | AlreadyDone | Outcome]:
        """Return everything, whatever the limit: it is one reference a record."""
        kept, self._kept = self._kept, []
        return [*kept]

    def interrupt(self) -> None:
        """Return nothing more."""
        self._kept = []


def _fit_open_files(settings: Settings, servers: Servers, notice: Callable[[str], None]) -> Settings:
    """Let `-c auto` go no higher than the limit of open files allows, and say so; a number is refused later."""
    most = most_lanes(len(servers.base_urls))
    if not settings.pace.adaptive or settings.pace.concurrency <= most:
        return settings
    notice(f"at most {most} requests at once, not {settings.pace.concurrency}: raise `ulimit -n` for more")
    return settings._replace(pace=settings.pace._replace(concurrency=most))


def _gates(settings: Settings) -> Callable[[], Gate]:
    """Return a maker of gates. Limits that the user named are shared by all, those learned from answers are not."""
    pace, timeout = settings.pace, settings.patience.timeout
    silent = FEW_SLOTS if find_preset(settings.model)[1].few_slots else SILENT
    requests = TokenBucket(pace.rpm, sliced=True) if pace.rpm is not None else None
    tokens = TokenBucket(pace.tpm) if pace.tpm is not None else None

    def gate() -> Gate:
        return Gate(
            ConcurrencyLimit(pace.concurrency, adaptive=pace.adaptive, silent=silent, timeout=timeout),
            requests if requests is not None else TokenBucket(),
            tokens if tokens is not None else TokenBucket(),
        )

    return gate


def _retry_policy(settings: Settings) -> RetryPolicy:
    retries = settings.patience.retries
    unusable_answers = settings.model.json_retries
    if settings.resume.in_doubt == "hold":
        return RetryPolicy(retries=retries, unusable_answers=unusable_answers, unknown_outcomes=0, server_errors=0)
    return RetryPolicy(retries=retries, unusable_answers=unusable_answers)


def _notices(observers: Sequence[Observer]) -> Callable[[str], None]:
    def notice(text: str) -> None:
        for observer in observers:
            observer(Notice(text))

    return notice


def _tune_interpreter() -> None:
    """Set Python up for many short-lived objects on one busy thread beside two that mostly wait for the disk."""
    # What the imports left behind is not worth the 20 ms that collecting it takes.
    gc.freeze()
    # Each time the reader or the writer comes back from the disk it waits so long for its turn; by default 5 ms.
    sys.setswitchinterval(0.0005)
