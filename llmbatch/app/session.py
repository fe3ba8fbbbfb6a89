"""The composition root: builds the parts of a run from its settings, runs them, and sums up."""

import gc
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import anyio

from llmbatch.app.files import check_settings
from llmbatch.app.input import InputReader, new_dialect, new_reader
from llmbatch.app.key_command import KeyRenewal
from llmbatch.app.meter import EVERY
from llmbatch.app.mock_process import mock_process
from llmbatch.app.monitor import Monitor
from llmbatch.app.output import Output, StreamTo, check_stdout, open_output
from llmbatch.app.prices import bound, find_price, spent_in
from llmbatch.app.servers import Servers
from llmbatch.app.shared import Shared
from llmbatch.app.signals import watch_signals
from llmbatch.app.summary import summarize, why_it_stopped
from llmbatch.core.clock import SystemClock
from llmbatch.core.errors import (
    CeilingReached,
    InputError,
    LlmbatchError,
    OutputError,
    UsageError,
)
from llmbatch.core.events import Event, Finished, Notice
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import AlreadyDone, InvalidRecord, Outcome
from llmbatch.core.ports import AttemptLog, Dialect, Input, Lane, Observer
from llmbatch.core.prompt import RecordError
from llmbatch.core.settings import PaceSettings, Settings
from llmbatch.core.snapshot import Snapshot
from llmbatch.core.tally import Summary, Tally
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.providers import Preset
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

if TYPE_CHECKING:
    from llmbatch.engine.batches import Batches

__all__ = ["Session", "StreamTo", "View", "open_session", "run", "tune_interpreter"]

View = Callable[[Callable[[], Snapshot]], AbstractContextManager[None]]
"""Shows a run while the context lasts; it takes a snapshot whenever it needs one."""


def run(
    settings: Settings,
    servers: Servers,
    transport: TransportProcess,
    environment: Mapping[str, str],
    *,
    observers: Sequence[Observer] = (),
    view: View | None = None,
    stdout: int = 1,
    stdout_is_terminal: bool = False,
    attempt_log: AttemptLog | None = None,
    shared: Shared | None = None,
    embedded: bool = False,
) -> Summary:
    """Run until the input ends or something ends the run early; the summary says which.

    `shared` is what sessions before and after it have in common with this one. Raises LlmbatchError for what is wrong
    before the first request. Blocks. Handles the signals meanwhile and tunes the interpreter, unless it is `embedded`
    in a program that does something else, too.
    """

    def stream(render: Render) -> StreamSink:
        return StreamSink(stdout, render, escape=stdout_is_terminal)

    check_stdout(settings.output, stdout, _notices(observers))
    if not embedded:
        tune_interpreter()
    with open_session(
        settings,
        servers,
        transport,
        environment,
        stream,
        stdout=stdout,
        observers=observers,
        attempt_log=attempt_log,
        shared=shared,
    ) as session:
        return anyio.run(
            partial(session.to_the_end, view, signals=not embedded), backend_options={"use_uvloop": has_uvloop()}
        )


@contextmanager
def open_session(
    settings: Settings,
    servers: Servers,
    transport: TransportProcess,
    environment: Mapping[str, str],
    stream: StreamTo,
    *,
    source: RecordSource | None = None,
    stdout: int | None = None,
    observers: Sequence[Observer] = (),
    attempt_log: AttemptLog | None = None,
    shared: Shared | None = None,
) -> Iterator["Session"]:
    """Open what a run needs; records come from `source`, or from the inputs that the settings name.

    `stream` makes the sink for results that are passed on, on the descriptor `stdout` if they go to one. May read all
    of the input and of the results file, and blocks meanwhile. Raises LlmbatchError; nothing was sent then.
    """
    check_settings(settings, stdin=source is None, stdout=stdout)
    price = find_price(settings.model, settings.stop, (servers.name, servers.preset))
    dialect = new_dialect(settings.model, servers.preset, settings.pace.pack)
    reader = new_reader(settings.model)
    with ExitStack() as stack:
        reading = InputReader(
            settings.input,
            settings.model,
            _notices(observers),
            source,
            include=settings.included,
            durable=settings.output.path is not None,
        )
        stack.enter_context(closing(reading))
        if settings.input.strict:
            reading.check(dialect)
        if settings.model.provider == "mock" and not servers.base_url:
            servers = replace(servers, base_url=stack.enter_context(mock_process(_mock_folder(settings))))
        if servers.note is not None:
            _notices(observers)(servers.note)
        output = stack.enter_context(
            open_output(
                settings.output,
                settings.input,
                settings.model,
                settings.resume,
                dialect,
                servers.redact,
                _notices(observers),
                stream,
                include=settings.included,
            )
        )
        settings = _fit_open_files(settings, servers, _notices(observers))
        yield Session(
            settings,
            servers,
            transport,
            environment,
            dialect,
            reader,
            reading,
            output,
            price,
            observers,
            attempt_log,
            shared if shared is not None else Shared.of(settings.pace),
        )


