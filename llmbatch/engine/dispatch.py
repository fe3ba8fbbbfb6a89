"""What is sent next, and what becomes of it: every queue and every decision of a run. Pure, the clock passed in.

A queue per route, a heap of jobs due later, a gate per route. Workers take requests and bring verdicts back; they
never wait for a record or at a gate themselves.
"""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from llmbatch.core.errors import ActionNeeded, CeilingReached, LlmbatchError
from llmbatch.core.events import Held, Notice, Retrying
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.job import Job, Request, Route
from llmbatch.core.outcome import Completion, Outcome
from llmbatch.core.ports import Dialect, Observer
from llmbatch.flow.breaker import Breaker
from llmbatch.flow.gate import Gate
from llmbatch.flow.retry import RetryPolicy

__all__ = ["Dispatch", "Patience"]


class Patience:
    """How long a run waits: `max_wait` for one request of the server's, `max_outage` for it to work again; seconds."""

    def __init__(self, max_wait: float = 600.0, max_outage: float = 900.0) -> None:
        self.max_wait = max_wait
        self.max_outage = max_outage


class _Queue:
    """The jobs of one route that may be sent now: retries that came due, and new ones."""

    __slots__ = ("again", "fresh", "gate", "stopped", "turn")

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.again: deque[Job] = deque()
        self.fresh: deque[Job] = deque()
        self.turn = False
        self.stopped = False

    def next(self, most: int) -> tuple[Job, ...]:
        """Take up to `most` jobs: retries first, but every second time new ones, so that neither starves the other."""
        source = self.again
        if not source or (self.turn and self.fresh):
            source = self.fresh
        self.turn = source is self.again
        if most == 1:
            return (source.popleft(),)
        return tuple(source.popleft() for _ in range(min(most, len(source))))


