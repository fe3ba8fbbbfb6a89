"""One run of connected parts: runs them under its watchers, brings the output into its final form, and sums up."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import anyio

from llmbatch.app.meter import EVERY
from llmbatch.app.monitor import Monitor
from llmbatch.app.output import Output
from llmbatch.app.servers import Servers
from llmbatch.app.shared import Shared
from llmbatch.app.signals import watch_signals
from llmbatch.app.summary import summarize, why_it_stopped
from llmbatch.core.errors import CeilingReached, InputError, LlmbatchError, OutputError, UsageError
from llmbatch.core.events import Event, Finished, Notice
from llmbatch.core.plural import counted
from llmbatch.core.ports import AttemptLog, Lane, Observer
from llmbatch.core.settings import StopSettings
from llmbatch.core.snapshot import Snapshot
from llmbatch.core.tally import Summary, Tally
from llmbatch.engine.offload import Offload
from llmbatch.engine.pipeline import Pipeline
from llmbatch.results.journal import SYNC_EVERY
from llmbatch.transport_process.channel import TransportSettings
from llmbatch.transport_process.parent import TransportProcess

__all__ = ["NewPipeline", "Session", "View"]

View = Callable[[Callable[[], Snapshot]], AbstractContextManager[None]]
"""Shows a run while the context lasts; it takes a snapshot whenever it needs one."""

NewPipeline = Callable[[Callable[[], Lane], Observer], Pipeline]
"""Makes the pipeline, within the loop that it runs on, from what opens a lane and what is told of events."""


class Session:
    """The connected parts of one run. `stopped` is why it ended early, once it has ended.

    `shared` gets what later sessions should know; `saved` tells what a cache saved. `new_monitor` makes the monitor of
    a pipeline and its tally.
    """

    def __init__(
        self,
        *,
        new_pipeline: NewPipeline,
        new_monitor: Callable[[Pipeline, Tally], Monitor],
        output: Output,
        servers: Servers,
        transport: TransportProcess,
        transport_settings: TransportSettings,
        stop: StopSettings,
        timeout: float,
        shared: Shared,
        saved: Callable[[Tally], float | None],
        observers: Sequence[Observer],
        attempt_log: AttemptLog | None,
    ) -> None:
        self._new_pipeline = new_pipeline
        self._new_monitor = new_monitor
        self._output = output
        self._servers = servers
        self._transport = transport
        self._transport_settings = transport_settings
        self._stop = stop
        self._timeout = timeout
        self._shared = shared
        self._saved = saved
        self._attempt_log = attempt_log
        self._tally = Tally()
        self._observers: tuple[Observer, ...] = (self._tally, self._watch_failures, *observers)
        self.stopped: LlmbatchError | None = None

    @property
    def is_ending_early(self) -> bool:
        """Whether there is a reason to end before the input does; not before `to_the_end`."""
        return bool(self._pipeline.progress.stops)

    async def to_the_end(self, view: View | None = None, *, signals: bool = False) -> Summary:
        """Run the pipeline under its watchers; sum up. With `signals`, signals end the run in order."""
        self._pipeline = pipeline = self._new_pipeline(self._lanes(), self._notify)
        self._disk = disk = Offload()  # every thread is started before the first request leaves
        with disk:
            store = self._output.store
            mark_sent = store.mark_sent if store is not None else lambda: None
            async with self._transport.connected(
                self._transport_settings, log=self._attempt_log, lost=self.drop, mark_sent=mark_sent
            ):
                self._monitor = monitor = self._new_monitor(pipeline, self._tally)
                with nullcontext() if view is None else view(monitor.snapshot):
                    async with anyio.create_task_group() as watchers:
                        if signals:
                            watch = partial(watch_signals, timeout=self._timeout, grace=self._stop.grace)
                            watchers.start_soon(watch, pipeline.stop)
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
        self._shared.learn(pipeline.dispatch.routes.answered(), pipeline.dispatch.routes.level())
        summary = summarize(
            self.stopped,
            pipeline,
            self._tally,
            monitor.meter,
            self._servers,
            fail_on=self._stop.fail_on,
            wall_s=monitor.wall,
            orphans=orphans,
        )
        return replace(summary, cache_saved_usd=self._saved(self._tally), read_whole=monitor.read_whole)

    def _lanes(self) -> Callable[[], Lane]:
        """Return a function that opens lanes; a key that a command prints is renewed there."""
        servers, open_lane = self._servers, self._transport.lane
        if servers.ask_key is None:
            return open_lane

        from llmbatch.app.key_command import KeyRenewal

        def use(key: str) -> None:
            servers.renew(key)
            self._transport.renew(servers.headers)
            self._notify(Notice("the key had expired, --key-command printed another one"))

        renewal = KeyRenewal(
            servers.ask_key,
            use,
            resent=lambda request: self._pipeline.dispatch.sent_again(request),
            failed=lambda reason: self._pipeline.stop(reason, grace=self._timeout),
        )
        return lambda: renewal.lane(open_lane())

    def stop(self, reason: LlmbatchError, *, grace: float) -> None:
        """Send nothing new; let what is in flight finish within `grace` seconds."""
        self._pipeline.stop(reason, grace=grace)

    def drop(self, reason: LlmbatchError) -> None:
        """End now: cancel what is in flight, write what was received."""
        self._pipeline.stop(reason, grace=0.0)

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
        limit = self._stop.max_failures
        if not isinstance(event, Finished) or self._pipeline.progress.stops:
            return
        failed = sum(self._tally.failed.values())
        if limit.exceeded(failed, self._tally.done) and (limit.count is not None or self._tally.done >= 100):
            self._pipeline.stop(
                CeilingReached(
                    f"{failed:,} of {counted(self._tally.done, 'record')} failed, more than --max-failures allows",
                    "Look at the failures, then run the same command again.",
                    by="failures",
                ),
                grace=self._timeout,
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
            if not self._pipeline.progress.stops and (failure := self._shared.failure()) is not None:
                self._pipeline.stop(failure, grace=math.inf)

    async def _watch_deadline(self) -> None:
        await anyio.sleep(self._stop.deadline)
        self._pipeline.stop(
            CeilingReached(
                "the time of --deadline is over",
                "Run the same command again to continue.",
                by="deadline",
            ),
            grace=self._stop.grace,
        )
