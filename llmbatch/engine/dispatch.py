"""Decides what is sent next and what becomes of each answer: all queues of a run. Pure, the clock passed in.

A queue per route with its gates, and a queue of delayed jobs. Workers take requests and bring verdicts back; they
never wait for a record or at a gate themselves.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

from llmbatch.core.errors import LlmbatchError
from llmbatch.core.events import Notice, Paused, Retrying
from llmbatch.core.exchange import RateLimits, Request
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion, CopiedAnswer, Outcome
from llmbatch.core.ports import Dialect, Observer
from llmbatch.core.settings import PatienceSettings
from llmbatch.engine.dedupe import Dedupe, Entry
from llmbatch.engine.delayed import Delayed
from llmbatch.engine.explain import cost_reached, gave_up, server_changed
from llmbatch.engine.retries import Retries, smaller_requests
from llmbatch.engine.routes import RouteQueue, Routes
from llmbatch.pacing.cost import Budget
from llmbatch.pacing.fail_fast import FailFast
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.retry import RetryPolicy

__all__ = ["Dispatch"]


class Dispatch:
    """Hands out requests and settles them. `stop` is set once the run should end, with the reason."""

    def __init__(
        self,
        *,
        dialect: Dialect,
        new_gate: Callable[[], Gate],
        policy: RetryPolicy,
        patience: PatienceSettings,
        random: Callable[[], float],
        notify: Observer,
        hold: bool = False,
        dedupe: bool = False,
        budget: Budget | None = None,
        worked: Callable[[Route], bool] = lambda route: False,
        servers: Sequence[str] = ("",),
    ) -> None:
        self._dialect = dialect
        self._random = random
        self._notify = notify
        self._dedupe = Dedupe() if dedupe else None
        self._budget = budget if budget is not None else Budget()
        self._fail_fast = FailFast(worked)
        self._retries = Retries(policy, patience, self._fail_fast, random, hold=hold)
        self.routes = Routes(new_gate, servers, dialect)
        """The queues of all routes, for those who ask what may be sent and what keeps it from being sent."""
        self._queues = self.routes.queues
        self._delayed = Delayed(lambda route: bool(self._queues[route].fresh))
        self._groups = itertools.count(1)
        self._closed = False
        self.skipped: list[Job] = []
        """Jobs of stopped routes, until `take_skipped` returns them."""
        self.stop: LlmbatchError | None = None
        self.queued = 0
        self.in_flight = 0
        self.sent = 0
        """Requests handed out."""
        self.resent = 0
        """Those of them whose jobs had been sent before."""
        self.held = 0
        """Jobs that may have been billed and will not be sent again: no line, in doubt."""
        self.not_started = 0
        """Jobs that were read but will have no line in this run."""
        self.dropped = 0
        """Jobs whose request was cancelled in flight: no line, and it is unknown whether it is billed."""
        self.unrecorded: list[Outcome] = []
        """Paid answers that are not usable, to be recorded before another one is asked for (`recorded`)."""
        self._recording = 0
        self._answered_before: list[Outcome] = []
        """Jobs that will not be sent again, with the paid answer that they have."""
        self.left_out: LlmbatchError | None = None
        """Why a route was stopped while others went on."""

    def __repr__(self) -> str:
        """Show where the jobs without an outcome are, and why the run ends."""
        ending = f", stopping: {self.stop}" if self.stop is not None else ", closed" if self._closed else ""
        return (
            f"<Dispatch {self.queued} queued, {self.waiting} due later, {self.in_flight} in flight, "
            f"{self.following} following, {self.held} held, {self.dropped} dropped{ending}, {list(self.routes)}>"
        )

    @property
    def waiting(self) -> int:
        """Count the jobs that are due later."""
        return len(self._delayed)

    @property
    def following(self) -> int:
        """Count the jobs that wait for the answer to an equal request."""
        return self._dedupe.waiting if self._dedupe is not None else 0

    @property
    def left(self) -> float | None:
        """Return how many dollars may still be spent, None without a ceiling."""
        return self._budget.left

    def due(self, most: int) -> list[tuple[float, Job]]:
        """Return the jobs that are due next, each with its time."""
        return self._delayed.first(most)

    @property
    def outstanding(self) -> int:
        """Count the jobs that have no outcome yet."""
        return self.queued + self.waiting + self.in_flight + self.following + self._recording

    def add(self, jobs: Iterable[Job]) -> list[Outcome]:
        """Queue new jobs; return those that have an answer of this run already, under dedupe."""
        done: list[Outcome] = []
        dedupe = self._dedupe
        for job in jobs:
            queue = self._queues.get(job.route) or self.routes.open(job.route)
            if self._closed or queue.stopped:
                self._leave_out(job)
            elif dedupe is None or (entry := dedupe.enter(job)) is None:
                queue.fresh.append(job)
                self.queued += 1
            elif entry is Entry.COPY:
                done.append(Outcome(job, CopiedAnswer()))
            elif entry is Entry.HOLD:
                self.held += 1
        return done

    def take(self, now: float) -> Request | None:
        """Hand out a request that may be sent now, None when there is none."""
        if self._delayed.next <= now:
            for job in self._delayed.take(now):
                self._queues[job.route].again.append(job)
                self.queued += 1
        if self._delayed.apart and not self.queued and not self.in_flight:
            for job in self._delayed.take_apart():
                self._queues[job.route].again.append(job)
                self.queued += 1
        if not self.queued or self._budget.short:
            return None
        return self._request(queue, now) if (queue := self.routes.next(now)) is not None else None

    def next_time(self, now: float) -> float:
        """Return when `take` may have something that it has not now, without anything else happening; or infinity."""
        if self._budget.short:
            return math.inf
        at = self._delayed.next
        if self.queued:
            at = min(at, self.routes.opens(now))
        return max(now, at)  # jobs that came due since `take` looked are due now

    def sent_again(self, request: Request) -> None:
        """Count a request that was sent once more with a new key, while it counts as in flight."""
        self._count(request.jobs)

    def settle(self, request: Request, verdicts: Sequence[Completion | Fault], now: float) -> list[Outcome]:
        """Take a request's verdicts, one for each of its jobs; return the jobs that are done."""
        jobs = request.jobs
        queue, dedupe = self._queues[jobs[0].route], self._dedupe
        self.in_flight -= len(jobs)
        done: list[Outcome] = []
        to_split: list[Job] = []
        gate_knows = False  # the gate counts requests, not jobs
        for job, verdict in zip(jobs, verdicts, strict=True):
            self._budget.settle(job, verdict)
            if isinstance(verdict, Completion):
                if not gate_knows:
                    queue.learn(request, verdicts, now)
                    self._delayed.answered(job, now)
                    gate_knows = True
                self._fail_fast.succeeded(job.route)
                done.append(Outcome(job, verdict))
                if dedupe is not None:
                    done += dedupe.paid(job)
            elif verdict.split and len(jobs) > 1:
                to_split.append(job)
                split_fault = verdict
            elif self._retry(queue, request, job, verdict, now, tell_gate=not gate_knows):
                gate_knows = True
            elif self._retries.holds(job, verdict):
                self.held += 1 + (len(dedupe.held(job)) if dedupe is not None else 0)
            else:
                done += self._fail(queue, job, verdict)
        if to_split:
            self._split(queue, to_split, split_fault)
        if (change := queue.gate.settle(request, verdicts[0], now, self._random)) is not None:
            server = self.routes.servers[request.server]
            self._notify(Notice(server_changed(server, change, jobs[0].route, verdicts[0])))
        if self._answered_before:
            done += self._answered_before
            self._answered_before = []
        return done

    def _fail(self, queue: RouteQueue, job: Job, fault: Fault) -> list[Outcome]:
        """End a job with a fault; a paid answer that it had before says more."""
        before = job.attempts.unusable_answer
        paid = fault if before is None or fault.billing is Billing.BILLED else before
        done, dedupe = [Outcome(job, paid)], self._dedupe
        if dedupe is not None and done[0].is_paid:
            done += dedupe.paid(job)
        elif dedupe is not None and (successor := dedupe.successor(job)) is not None:
            self._queue(queue, successor, queue.fresh.append)
        if self._fail_fast.failed(job.route, fault):
            self._give_up(queue, fault)
        return done

    def learn_limits(self, request: Request, limits: RateLimits, now: float) -> None:
        """Pass on what an answer announced about limits."""
        queue = self._queues[request.jobs[0].route]
        wait = queue.announced(request, limits, now)
        if wait > 0 and not queue.gate.has_alternative(request):
            message = f"the limit that it announces for model {queue.route.model!r} is used up"
            self._end(self._retries.out_of_patience(Fault(kind=Kind.RATE_LIMITED, message=message, wait=wait)))

    def drop(self, request: Request) -> list[Outcome]:
        """Note that a request was cancelled: its jobs are in doubt.

        Jobs that have a paid answer, and waited for a better one, are returned with that answer.
        """
        self._queues[request.jobs[0].route].gate.leave(request)
        self.in_flight -= len(request.jobs)
        paid: list[Outcome] = []
        for job in request.jobs:
            if job.attempts.unusable_answer is None:
                self.dropped += 1
            else:
                job.attempts.possibly_billed += 1
                paid.append(Outcome(job, job.attempts.unusable_answer))
        return paid

    def hold_back(self, request: Request) -> list[Outcome]:
        """Note that a request could not leave after all, and that the run ends; return as `drop` does."""
        self.sent -= 1
        self.resent -= request.jobs[0].attempts.sent > 1
        for job in request.jobs:
            job.attempts.sent -= 1
            job.attempts.possibly_billed -= job.attempts.unusable_answer is not None  # `drop` counts it
        dropped, paid = self.dropped, self.drop(request)
        self.not_started, self.dropped = self.not_started + self.dropped - dropped, dropped
        return paid

    def take_unrecorded(self) -> list[Outcome]:
        """Return the paid answers that wait to be recorded; their jobs go on with `recorded`."""
        unrecorded, self.unrecorded = self.unrecorded, []
        return unrecorded

    def recorded(self, outcomes: Iterable[Outcome], now: float) -> list[Outcome]:
        """Let jobs whose paid answer is recorded ask again; return those for which nothing is sent any more."""
        done: list[Outcome] = []
        for outcome in outcomes:
            self._recording -= 1
            if self._closed or self._queues[outcome.job.route].stopped:
                done.append(outcome)
                self._leave_all(self._released(outcome.job))
            else:
                self._delayed.add(now, outcome.job)
        return done

    def take_skipped(self) -> list[Job]:
        """Return the jobs of stopped routes that were left out since the last call."""
        skipped, self.skipped = self.skipped, []
        return skipped

    def close(self) -> list[Outcome]:
        """Hand out nothing any more. Waiting jobs get no outcome; requests in flight can still be settled.

        Jobs that have a paid answer, and wait for a better one, are returned with that answer.
        """
        self._closed = True
        paid = [
            Outcome(job, job.attempts.unusable_answer)
            for job in itertools.chain(self._delayed, *(queue.again for queue in self.routes))
            if job.attempts.unusable_answer is not None
        ]
        self.not_started += self.queued + self.waiting - len(paid)
        if self._dedupe is not None:
            self.not_started += self._dedupe.forget()
        self.queued = 0
        self._delayed.clear()
        for queue in self.routes:
            queue.again.clear()
            queue.fresh.clear()
        return paid

    def conclude(self) -> LlmbatchError | None:
        """Return why a person must act, at the end of a run: a route that was left out, or that never worked."""
        hopeless = self._fail_fast.hopeless().items()
        return self.left_out or next((gave_up(fault, route) for route, fault in hopeless), None)

    def _request(self, queue: RouteQueue, now: float) -> Request | None:
        source = queue.source()
        queue.retried_last = source is queue.again
        count = self._dialect.pack(source)
        jobs = (source.popleft(),) if count == 1 else tuple(source.popleft() for _ in range(count))
        while not self._budget.reserve(jobs):
            half = len(jobs) // 2
            source.extendleft(reversed(jobs[half:]))
            if not half:
                if not self.in_flight:
                    self._end(cost_reached(self._budget, sum(job.worst_cost for job in jobs)))
                return None
            jobs = jobs[:half]
        self.queued -= len(jobs)
        self.in_flight += len(jobs)
        self._count(jobs)
        request = self._dialect.request(jobs)
        if queue.weighs:
            request.weight = queue.weigh(jobs)
        queue.gate.enter(now, request)
        return request

    def _count(self, jobs: Sequence[Job]) -> None:
        self.sent += 1
        self.resent += jobs[0].attempts.sent > 0
        for job in jobs:
            job.attempts.sent += 1

    def _split(self, queue: RouteQueue, jobs: Sequence[Job], fault: Fault) -> None:
        """Queue the jobs of a failed request before all others, as smaller requests."""
        self._notify(Retrying(jobs[0], fault, 0.0))
        for part in reversed(smaller_requests(jobs, fault)):
            peers = next(self._groups)
            for job in reversed(part):
                job.attempts.pack_group = peers
                self._queue(queue, job, queue.again.appendleft)

    def _retry(
        self, queue: RouteQueue, request: Request, job: Job, fault: Fault, now: float, *, tell_gate: bool
    ) -> bool:
        """Arrange another attempt, and with `tell_gate` tell the gate; False when this fault is the end of the job."""
        if not self._closed and queue.gate.blames_server(request, fault):
            self._queue(queue, job, queue.again.append)
            return True
        ending = self._closed or queue.stopped
        step = self._retries.after(queue, request, job, fault, now, tell_gate=tell_gate, ending=ending)
        if step.added is not None:
            self._notify(Paused(job.route, fault, queue.gate.gate_for(request).closed_until - now, step.added))
        self._end(step.stop)
        if fault.billing in (Billing.DOUBTFUL, Billing.SERVER):
            job.attempts.pack_group = next(self._groups)  # what may be billed twice is sent alone
            if fault.billing is Billing.DOUBTFUL or self._fail_fast.has_succeeded(job.route):
                self._delayed.failed(job, now)
        if step.wait is None:
            return False
        if ending:
            self._leave_out(job)
        elif step.with_route and not step.wait:
            self._queue(queue, job, queue.again.append)
        else:
            if fault.billing is Billing.BILLED:
                self.unrecorded.append(Outcome(job, fault))
                self._recording += 1
            else:
                self._delayed.add(now + step.wait, job)
            if not step.with_route and step.added is None:
                self._notify(Retrying(job, fault, step.wait))
        return True

    def _released(self, job: Job) -> list[Job]:
        """Return the jobs that wait for the answer to this one, which will not come."""
        return self._dedupe.released(job) if self._dedupe is not None else []

    def _queue(self, queue: RouteQueue, job: Job, put: Callable[[Job], None]) -> None:
        """Let `put` queue a job to be sent now, unless nothing more is sent on its route."""
        if self._closed or queue.stopped:
            self._leave_out(job)
        else:
            put(job)
            self.queued += 1

    def _leave_out(self, job: Job) -> None:
        """Send a job no more in this run; if it has a paid answer, that is its outcome."""
        followers = self._released(job)
        if job.attempts.unusable_answer is not None:
            self._answered_before.append(Outcome(job, job.attempts.unusable_answer))
            self._leave_all(followers)
        else:
            self._leave_all([job, *followers])

    def _leave_all(self, jobs: list[Job]) -> None:
        self.not_started += len(jobs)
        if not self._closed:
            self.skipped += jobs

    def _give_up(self, queue: RouteQueue, fault: Fault) -> None:
        """Stop the route, and with it the run unless other routes may still work."""
        if queue.stopped or self._closed:
            return
        route, reason = queue.route, gave_up(fault, queue.route)
        others = any(not q.stopped for q in self.routes if q is not queue)
        if fault.scope is Scope.RUN or not others:
            self._end(reason)
            return
        queue.stopped = True
        self.queued -= len(queue.again) + len(queue.fresh)
        for job in (*queue.again, *queue.fresh, *self._delayed.take_of(route)):
            self._leave_out(job)
        queue.again.clear()
        queue.fresh.clear()
        self._notify(Notice(f"model {route.model!r} gets no more requests at {route.path}: {reason}"))
        self.left_out = reason

    def _end(self, reason: LlmbatchError | None) -> None:
        if self.stop is None:
            self.stop = reason
