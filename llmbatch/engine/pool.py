"""The worker pool: workers with a lane each, which take one request at a time from dispatch."""

import asyncio
import heapq
import math
from collections.abc import Callable

import anyio

from llmbatch.core.clock import Clock
from llmbatch.core.errors import LlmbatchError, OutputError
from llmbatch.core.exchange import ReadReply, Request, Verdicts
from llmbatch.core.fault import Fault
from llmbatch.core.job import Job
from llmbatch.core.outcome import Outcome
from llmbatch.core.ports import IntentLog, Lane
from llmbatch.engine.dispatch import Dispatch
from llmbatch.engine.writer import Writer

__all__ = ["Pool"]

LONGEST_SLEEP = 3600.0
"""The longest timer in seconds: event loops have none of many days."""


class _Worker:
    """The request that a worker has in flight, and since when."""

    __slots__ = ("request", "since")

    def __init__(self) -> None:
        self.since = 0.0
        self.request: Request | None = None


class Pool:
    """Keeps workers busy as long as dispatch has work.

    A worker without work waits on a future of its own; `wake` completes that of the worker which worked last, since its
    connection is the freshest. `changed` is called after every settled request, and when a worker finds nothing to do;
    `fail` when it could not be marked that a request leaves, which must end the pool.
    Create it within the loop that it runs on: to look up the loop each time would be a system call.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        *,
        writer: Writer,
        clock: Clock,
        changed: Callable[[], None],
        record: Callable[[list[Outcome]], None],
        fail: Callable[[LlmbatchError], None],
        marks: IntentLog | None = None,
    ) -> None:
        self._dispatch = dispatch
        self._writer = writer
        self._clock = clock
        self._changed = changed
        self._record = record
        self._fail = fail
        self._marks = marks
        self._loop = asyncio.get_running_loop()
        self._idle: list[asyncio.Future[None]] = []
        self._woken = 0
        """How many workers were woken and have not looked for work yet."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._ended = False
        self._slots: list[_Worker] = []

    async def work(self, lane: Lane) -> None:
        """Work as one worker until the pool ends."""
        dispatch, marks = self._dispatch, self._marks
        monotonic, wall = self._clock.monotonic, self._clock.wall
        now = monotonic()
        slot = _Worker()
        self._slots.append(slot)
        try:
            while not self._ended:
                request = dispatch.take(now)
                if request is None:
                    await self._rest(now)
                    self._woken -= 1
                    now = monotonic()
                    continue
                if self._idle and not self._woken:
                    # Idle workers rely on one that is awake to look for work: the last one that looks.
                    self._look_ahead(now)
                if marks is not None:
                    marks.sent(request.jobs)
                started, since = wall(), monotonic()
                slot.since, slot.request = since, request
                try:
                    reply = await lane.ask(request)
                except OutputError as error:
                    slot.request = None
                    self._hold_back(request, error)
                    continue
                except BaseException:
                    if paid := dispatch.drop(request):
                        self._writer.put(paid)
                    raise
                slot.request = None
                now = monotonic()
                self._settle(request, reply, now, started=started, latency=now - since)
                del request, reply  # or both would live until the next answer
        finally:
            with anyio.CancelScope(shield=True):
                await lane.aclose()

    def _hold_back(self, request: Request, error: OutputError) -> None:
        """End the run because it could not be marked that a request leaves, which it did not."""
        self._writer.put(self._dispatch.hold_back(request))
        if self._marks is not None:
            self._marks.came_back(request.jobs)  # others of its batch may be marked
        self._fail(error)

    def _settle(
        self, request: Request, reply: ReadReply | Fault, now: float, *, started: float, latency: float
    ) -> None:
        """Pass a reply to dispatch, and the outcomes to the writer."""
        dispatch, marks, jobs = self._dispatch, self._marks, request.jobs
        for job in jobs:
            attempts = job.attempts
            attempts.started = started
            attempts.latency = latency
        if isinstance(reply, Fault):
            verdicts: Verdicts = (reply,) * len(jobs)
        else:
            verdicts, announced = reply
            if announced is not None:
                dispatch.learn_limits(request, announced, now)
        done = dispatch.settle(request, verdicts, now)
        unrecorded = dispatch.take_unrecorded() if dispatch.unrecorded else []
        if marks is not None and (not done or len(jobs) > 1):
            # Jobs with an answer are settled once it is written: until then it is in doubt.
            settled = {id(outcome.job) for outcome in (*done, *unrecorded)}
            marks.came_back([job for job in jobs if id(job) not in settled])
        if done:
            self._writer.put(done)
        if unrecorded:
            self._record(unrecorded)
        self._changed()

    def in_flight(self, most: int) -> list[tuple[float, Job]]:
        """Return the jobs that are in flight for the longest time, each with its time of departure."""
        busy = [(slot.since, request) for slot in self._slots if (request := slot.request) is not None]
        oldest = heapq.nsmallest(most, busy, key=lambda pair: pair[0])
        return [(since, job) for since, request in oldest for job in request.jobs][:most]

    def wake(self, most: int = 1) -> None:
        """Let up to `most` idle workers look for work."""
        while most > 0 and self._idle:
            future = self._idle.pop()
            if not future.done():
                future.set_result(None)
                self._woken += 1
                most -= 1

    def end(self) -> None:
        """Let every worker end after the request that it has in flight."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        self.wake(len(self._idle))

    def _rest(self, now: float) -> asyncio.Future[None]:
        """Return a future that is done once others wake this worker, or at the time that dispatch names."""
        future = self._loop.create_future()
        self._idle.append(future)
        self._changed()
        self._look_ahead(now)
        return future

    def _look_ahead(self, now: float) -> None:
        """Wake an idle worker when dispatch has something, or set a timer for then; an earlier timer does no harm."""
        at = self._dispatch.next_time(now)
        if at <= now:
            self.wake()
        elif at < math.inf and (self._timer is None or at < self._timer_at):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_later(min(at - now, LONGEST_SLEEP), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.wake()