class Session:
    """The connected parts of one run. `stopped` is why it ended early, once it has ended."""

    def __init__(
        self,
        settings: Settings,
        servers: Servers,
        transport: TransportProcess,
        environment: Mapping[str, str],
        dialect: Dialect,
        reader: AnswerReader,
        reading: InputReader,
        output: Output,
        price: Price | None,
        observers: Sequence[Observer],
        attempt_log: AttemptLog | None,
        shared: Shared,
    ) -> None:
        self._settings = settings
        self._servers = servers
        self._transport = transport
        self._environment = environment
        self._dialect = dialect
        self._reader = reader
        self._reading = reading
        self._output = output
        self._price = price
        self._attempt_log = attempt_log
        self._shared = shared
        self._clock = SystemClock()
        self._tally = Tally()
        self._observers: tuple[Observer, ...] = (self._tally, self._watch_failures, *observers)
        self.stopped: LlmbatchError | None = None

    async def to_the_end(self, view: View | None = None, *, signals: bool = False) -> Summary:
        """Run the pipeline under its watchers; sum up. With `signals`, signals end the run in order."""
        settings = self._settings
        dialect = self._dialect
        patience = settings.patience
        policy, budget = _retry_policy(settings), self._budget()
        self._pipeline = pipeline = Pipeline(
            input=self._input(dialect),
            sink=self._output.sink,
            dispatch=Dispatch(
                dialect=dialect,
                new_gate=_gates(settings.pace, patience.timeout, self._servers.preset, self._shared),
                policy=policy,
                patience=patience,
                random=Random().random,
                notify=self._notify,
                hold=settings.resume.in_doubt == "hold",
                dedupe=settings.resume.dedupe,
                budget=budget,
                worked=self._has_worked,
                servers=self._servers.base_urls,
            ),
            open_lane=self._lanes(),
            workers=settings.pace.most,
            batch=settings.input.batch_size,
            clock=self._clock,
            notify=self._notify,
            ordered=settings.output.ordered and settings.output.path is None,
            marks=self._output.store,
            batches=self._batches(policy, budget),
        )
        self._disk = disk = Offload()  # every thread is started before the first request leaves
        with disk:
            async with self._transport.connected(self._transport_settings(), log=self._attempt_log, lost=self.drop):
                self._monitor = monitor = self._monitored(pipeline)
                with nullcontext() if view is None else view(monitor.snapshot):
                    async with anyio.create_task_group() as watchers:
                        if signals:
                            timeout, grace = patience.timeout, settings.stop.grace
                            watchers.start_soon(partial(watch_signals, pipeline.stop, timeout=timeout, grace=grace))
                        watchers.start_soon(self._watch_deadline)
                        watchers.start_soon(self._sync_regularly)
                        watchers.start_soon(self._measure)
                        await pipeline.run()
                        watchers.cancel_scope.cancel()
                    monitor.end()
                    for stop in pipeline.progress.stops:
                        if isinstance(stop, UsageError | InputError) and not pipeline.dispatch.sent:
                            raise stop
            orphans = await self._finish()
        self.stopped = why_it_stopped(pipeline)
        self._shared.worked |= pipeline.dispatch.routes.answered()
        return summarize(
            self.stopped,
            pipeline,
            self._tally,
            monitor.meter,
            self._servers,
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
            records=self._output.survey.records if self._output.survey is not None else None,
            fraction=lambda: self._reading.fraction,
            limit=None if settings.input.limit is None else settings.input.limit * (settings.input.repeat or 1),
            ceiling=settings.pace.most,
        )

    def _transport_settings(self) -> TransportSettings:
        settings = self._settings
        return TransportSettings(
            base_urls=self._servers.base_urls,
            headers=self._servers.headers,
            reader=self._reader,
            ca_file=self._servers.ca_file,
            connect_timeout=settings.patience.connect_timeout,
            timeout=settings.patience.timeout,
            lanes=settings.pace.most,
            logged=self._attempt_log is not None,
        )

    def _lanes(self) -> Callable[[], Lane]:
        """Return a function that opens lanes; a key that a command prints is renewed there."""
        servers, open_lane = self._servers, self._transport.lane
        if servers.ask_key is None:
            return open_lane

        def use(key: str) -> None:
            servers.renew(key)
            self._transport.renew(servers.headers)
            self._notify(Notice("the key had expired, --key-command printed another one"))

        renewal = KeyRenewal(
            servers.ask_key,
            use,
            resent=lambda request: self._pipeline.dispatch.sent_again(request),
            failed=lambda reason: self._pipeline.stop(reason, grace=self._settings.patience.timeout),
        )
        return lambda: renewal.lane(open_lane())

    def stop(self, reason: LlmbatchError, *, grace: float) -> None:
        """Send nothing new; let what is in flight finish within `grace` seconds."""
        self._pipeline.stop(reason, grace=grace)

    def drop(self, reason: LlmbatchError) -> None:
        """End now: cancel what is in flight, write what was received."""
        self._pipeline.stop(reason, grace=0.0)

    def _input(self, dialect: Dialect) -> Input:
        """Return the records, or what a survey found of them when none is to be sent."""
        store, survey = self._output.store, self._output.survey
        if survey is not None and survey.is_done:
            return _AllKept(survey.kept())
        return self._reading.jobs(
            dialect,
            self._output.skip_done,
            bound(self._settings.stop, self._price),
            must_be_usable=store is None or store.is_new,
            survey=survey,
        )

    def _batches(self, policy: RetryPolicy, budget: Budget) -> "Batches | None":
        settings, store = self._settings, self._output.store
        if store is None or not (settings.batches.batch_api or store.tickets.log.tickets):
            return None
        from llmbatch.app.batches import new_batches  # large, and most runs have none

        worst = bound(settings.stop, self._price)

        def reprice(job: Job) -> None:
            if worst is not None:
                with suppress(RecordError):  # its price was known when it was read
                    job.worst_cost = worst(job)

        return new_batches(
            settings.batches,
            settings.model,
            self._servers,
            self._transport,
            self._output,
            self._environment,
            dialect=new_dialect(settings.model._replace(stream=False), self._servers.preset, settings.pace.pack),
            reader=self._reader,
            policy=policy,
            budget=budget,
            reprice=reprice,
            hold=settings.resume.in_doubt == "hold",
            dedupe=settings.resume.dedupe,
            max_outage=settings.patience.max_outage,
            sync=settings.output.fsync != "never",
            clock=self._clock,
            notify=self._notify,
            notice=_notices(self._observers),
        )

    def _has_worked(self, route: Route) -> bool:
        return route in self._shared.worked or self._output.worked(route)

    def _budget(self) -> Budget:
        """Make the budget; under a ceiling it includes what the results file cost so far."""
        if self._shared.budget is not None:
            return self._shared.budget
        stop, store = self._settings.stop, self._output.store
        if not stop.has_ceiling or self._price is None:
            return Budget(self._price)
        before = spent_in(store.results(), self._price) if store is not None else 0.0
        ceiling, option = stop.ceiling(before)
        return Budget(self._price, ceiling=ceiling, before=before, option=option)

    async def _finish(self) -> int:
        """Bring the results file into its final form; return how many of its lines have no record."""
        progress = self._pipeline.progress
        complete = progress.input_ended and not progress.stops
        disk_failed = any(isinstance(stop, OutputError) for stop in progress.stops)
        finish = partial(self._output.finish, complete=complete, disk_failed=disk_failed)
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
                    by="failures",
                ),
                grace=self._settings.patience.timeout,
            )

    async def _sync_regularly(self) -> None:
        """Sync a result that no other follows for a while."""
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
            CeilingReached("--deadline is over", "Run the same command again to continue.", by="deadline"),
            grace=self._settings.stop.grace,
        )


