"""The composition root: takes the settings of a run apart, and hands each part what it needs of them."""

import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import anyio

from llmbatch.app.files import check_run_files
from llmbatch.app.input import InputReader, new_dialect, new_reader
from llmbatch.app.mock_process import mock_process
from llmbatch.app.monitor import Monitor
from llmbatch.app.output import Output, StreamTo, check_stdout, open_output
from llmbatch.app.prices import bound, find_price, saved_by_cache, spent_in
from llmbatch.app.servers import Servers
from llmbatch.app.session import Session, View
from llmbatch.app.shared import Shared
from llmbatch.app.survey import AllKept
from llmbatch.core.clock import Clock, SystemClock
from llmbatch.core.events import Notice
from llmbatch.core.job import Job
from llmbatch.core.ports import AttemptLog, Dialect, Input, Lane, Observer
from llmbatch.core.prompt import RecordError
from llmbatch.core.settings import PaceSettings, Settings, StopSettings
from llmbatch.core.tally import Summary, Tally
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.providers import Preset
from llmbatch.engine.dispatch import Dispatch
from llmbatch.engine.pipeline import Pipeline
from llmbatch.input.entry import RecordSource
from llmbatch.pacing.concurrency_limit import FEW_SLOTS, SILENT, ConcurrencyLimit
from llmbatch.pacing.cost import Budget, Price
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.retry import RetryPolicy
from llmbatch.pacing.token_bucket import TokenBucket
from llmbatch.results.render import Render
from llmbatch.results.stream_sink import StreamSink
from llmbatch.transport_process.channel import TransportSettings
from llmbatch.transport_process.event_loop import has_uvloop
from llmbatch.transport_process.files import most_lanes
from llmbatch.transport_process.parent import TransportProcess

if TYPE_CHECKING:
    from llmbatch.batches.batches import Batches

