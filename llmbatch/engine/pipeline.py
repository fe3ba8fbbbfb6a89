"""Runs feeder, workers and writer in one task group, and ends them early in one way."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from llmbatch.core.clock import Clock
from llmbatch.core.errors import InputError, LlmbatchError, ReaderGone
from llmbatch.core.events import Event, Finished, Stopping
from llmbatch.core.job import Job
from llmbatch.core.outcome import AlreadyDone, InvalidRecord, Outcome
from llmbatch.core.ports import Input, IntentLog, Lane, Observer, Sink
from llmbatch.engine.dispatch import Dispatch
from llmbatch.engine.explain import waits
from llmbatch.engine.offload import Offload, WhileBrief
from llmbatch.engine.pool import Pool
from llmbatch.engine.ports import Batches, Live
from llmbatch.engine.reorder import Reorder
from llmbatch.engine.writer import RunInThread, Writer

__all__ = ["Pipeline", "Progress"]

AHEAD, LIGHT = 4, 500
"""So many batches are read ahead while records have at most so many tokens on average: many are sent while the next
batch waits for the disk. Larger records are sent more slowly and fill memory: of those it is one batch."""
FURTHER = 10_000
"""Small records of routes that cannot send them that may be read, while another route has nothing to send."""
SHOWN = 3
"""Records of each kind that are named when a run seems to stall."""
WINDOW = 10_000
"""Records that may wait for an earlier one under `--ordered`."""


@dataclass(slots=True)
class Progress:
    """The progress of a run. `read` counts records taken from the input; `stops` are the reasons to end early."""

    read: int = 0
    kept: Counter[AlreadyDone] = field(default_factory=Counter)
    input_ended: bool = False
    stops: list[LlmbatchError] = field(default_factory=list)


class Pipeline:
    """Runs jobs from an input to a sink. `stop` may be called from anywhere on the loop, more than once.

    `sink_is_brief` says that writing usually takes no longer than a disk does; a reader of stdout may take for ever.
    """

    def __init__(
        self,
        *,
        input: Input,
        sink: Sink,
        dispatch: Dispatch,
        open_lane: Callable[[], Lane],
        workers: int,
        batch: int,
        clock: Clock,
        notify: Observer,
        ordered: bool = False,
        marks: IntentLog | None = None,
        offload: RunInThread | None = None,
        sink_is_brief: bool = False,
        batches: Batches | None = None,
    ) -> None:
        self.batches = batches
        self.progress = Progress()
        self.dispatch = dispatch
        self._input = input
        self._open_lane = open_lane
        self._workers = workers
        self._batch = min(batch, WINDOW) if ordered else batch
        self._notify = notify
        self._clock = clock
        self._reading, self._writing = Offload(), Offload()
        self._offload = offload or self._reading.run
        write = WhileBrief(self._writing.run, clock.monotonic).run if sink_is_brief else self._writing.run
        self._reorder = Reorder() if ordered else None
        self._room = asyncio.Event()
        self._ahead = 1
        self._wants_room = False
        """The feeder waits for room."""
        self._loop = asyncio.get_running_loop()
        self._looks = False
        """A look at what changed is due."""
        self._stopping = False
        self._workers_scope: anyio.CancelScope | None = None
        self.writer = Writer(
            sink,
            batch=batch,
            notify=notify if batches is None else self._finished,
            offload=offload or write,
            fail=self._output_failed,
            changed=self._room.set if batches is None else self._wrote,
            reorder=self._reorder,
            record=marks.record if marks is not None else None,
            recorded=self._ask_again,
        )
        self._pool = Pool(
            dispatch,
            writer=self.writer,
            clock=clock,
            changed=self._changed,
            record=self.writer.record,
            fail=self._output_failed,
            marks=marks,
        )
        if batches is not None:
            batches.connect(
                Live(
                    self.writer,
                    send=self._send_live,
                    jobs=lambda: self.dispatch.outstanding,
                    fail=self._batches_failed,
                    changed=self._changed,
                )
            )

    async def run(self) -> None:
        """Run to the end of the input, or until stopped; `progress.stops` says why."""
        with self._reading, self._writing:
            async with anyio.create_task_group() as outer:
                outer.start_soon(self._write)
                try:
                    async with anyio.create_task_group() as workers:
                        self._workers_scope = workers.cancel_scope
                        workers.start_soon(self._feed)
                        for _ in range(self._workers):
                            workers.start_soon(self._pool.work, self._open_lane())
                        if self.batches is not None:
                            workers.start_soon(self.batches.run)
                finally:
                    self.writer.close()

    def stop(self, reason: LlmbatchError, *, grace: float) -> None:
        """Send nothing new; let what is in flight finish within `grace` seconds, then drop it.

        A later call can only shorten the grace.
        """
        self.progress.stops.append(reason)
        if not self._stopping:
            self._stopping = True
            self._notify(Stopping(str(reason), self.dispatch.in_flight, grace))
            self.writer.put(self.dispatch.close())
            self._input.interrupt()
            self._pool.end()
            self._room.set()
            if self.batches is not None:
                self.batches.stop()
        if self._workers_scope is not None:
            self._workers_scope.deadline = min(self._workers_scope.deadline, anyio.current_time() + grace)

    def waits(self, now: float, *, paused: bool) -> tuple[str, ...]:
        """Say what the records that wait longest wait for. May be called from another thread."""
        dispatch = self.dispatch
        return waits(now, self._pool.in_flight(SHOWN), dispatch.due(SHOWN), queued=dispatch.queued, paused=paused)

    async def _write(self) -> None:
        # Answers are written whatever else breaks; `run` always closes the writer.
        with anyio.CancelScope(shield=True):
            await self.writer.run()

    async def _feed(self) -> None:
        """Read batches as long as there is room, so that memory holds what is in flight and no more."""
        while True:
            await self._until_room()
            if self._stopping:
                break
            try:
                batch: list[Job | InvalidRecord | AlreadyDone | Outcome] = await self._offload(
                    self._input.read, self._batch
                )
            except InputError as error:
                self.progress.stops.append(error)  # records that were read before are still sent
                break
            except LlmbatchError as error:
                self.stop(error, grace=math.inf)
                break
            if not batch:
                break
            self.progress.read += len(batch)
            jobs = [entry for entry in batch if isinstance(entry, Job)]
            self._ahead = AHEAD if sum(job.tokens for job in jobs) <= LIGHT * len(jobs) else 1
            live = self.batches.add(jobs) if self.batches is not None else jobs
            if done := self.dispatch.add(live):
                self.writer.put(done)
            if self.dispatch.skipped:
                self._skip()
            if len(jobs) < len(batch):
                self.progress.kept.update(entry for entry in batch if isinstance(entry, AlreadyDone))
                self.writer.put([entry for entry in batch if isinstance(entry, InvalidRecord | Outcome)])
            self._pool.wake(min(len(jobs), self.dispatch.routes.free))
        self.progress.input_ended = True
        if self.batches is not None:
            self.batches.input_ended()
        self._end_when_done()

    async def _until_room(self) -> None:
        self._wants_room = True
        while not self._has_room() and not self._stopping:
            self._room.clear()
            await self._room.wait()
        self._wants_room = False

    def _has_room(self) -> bool:
        dispatch, batch = self.dispatch, self._batch
        if self._reorder is not None and self.progress.read - self._reorder.next_index > WINDOW - batch:
            return False
        if self.batches is not None and self.batches.takes_new and not self.batches.has_room:
            return False
        most = 4 * self._workers + 1000
        further = FURTHER if self._ahead == AHEAD else most
        return (
            # While a model is paused or slow, the records of another one may be further on in the input.
            (
                dispatch.queued <= max(self._ahead * batch, self._workers)
                or (dispatch.queued <= most and dispatch.routes.are_paused(self._clock.monotonic()))
                or (dispatch.queued <= further and dispatch.routes.some_are_idle())
            )
            and dispatch.waiting <= most
            and self.writer.backlog <= 4 * max(batch, self._workers)
        )

    def _changed(self) -> None:
        dispatch = self.dispatch
        if dispatch.stop is not None and not self._stopping:
            self.stop(dispatch.stop, grace=math.inf)
        if dispatch.skipped:
            self._skip()
        if not self._looks:
            self._looks = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Look, once for all that changed in an iteration of the loop, whether more may be read, or all is done."""
        self._looks = False
        if self._wants_room and self._has_room():
            self._room.set()
        self._note_idle()
        if self.progress.input_ended:
            self._end_when_done()

    def _note_idle(self) -> None:
        """Tell the batches when nothing is live: a record that is held in doubt ends without being written."""
        if self.batches is not None and not self.writer.backlog and not self.dispatch.outstanding:
            self.batches.live_idle()

    def _ask_again(self, outcomes: list[Outcome]) -> None:
        """Let jobs ask again whose paid answer is recorded, or cannot be recorded at all."""
        if done := self.dispatch.recorded(outcomes, self._clock.monotonic()):
            self.writer.put(done)
        self._pool.wake(len(outcomes))
        self._changed()

    def _skip(self) -> None:
        """Make `--ordered` skip the records of a model that is left out."""
        skipped = self.dispatch.take_skipped()
        if self._reorder is not None:
            for job in skipped:
                self._reorder.skip(job.identity.index)
            self.writer.put(())

    def _end_when_done(self) -> None:
        if not self.dispatch.outstanding and (self.batches is None or self.batches.is_done):
            self._pool.end()

    def _wrote(self) -> None:
        self._room.set()
        if self.batches is not None:
            self._note_idle()
            if self.progress.input_ended:
                self._end_when_done()

    def _finished(self, event: Event) -> None:
        """Let the batches look at what is written, then everybody else."""
        if self.batches is not None and isinstance(event, Finished):
            self.batches.finished(event)
        self._notify(event)

    def _send_live(self, jobs: list[Job]) -> None:
        """Send records live that come from batches."""
        if done := self.dispatch.add(jobs):
            self.writer.put(done)
        if self.dispatch.skipped:
            self._skip()
        self._pool.wake(min(len(jobs), self.dispatch.routes.free))

    def _batches_failed(self, error: LlmbatchError) -> None:
        self.stop(error, grace=math.inf)

    def _output_failed(self, error: LlmbatchError) -> None:
        """Stop. Answers in flight are worth waiting for if they are saved elsewhere, not if their reader is gone."""
        self.stop(error, grace=0.0 if isinstance(error, ReaderGone) and not error.recorded else math.inf)