class _AllKept:
    """The input of a run with nothing to do: a survey has read it, and every record keeps its line."""

    def __init__(self, kept: list[AlreadyDone]) -> None:
        self._kept = kept

    def read(self, limit: int) -> list[Job | InvalidRecord | AlreadyDone | Outcome]:
        """Return all records whatever the limit, since each is only a reference."""
        kept, self._kept = self._kept, []
        return [*kept]

    def interrupt(self) -> None:
        """Return nothing more."""
        self._kept = []


def _mock_folder(settings: Settings) -> str | None:
    """Return where the built-in mock keeps its batches: they must outlive a run, as at a real provider."""
    path = settings.output.path
    folder = path.with_name(f"{path.name}.state") / "mock" if path is not None else None
    return str(folder) if folder is not None and (settings.batches.batch_api or folder.exists()) else None


def _fit_open_files(settings: Settings, servers: Servers, notice: Callable[[str], None]) -> Settings:
    """Lower the ceiling of `-c auto` to what the limit of open files allows, and say so."""
    most = most_lanes(len(servers.base_urls))
    pace = settings.pace
    if pace.concurrency is not None or pace.max_concurrency <= most:
        return settings
    notice(f"at most {most} requests at once, not {pace.max_concurrency}: raise `ulimit -n` for more")
    return settings._replace(pace=pace._replace(max_concurrency=most))


def _gates(pace: PaceSettings, timeout: float, preset: Preset, shared: Shared) -> Callable[[], Gate]:
    """Return a function that makes gates. They share the limits of the user; each learns the others by itself."""
    silent = FEW_SLOTS if preset.few_slots else SILENT
    requests, tokens = shared.requests, shared.tokens

    def gate() -> Gate:
        return Gate(
            ConcurrencyLimit(pace.most, adaptive=pace.concurrency is None, silent=silent, timeout=timeout),
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


def tune_interpreter() -> None:
    """Tune Python for many short-lived objects on one busy thread, beside two that mostly wait for the disk."""
    # The objects of the imports live on, so the collector need not visit them each time.
    gc.freeze()
    # A reader or writer that comes back from the disk waits for so long until the busy thread yields.
    sys.setswitchinterval(0.0005)