__all__ = ["open_session", "run", "tune_interpreter"]


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

    check_stdout(settings.output, stdout)
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
) -> Iterator[Session]:
    """Open what a run needs; records come from `source`, or from the inputs that the settings name.

    `stream` makes the sink for results that are passed on, on the descriptor `stdout` if they go to one. May read all
    of the input and of the results file, and blocks meanwhile. Raises LlmbatchError; nothing was sent then.
    """
    check_run_files(
        settings.input,
        settings.output,
        settings.files_read,
        settings.view.files,
        stdin=source is None,
        stdout=stdout,
    )
    notice = _notices(observers)
    shared = shared if shared is not None else Shared.of(settings.pace)
    price = find_price(settings.model, settings.stop, (servers.name, servers.preset))
    dialect = new_dialect(settings.model, servers.preset, settings.pace.pack)
    reader = new_reader(settings.model)
    with ExitStack() as stack:
        reading = InputReader(
            settings.input,
            settings.model,
            notice,
            source,
            include=settings.included,
            durable=settings.output.path is not None,
        )
        stack.enter_context(closing(reading))
        if settings.input.strict:
            reading.check(dialect)
        if settings.model.provider == "mock" and not servers.base_url:
            batches = _mock_batches(settings.output.path, batch_api=settings.batches.batch_api)
            servers = replace(servers, base_url=stack.enter_context(mock_process(batches)))
        if servers.note is not None:
            notice(servers.note)
        if settings.model.cache_system and (settings.model.endpoint or servers.preset.endpoint) != "messages":
            notice(f"--cache-system marks nothing at {servers.name}: what it caches it caches by itself")
        output = stack.enter_context(
            open_output(
                settings.output,
                settings.input,
                settings.model,
                settings.resume,
                dialect,
                servers.redact,
                notice,
                stream,
                include=settings.included,
            )
        )
        pace = _fit_open_files(settings.pace, len(servers.base_urls), notice)
        parts = _Parts(
            settings._replace(pace=pace),
            servers,
            transport,
            environment,
            dialect,
            reader,
            reading,
            output,
            price,
            shared,
        )
        yield parts.session(observers, attempt_log)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is open before the loop runs, and how the rest is made of it within the loop."""

    settings: Settings
    servers: Servers
    transport: TransportProcess
    environment: Mapping[str, str]
    dialect: Dialect
    reader: AnswerReader
    reading: InputReader
    output: Output
    price: Price | None
    shared: Shared
    clock: Clock = field(default_factory=SystemClock)

    def session(self, observers: Sequence[Observer], attempt_log: AttemptLog | None) -> Session:
        """Connect them."""
        settings, servers = self.settings, self.servers
        return Session(
            new_pipeline=partial(self._pipeline, notice=_notices(observers)),
            new_monitor=self._monitor,
            output=self.output,
            servers=servers,
            transport=self.transport,
            transport_settings=TransportSettings(
                base_urls=servers.base_urls,
                headers=servers.headers,
                reader=self.reader,
                ca_file=servers.ca_file,
                connect_timeout=settings.patience.connect_timeout,
                timeout=settings.patience.timeout,
                lanes=settings.pace.most,
                logged=attempt_log is not None,
            ),
            stop=settings.stop,
            timeout=settings.patience.timeout,
            shared=self.shared,
            saved=lambda tally: saved_by_cache(tally.models, self.price),
            observers=observers,
            attempt_log=attempt_log,
        )

    def _pipeline(self, open_lane: Callable[[], Lane], notify: Observer, *, notice: Callable[[str], None]) -> Pipeline:
        settings, output = self.settings, self.output
        policy = _retry_policy(settings.patience.retries, settings.model.json_retries, hold=self._holds)
        budget = self.shared.budget or self._budget(settings.stop)
        return Pipeline(
            input=self._input(),
            sink=output.sink,
            dispatch=Dispatch(
                dialect=self.dialect,
                new_gate=_gates(settings.pace, settings.patience.timeout, self.servers.preset, self.shared),
                policy=policy,
                patience=settings.patience,
                random=Random().random,
                notify=notify,
                hold=self._holds,
                dedupe=settings.resume.dedupe,
                budget=budget,
                worked=lambda route: route in self.shared.worked or output.worked(route),
                servers=self.servers.base_urls,
            ),
            open_lane=open_lane,
            workers=settings.pace.most,
            batch=settings.input.batch_size,
            clock=self.clock,
            notify=notify,
            ordered=settings.output.ordered and settings.output.path is None,
            marks=output.store,
            sink_is_brief=output.sink is output.journal,
            batches=self._batches(policy, budget, notify, notice),
        )

    def _monitor(self, pipeline: Pipeline, tally: Tally) -> Monitor:
        input, survey = self.settings.input, self.output.survey
        return Monitor(
            pipeline,
            tally,
            self.clock,
            records=survey.records if survey is not None else None,
            fraction=lambda: self.reading.fraction,
            limit=None if input.limit is None else input.limit * (input.repeat or 1),
            ceiling=self.settings.pace.most,
        )

    @property
    def _holds(self) -> bool:
        return self.settings.resume.in_doubt == "hold"

    def _input(self) -> Input:
        """Return the records, or what a survey found of them when none is to be sent."""
        store, survey = self.output.store, self.output.survey
        if survey is not None and survey.is_done:
            return AllKept(survey.kept())
        return self.reading.jobs(
            self.dialect,
            self.output.skip_done,
            bound(self.settings.stop, self.price),
            must_be_usable=store is None or store.is_new,
            survey=survey,
        )

    def _batches(
        self, policy: RetryPolicy, budget: Budget, notify: Observer, notice: Callable[[str], None]
    ) -> "Batches | None":
        settings, store = self.settings, self.output.store
        if store is None or not (settings.batches.batch_api or store.tickets.log.tickets):
            return None
        from llmbatch.app.batches import new_batches  # large, and most runs have none

        worst = bound(settings.stop, self.price)

        def reprice(job: Job) -> None:
            if worst is not None:
                with suppress(RecordError):  # its price was known when it was read
                    job.worst_cost = worst(job)

        return new_batches(
            settings.batches,
            settings.model,
            self.servers,
            self.transport,
            self.output,
            self.environment,
            dialect=new_dialect(settings.model._replace(stream=False), self.servers.preset, settings.pace.pack),
            reader=self.reader,
            policy=policy,
            budget=budget,
            reprice=reprice,
            hold=self._holds,
            dedupe=settings.resume.dedupe,
            max_outage=settings.patience.max_outage,
            sync=settings.output.fsync != "never",
            clock=self.clock,
            notify=notify,
            notice=notice,
        )

    def _budget(self, stop: StopSettings) -> Budget:
        """Make the budget; under a ceiling it includes what the results file cost so far."""
        store = self.output.store
        if not stop.has_ceiling or self.price is None:
            return Budget(self.price)
        before = spent_in(store.results(), self.price) if store is not None else 0.0
        ceiling, option = stop.ceiling(before)
        return Budget(self.price, ceiling=ceiling, before=before, option=option)


def _mock_batches(path: Path | None, *, batch_api: bool) -> str | None:
    """Return where the built-in mock keeps its batches: they must outlive a run, as at a real provider."""
    folder = path.with_name(f"{path.name}.state") / "mock" if path is not None else None
    return str(folder) if folder is not None and (batch_api or folder.exists()) else None


def _fit_open_files(pace: PaceSettings, servers: int, notice: Callable[[str], None]) -> PaceSettings:
    """Lower the ceiling of `-c auto` to what the limit of open files allows, and say so."""
    most = most_lanes(servers)
    if pace.concurrency is not None or pace.max_concurrency <= most:
        return pace
    notice(f"at most {most:,} requests at once, not {pace.max_concurrency:,}: raise `ulimit -n` for more")
    return pace._replace(max_concurrency=most)


def _gates(pace: PaceSettings, timeout: float, preset: Preset, shared: Shared) -> Callable[[], Gate]:
    """Return a function that makes gates. They share the limits of the user; each learns the others by itself."""
    silent = FEW_SLOTS if preset.few_slots else SILENT
    requests, tokens = shared.requests, shared.tokens

    def gate() -> Gate:
        return Gate(
            ConcurrencyLimit(
                pace.most, adaptive=pace.concurrency is None, silent=silent, timeout=timeout, start=shared.level
            ),
            requests if requests is not None else TokenBucket(),
            tokens if tokens is not None else TokenBucket(),
        )

    return gate


def _retry_policy(retries: int, unusable_answers: int, *, hold: bool) -> RetryPolicy:
    if hold:
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