class Dispatch:
    """Hands out requests and settles them. `stop` is set once the run should end, with the reason."""

    def __init__(
        self,
        *,
        dialect: Dialect,
        new_gate: Callable[[], Gate],
        policy: RetryPolicy,
        patience: Patience,
        random: Callable[[], float],
        notify: Observer,
    ) -> None:
        self._dialect = dialect
        self._new_gate = new_gate
        self._policy = policy
        self._patience = patience
        self._random = random
        self._notify = notify
        self._breaker = Breaker()
        self._queues: dict[Route, _Queue] = {}
        self._turns: deque[_Queue] = deque()
        self._due: list[tuple[float, int, Job]] = []
        self._sequence = itertools.count()
        self._closed = False
        self.stop: LlmbatchError | None = None
        self.queued = 0
        self.in_flight = 0
        self.sent = 0
        """Requests handed out."""
        self.not_started = 0
        """Jobs that were read but will have no line in this run."""

    @property
    def waiting(self) -> int:
        """Count the jobs that are due later."""
        return len(self._due)

    @property
    def outstanding(self) -> int:
        """Count the jobs that have no outcome yet."""
        return self.queued + len(self._due) + self.in_flight

    def add(self, jobs: Iterable[Job]) -> None:
        """Queue new jobs."""
        for job in jobs:
            queue = self._queues.get(job.route) or self._open(job.route)
            if self._closed or queue.stopped:
                self.not_started += 1
            else:
                queue.fresh.append(job)
                self.queued += 1

    def take(self, now: float) -> Request | None:
        """Hand out a request that may be sent now, None when there is none."""
        if self._due and self._due[0][0] <= now:
            self._requeue_due(now)
        if not self.queued:
            return None
        turns = self._turns
        for _ in range(len(turns)):
            queue = turns[0]
            turns.rotate(-1)
            if (queue.again or queue.fresh) and queue.gate.opens(now) <= now:
                return self._request(queue)
        return None

    def next_time(self, now: float) -> float:
        """Return when `take` may have something that it has not now, without anything else happening; or infinity."""
        times = [self._due[0][0]] if self._due else []
        times += [q.gate.opens(now) for q in self._turns if q.again or q.fresh]
        return min((t for t in times if t > now), default=math.inf)

    def settle(self, request: Request, verdicts: Sequence[Completion | Fault], now: float) -> list[Outcome]:
        """Take a request's verdicts, one for each of its jobs; return the jobs that are done with."""
        queue = self._queues[request.jobs[0].route]
        queue.gate.leave()
        self.in_flight -= len(request.jobs)
        done: list[Outcome] = []
        for job, verdict in zip(request.jobs, verdicts, strict=True):
            if isinstance(verdict, Completion):
                queue.gate.succeeded()
                self._breaker.succeeded(job.route)
                done.append(Outcome(job, verdict))
            elif not self._again(queue, job, verdict, now):
                done.append(Outcome(job, verdict))
                if self._breaker.failed(job.route, verdict):
                    self._give_up(queue, job.route, verdict)
        return done

    def drop(self, request: Request) -> None:
        """Take back a request that was cancelled: its jobs stay without an outcome."""
        self._queues[request.jobs[0].route].gate.leave()
        self.in_flight -= len(request.jobs)
        self.not_started += len(request.jobs)

    def close(self) -> None:
        """Hand out nothing any more. What waits stays without an outcome, what is in flight can still be settled."""
        self._closed = True
        self.not_started += self.queued + len(self._due)
        self.queued = 0
        self._due.clear()
        for queue in self._turns:
            queue.again.clear()
            queue.fresh.clear()

    def conclude(self) -> LlmbatchError | None:
        """Return why a person must act, at the end of a run: a route that was left out, or that never worked."""
        if self.left_out is not None:
            return self.left_out
        for route, fault in self._breaker.hopeless().items():
            return ActionNeeded(_stopped(fault, route), _ADVICE.get(fault.kind))
        return None

    def _open(self, route: Route) -> _Queue:
        queue = self._queues[route] = _Queue(self._new_gate())
        self._turns.append(queue)
        return queue

    def _requeue_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            job = heapq.heappop(self._due)[2]
            self._queues[job.route].again.append(job)
            self.queued += 1

    def _request(self, queue: _Queue) -> Request:
        first = queue.again[0] if queue.again else queue.fresh[0]
        jobs = queue.next(self._dialect.pack_limit(first.route))
        self.queued -= len(jobs)
        self.in_flight += len(jobs)
        self.sent += 1
        queue.gate.enter()
        for job in jobs:
            job.sent += 1
        return self._dialect.request(jobs)

    def _again(self, queue: _Queue, job: Job, fault: Fault, now: float) -> bool:
        """Arrange another attempt; False when this fault is the end of the job."""
        match fault.billing:
            case Billing.DOUBTFUL:
                job.doubtful += 1
            case Billing.SERVER:
                job.server += 1
            case Billing.UNBILLED if fault.retry:
                job.retries += 1
        if fault.retry and fault.billing is Billing.THROTTLED:
            self._hold(queue, job, fault, now)
            if not self._closed:
                queue.again.append(job)
                self.queued += 1
            else:
                self.not_started += 1
            return True
        wait = self._policy.wait(job, fault, self._random)
        if wait is None:
            return False
        if self._closed or queue.stopped:
            self.not_started += 1
            return True
        heapq.heappush(self._due, (now + wait, next(self._sequence), job))
        self._notify(Retrying(job, fault, wait))
        return True

    def _hold(self, queue: _Queue, job: Job, fault: Fault, now: float) -> None:
        """Close the gate for everybody on the route, or end the run when patience is out."""
        added = queue.gate.refused(fault, now, self._random)
        self._notify(Held(job.route, fault, queue.gate.closed_until - now, added))
        if fault.wait is not None and fault.wait > self._patience.max_wait:
            self._end(
                CeilingReached(
                    f"the provider asks to wait {fault.wait:,.0f} s, longer than --max-wait "
                    f"{self._patience.max_wait:g} allows: {fault.message}",
                    "Run the same command again later.",
                )
            )
        elif queue.gate.outage_since is not None and now - queue.gate.outage_since > self._patience.max_outage:
            self._end(
                CeilingReached(
                    f"the provider has refused for longer than --max-outage {self._patience.max_outage:g} s: "
                    f"{fault.message}",
                    "Run the same command again later.",
                )
            )

    def _give_up(self, queue: _Queue, route: Route, fault: Fault) -> None:
        """Stop the route, and with it the run unless other routes may still work."""
        if queue.stopped or self._closed:
            return
        others = any(not q.stopped for q in self._turns if q is not queue)
        if fault.scope is Scope.RUN or not others:
            self._end(ActionNeeded(_stopped(fault, route), _ADVICE.get(fault.kind)))
            return
        queue.stopped = True
        self.not_started += len(queue.again) + len(queue.fresh)
        self.queued -= len(queue.again) + len(queue.fresh)
        queue.again.clear()
        queue.fresh.clear()
        self._notify(Notice(f"model {route.model!r} is left out from here on: {_stopped(fault, route)}"))
        self.left_out = ActionNeeded(_stopped(fault, route), _ADVICE.get(fault.kind))

    left_out: ActionNeeded | None = None
    """Why a route was stopped while others went on."""

    def _end(self, reason: LlmbatchError) -> None:
        if self.stop is None:
            self.stop = reason


def _stopped(fault: Fault, route: Route) -> str:
    what = {
        Kind.UNAUTHORIZED: "the provider refuses the key",
        Kind.NO_CREDIT: "the provider says the account has no credit left",
        Kind.NOT_FOUND: f"the provider does not know model {route.model!r} at {route.path}",
        Kind.FORBIDDEN: f"the provider does not allow model {route.model!r} with this key",
        Kind.CONNECTION: "the server cannot be reached",
        Kind.TLS: "no safe connection to the server",
        Kind.REDIRECT: "the server answers with a redirect, which is never followed",
        Kind.BAD_REQUEST: "the provider refuses every request",
    }.get(fault.kind, "every request fails")
    details = ", ".join(str(d) for d in (f"HTTP {fault.status}" if fault.status else None, fault.code) if d)
    return f"{what}{f' ({details})' if details else ''}: {fault.message}"


_ADVICE = {
    Kind.UNAUTHORIZED: "Check the key in the environment, then run the same command again.",
    Kind.NO_CREDIT: "Add credit or raise the limit at the provider, then run the same command again.",
    Kind.NOT_FOUND: "Check -m/--model and --base-url, then run the same command again.",
    Kind.FORBIDDEN: "Ask for access or choose another model, then run the same command again.",
    Kind.CONNECTION: "Check --base-url and that the server runs, then run the same command again.",
    Kind.TLS: "Check --base-url; name your own certificate authority with --ca-file.",
    Kind.REDIRECT: "Set --base-url to the address it redirects to, if you trust it.",
    Kind.BAD_REQUEST: "Look at one request with --dry-run --limit 1.",
}
