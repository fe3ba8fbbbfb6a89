"""Decides what is sent next and what becomes of each answer: all queues of a run. Pure, the clock passed in.

A queue per route, a heap of jobs due later, a gate per route. Workers take requests and bring verdicts back; they
never wait for a record or at a gate themselves.
"""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from llmbatch.core.errors import LlmbatchError
from llmbatch.core.events import Notice, Paused, Retrying
from llmbatch.core.exchange import RateLimits, Request
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion, CopiedAnswer, Outcome
from llmbatch.core.ports import Dialect, Observer
from llmbatch.core.settings import PatienceSettings
from llmbatch.core.snapshot import Cause, RouteState
from llmbatch.engine.dedupe import Dedupe, Entry
from llmbatch.engine.explain import cost_reached, gave_up, outage, wait_too_long
from llmbatch.pacing.cost import Budget
from llmbatch.pacing.fail_fast import FailFast
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.load_balancer import LoadBalancer
from llmbatch.pacing.retry import RetryPolicy, backoff
from llmbatch.pacing.token_estimate import TokenEstimate

__all__ = ["Dispatch"]


CONFIRMATIONS = 2
"""Extra attempts, one probe at a time, before a key or account that worked counts as invalid."""
SINGLED_OUT, HOPELESS = 4, 12
"""After so many refusals, while hardly any other job is refused, a job waits on its own; after so many it fails."""


REFUSED_BACKOFF = 0.5
"""Seconds that bound the first wait of a job that was refused, without a time, while others were not."""
READY_PROBE = 5.0
"""The most seconds until a server that is not ready is asked again."""


class _Queue:
    """The jobs of one route that may be sent now: retries that came due, and new ones."""

    __slots__ = ("again", "balancer", "confirmed", "fresh", "gate", "retried_last", "stopped", "weight")

    def __init__(self, gates: Sequence[Gate]) -> None:
        self.gate = gates[0]
        self.balancer = LoadBalancer(gates) if len(gates) > 1 else None
        self.weight = TokenEstimate()
        self.again: deque[Job] = deque()
        self.fresh: deque[Job] = deque()
        self.retried_last = False
        self.stopped = False
        self.confirmed = -1
        """How many answers there were when a fault of the account turned out to be permanent."""

    def source(self) -> deque[Job]:
        """Return the queue to send from: retries and new jobs alternate, so that neither starves the other."""
        return self.fresh if not self.again or (self.retried_last and self.fresh) else self.again

    def gate_for(self, request: Request) -> Gate:
        """Return the gate that a request went through."""
        return self.gate if self.balancer is None else self.balancer.gates[request.server]

    def weigh(self, jobs: Iterable[Job]) -> float:
        """Estimate the tokens of a request."""
        return sum(self.weight.of(job.tokens, job.token_cap) for job in jobs)


MOST_ROUTES = 100
"""Routes whose state is shown; a hostile input has one in every record."""


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
        self._servers = servers
        self._new_gate = new_gate
        self._policy = policy
        self._patience = patience
        self._random = random
        self._notify = notify
        self._hold_doubts = hold
        self._dedupe = Dedupe() if dedupe else None
        self._budget = budget if budget is not None else Budget()
        self._fail_fast = FailFast(worked)
        self._queues: dict[Route, _Queue] = {}
        self._rotation: deque[_Queue] = deque()
        self._due: list[tuple[float, int, Job]] = []
        self._sequence = itertools.count()
        self._closed = False
        self.skipped: list[Job] = []
        """Jobs of stopped routes, until `take_skipped` returns them."""
        self.stop: LlmbatchError | None = None
        self.queued = 0
        self.in_flight = 0
        self.sent = 0
        """Requests handed out."""
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

    @property
    def waiting(self) -> int:
        """Count the jobs that are due later."""
        return len(self._due)

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
        return [(at, job) for at, _, job in heapq.nsmallest(most, tuple(self._due))]

    @property
    def outstanding(self) -> int:
        """Count the jobs that have no outcome yet."""
        return self.queued + len(self._due) + self.in_flight + self.following + self._recording

    @property
    def free(self) -> int:
        """Count the requests that may join those in flight, if there is something to send and it is time."""
        return sum(max(0, gate.now - gate.in_flight) for gate in self._gates())

    @property
    def limit(self) -> tuple[int, str]:
        """Return how many requests may be in flight, over all routes, and what moved that last."""
        gates = self._gates()
        return sum(gate.now for gate in gates), gates[0].why if gates else ""

    def routes(self, now: float, *, input_ended: bool) -> list[RouteState]:
        """Return the state of each route, up to a hundred, at each of its servers: what keeps it from sending more."""
        states = []
        for route, queue in itertools.islice(self._queues.items(), MOST_ROUTES):
            for server, gate in zip(self._servers, self._all_gates(queue), strict=True):
                state = gate.state(route.model if queue.balancer is None else f"{route.model} at {server}", now)
                if not (queue.again or queue.fresh) and (input_ended or state.in_flight < state.allowed):
                    idle = None if input_ended or self._closed else Cause.INPUT
                    state = state._replace(cause=idle, closed_for=0.0)
                states.append(state)
        return states

    def add(self, jobs: Iterable[Job]) -> list[Outcome]:
        """Queue new jobs; return those that have an answer of this run already, under dedupe."""
        done: list[Outcome] = []
        dedupe = self._dedupe
        for job in jobs:
            queue = self._queues.get(job.route) or self._open(job.route)
            if self._closed or queue.stopped:
                self._leave_out(job)
            elif dedupe is None or (entry := dedupe.enter(job)) is Entry.SEND:
                queue.fresh.append(job)
                self.queued += 1
            elif entry is Entry.COPY:
                done.append(Outcome(job, CopiedAnswer()))
            elif entry is Entry.HOLD:
                self.held += 1
        return done

    def traffic(self) -> list[tuple[str, int, int, int]]:
        """Return for each server how many requests it got, how many it answered and how many it refused."""
        gates = [queue.balancer.gates if queue.balancer is not None else (queue.gate,) for queue in self._rotation]
        return [
            (
                name,
                sum(route_gates[server].sent for route_gates in gates),
                sum(route_gates[server].answers for route_gates in gates),
                sum(route_gates[server].refusals for route_gates in gates),
            )
            for server, name in enumerate(self._servers)
        ]

    def take(self, now: float) -> Request | None:
        """Hand out a request that may be sent now, None when there is none."""
        if self._due and self._due[0][0] <= now:
            self._requeue_due(now)
        if not self.queued or self._budget.short:
            return None
        for passed, queue in enumerate(self._rotation, 1):
            if (queue.fresh or queue.again) and self._opening(queue, now) <= now:
                self._rotation.rotate(-passed)
                return self._request(queue, now)
        return None

    def next_time(self, now: float) -> float:
        """Return when `take` may have something that it has not now, without anything else happening; or infinity."""
        at = self._due[0][0] if self._due else math.inf
        if self.queued:
            for queue in self._rotation:
                if queue.fresh or queue.again:
                    at = min(at, self._opening(queue, now))
        # Jobs that came due since `take` looked are due now.
        return max(now, at) if not self._budget.short else math.inf

    def is_paused(self, now: float) -> bool:
        """Tell whether jobs wait because the gates of a route are closed until a later time."""
        return any(
            min(gate.closed_until for gate in self._gates_in_use(queue)) > now
            for queue in self._rotation
            if queue.again or queue.fresh
        )

    def sent_again(self, request: Request) -> None:
        """Count a request that was sent once more with a new key, while it counts as in flight."""
        self.sent += 1
        for job in request.jobs:
            job.sent += 1

    def settle(self, request: Request, verdicts: Sequence[Completion | Fault], now: float) -> list[Outcome]:
        """Take a request's verdicts, one for each of its jobs; return the jobs that are done."""
        jobs = request.jobs
        queue, dedupe = self._queues[jobs[0].route], self._dedupe
        balancer = queue.balancer
        gate = queue.gate if balancer is None else balancer.gates[request.server]
        self.in_flight -= len(jobs)
        done: list[Outcome] = []
        to_split: list[Job] = []
        split_fault: Fault | None = None
        gate_knows = False  # the gate counts requests, not jobs
        for index, job in enumerate(jobs):
            verdict = verdicts[index]
            self._budget.settle(job, verdict)
            if isinstance(verdict, Completion):
                if not gate_knows:
                    self._learn(queue, gate, request, verdicts, now)
                    gate_knows = True
                self._fail_fast.succeeded(job.route)
                done.append(Outcome(job, verdict))
                if dedupe is not None:
                    done += [Outcome(follower, CopiedAnswer()) for follower in dedupe.answered(job)]
            elif verdict.split and len(jobs) > 1:
                to_split.append(job)
                split_fault = verdict
            elif self._retry(queue, gate, request, job, verdict, now, tell_gate=not gate_knows):
                gate_knows = True
            elif self._holds_in_doubt(job, verdict):
                self.held += 1 + (len(dedupe.held(job)) if dedupe is not None else 0)
            else:
                paid = (
                    verdict if job.unusable_answer is None or verdict.billing is Billing.BILLED else job.unusable_answer
                )
                done.append(Outcome(job, paid))
                if dedupe is not None and (successor := dedupe.successor(job)) is not None:
                    self._queue_fresh(queue, successor)
                if self._fail_fast.failed(job.route, verdict):
                    self._give_up(queue, job.route, verdict)
        if not gate.answers:
            gate.limit.bad_news()
        if isinstance(verdicts[0], Fault) and verdicts[0].kind is Kind.TIMEOUT:
            gate.limit.timed_out(now, gate.in_flight)
        if split_fault is not None:
            self._split(queue, to_split, split_fault)
        if balancer is not None:
            self._compare(balancer, request, verdicts[0], now)
        if gate.breaker.probe is request and isinstance(verdicts[0], Fault):
            gate.probed(request, verdicts[0], now, jobs[0].latency, self._random)
        gate.leave(request)
        if self._answered_before:
            done += self._answered_before
            self._answered_before = []
        return done

    def _holds_in_doubt(self, job: Job, fault: Fault) -> bool:
        """Tell whether a job is held in doubt: under `hold`, unless it has a paid answer."""
        doubtful = fault.billing in (Billing.DOUBTFUL, Billing.SERVER)
        return self._hold_doubts and doubtful and job.unusable_answer is None

    def learn_limits(self, request: Request, limits: RateLimits, now: float) -> None:
        """Pass on what an answer announced about limits."""
        queue = self._queues[request.jobs[0].route]
        wait = queue.gate_for(request).announced(request, limits, now)
        if wait > self._patience.max_wait and (
            queue.balancer is None or not queue.balancer.others_work(request.server)
        ):
            message = f"the limit that it announces for model {request.jobs[0].route.model!r} is used up"
            self._check_wait(Fault(kind=Kind.RATE_LIMITED, message=message, wait=wait))

    def drop(self, request: Request) -> list[Outcome]:
        """Note that a request was cancelled: its jobs are in doubt.

        Jobs that have a paid answer, and waited for a better one, are returned with that answer.
        """
        self._queues[request.jobs[0].route].gate_for(request).leave(request)
        self.in_flight -= len(request.jobs)
        paid: list[Outcome] = []
        for job in request.jobs:
            if job.unusable_answer is None:
                self.dropped += 1
            else:
                job.possibly_billed += 1
                paid.append(Outcome(job, job.unusable_answer))
        return paid

    def take_unrecorded(self) -> list[Outcome]:
        """Return the paid answers that wait to be recorded; their jobs go on with `recorded`."""
        unrecorded, self.unrecorded = self.unrecorded, []
        return unrecorded

    def recorded(self, outcomes: Iterable[Outcome], now: float) -> list[Outcome]:
        """Let jobs whose paid answer is recorded ask again; return those for which nothing is sent any more."""
        done: list[Outcome] = []
        for outcome in outcomes:
            job = outcome.job
            self._recording -= 1
            if self._closed or self._queues[job.route].stopped:
                done.append(outcome)
                self._leave_all(self._released(job))
            else:
                heapq.heappush(self._due, (now, next(self._sequence), job))
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
        waiting = itertools.chain((job for _, _, job in self._due), *(queue.again for queue in self._rotation))
        paid = [Outcome(job, job.unusable_answer) for job in waiting if job.unusable_answer is not None]
        self.not_started -= len(paid)
        self.not_started += self.queued + len(self._due)
        if self._dedupe is not None:
            self.not_started += self._dedupe.forget()
        self.queued = 0
        self._due.clear()
        for queue in self._rotation:
            queue.again.clear()
            queue.fresh.clear()
        return paid

    def conclude(self) -> LlmbatchError | None:
        """Return why a person must act, at the end of a run: a route that was left out, or that never worked."""
        if self.left_out is not None:
            return self.left_out
        for route, fault in self._fail_fast.hopeless().items():
            return gave_up(fault, route)
        return None

    def _open(self, route: Route) -> _Queue:
        queue = self._queues[route] = _Queue([self._new_gate() for _ in self._servers])
        self._rotation.append(queue)
        return queue

    def _requeue_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            job = heapq.heappop(self._due)[2]
            self._queues[job.route].again.append(job)
            self.queued += 1

    def _opening(self, queue: _Queue, now: float) -> float:
        """Return when the next request of a queue may be sent."""
        weight, balancer = 0.0, queue.balancer
        if queue.gate.tokens.binds if balancer is None else balancer.weighs:
            source = queue.source()
            weight = queue.weigh(itertools.islice(source, self._dialect.pack(source)))
        return queue.gate.opens(now, weight) if balancer is None else balancer.opens(now, weight)

    def _request(self, queue: _Queue, now: float) -> Request | None:
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
        self.sent += 1
        for job in jobs:
            job.sent += 1
        request = self._dialect.request(jobs)
        gate, balancer = queue.gate, queue.balancer
        if gate.tokens.binds if balancer is None else balancer.weighs:
            request.weight = queue.weigh(jobs)
        if balancer is not None:
            request.server = balancer.least_busy(now, request.weight)
            gate = balancer.gates[request.server]
        gate.enter(now, request)
        return request

    def _learn(
        self, queue: _Queue, gate: Gate, request: Request, verdicts: Sequence[Completion | Fault], now: float
    ) -> None:
        """Tell the gate how a request went, and how many tokens it really had."""
        jobs, weighed = request.jobs, gate.tokens.binds
        used, output, counted = 0, 0, True
        for index, verdict in enumerate(verdicts):
            usage = verdict.usage if isinstance(verdict, Completion) else None
            if usage is None or usage.input_tokens is None:
                counted = False
                continue
            if weighed:
                queue.weight.learn(jobs[index].tokens, usage.input_tokens, usage.output_tokens)
            used += usage.input_tokens
            output += usage.output_tokens or 0
        gate.succeeded(now, jobs[0].latency, output)
        if counted and weighed:
            gate.tokens.correct(now, request.reserved, request.weight - used - output)

    def _split(self, queue: _Queue, jobs: Sequence[Job], fault: Fault) -> None:
        """Queue the halves of a failed request before all others, which finds the job that fails in a few steps.

        The jobs of a paid answer that could not be matched to them go one by one: halves would be paid several times.
        """
        self._notify(Retrying(jobs[0], fault, 0.0))
        middle = len(jobs) // 2
        halves = (jobs[middle:], jobs[:middle])
        for part in [(job,) for job in reversed(jobs)] if fault.billing is Billing.BILLED else halves:
            peers = next(self._sequence) + 1
            for job in reversed(part):
                job.pack_group = peers
                if self._closed or queue.stopped:
                    self._leave_out(job)
                else:
                    queue.again.appendleft(job)
                    self.queued += 1

    def _retry(
        self, queue: _Queue, gate: Gate, request: Request, job: Job, fault: Fault, now: float, *, tell_gate: bool
    ) -> bool:
        """Arrange another attempt, and with `tell_gate` tell the gate; False when this fault is the end of the job."""
        if queue.balancer is not None and self._is_fault_of_server(queue.balancer, request, job, fault):
            queue.again.append(job)
            self.queued += 1
            return True
        closes_gate = (
            fault.retry and (fault.billing is Billing.THROTTLED or _is_unreachable(fault))
        ) or self._may_pass(queue, gate, job, fault)
        match fault.billing:
            case Billing.DOUBTFUL:
                job.unknown_outcomes += 1
                job.possibly_billed += 1
                job.pack_group = next(self._sequence) + 1  # what may be billed twice is sent alone
            case Billing.SERVER:
                job.server_errors += 1
                job.possibly_billed += 1
                job.pack_group = next(self._sequence) + 1
            case Billing.UNBILLED if fault.retry and not closes_gate:
                job.retries += 1
            case Billing.BILLED if fault.retry:
                if self._closed or queue.stopped:
                    return False
                job.unusable_answers += 1
                job.unusable_answer = fault
        wait = 0.0 if closes_gate else self._policy.wait(job, fault, self._random)
        if wait is None:
            return False
        if queue.balancer is None or not queue.balancer.others_work(request.server):
            self._check_wait(fault)
        everybody = False
        if closes_gate:
            alone = gate.singled_out(job)
            if alone >= HOPELESS:
                return False
            everybody = (
                self._close_gate(queue, gate, request, job, fault, now) if tell_gate else gate.closed_until > now
            )
            wait = self._wait_alone(job, fault, alone, everybody=everybody)
        if self._closed or queue.stopped:
            self._leave_out(job)
        elif everybody and not wait:
            queue.again.append(job)
            self.queued += 1
        else:
            if fault.billing is Billing.BILLED:
                self.unrecorded.append(Outcome(job, fault))
                self._recording += 1
            else:
                heapq.heappush(self._due, (now + wait, next(self._sequence), job))
            if not everybody:
                self._notify(Retrying(job, fault, wait))
        return True

    def _wait_alone(self, job: Job, fault: Fault, alone: int, *, everybody: bool) -> float:
        """Return how long a refused job waits by itself: as long as the server asked, or longer each time."""
        if fault.wait:
            return fault.wait * (1.0 + 0.1 * self._random())
        if alone >= SINGLED_OUT:
            return backoff(min(alone - SINGLED_OUT, 3) + 1, 1.0, self._random)
        if everybody:
            return 0.0
        return backoff(job.refused[0] if job.refused is not None else 1, REFUSED_BACKOFF, self._random)

    def _released(self, job: Job) -> list[Job]:
        """Return the jobs that wait for the answer to this one, which will not come."""
        return self._dedupe.released(job) if self._dedupe is not None else []

    def _queue_fresh(self, queue: _Queue, job: Job) -> None:
        """Queue a job whose turn has come."""
        if self._closed or queue.stopped:
            self._leave_out(job)
        else:
            queue.fresh.append(job)
            self.queued += 1

    def _leave_out(self, job: Job) -> None:
        """Send a job no more in this run; if it has a paid answer, that is its outcome."""
        followers = self._released(job)
        if job.unusable_answer is not None:
            self._answered_before.append(Outcome(job, job.unusable_answer))
            self._leave_all(followers)
        else:
            self._leave_all([job, *followers])

    def _leave_all(self, jobs: list[Job]) -> None:
        self.not_started += len(jobs)
        if not self._closed:
            self.skipped += jobs

    def _may_pass(self, queue: _Queue, gate: Gate, job: Job, fault: Fault) -> bool:
        """Tell whether a fault of a key or an account that worked may pass: a few probes must confirm it."""
        if fault.kind not in (Kind.UNAUTHORIZED, Kind.NO_CREDIT) or not self._fail_fast.has_succeeded(job.route):
            return False
        answers = gate.answers
        if queue.confirmed == answers:
            return False
        job.retries += 1
        if job.retries > min(CONFIRMATIONS, self._policy.retries):
            queue.confirmed = answers
            return False
        return True

    def _close_gate(self, queue: _Queue, gate: Gate, request: Request, job: Job, fault: Fault, now: float) -> bool:
        """Close the gate for all jobs of the route, or end the run when patience is out; False if others go on."""
        added = gate.refused(request, fault, now, job.latency, self._random)
        if added is None:
            return False
        self._notify(Paused(job.route, fault, gate.closed_until - now, added))
        since = gate.outage_since if queue.balancer is None else queue.balancer.outage_since
        if (_is_unreachable(fault) or fault.is_loading) and not self._fail_fast.has_succeeded(job.route):
            if self._is_awaited(since, now):
                gate.breaker.probe_no_later_than(now + READY_PROBE, now)
                return True
            refusals = min(other.breaker.refusals_in_row for other in self._gates_in_use(queue))
            if _is_unreachable(fault) and refusals > self._policy.retries:
                self._give_up(queue, job.route, fault)
        if since is not None and now - since > self._patience.max_outage:
            self._end(outage(fault, self._patience.max_outage))
        return True

    def _is_awaited(self, since: float | None, now: float) -> bool:
        """Tell whether a server that never answered may still become ready."""
        return since is not None and now - since < self._patience.wait_ready

    def _all_gates(self, queue: _Queue) -> Sequence[Gate]:
        return (queue.gate,) if queue.balancer is None else queue.balancer.gates

    def _gates(self) -> list[Gate]:
        return [gate for queue in self._rotation for gate in self._gates_in_use(queue)]

    def _gates_in_use(self, queue: _Queue) -> Sequence[Gate]:
        balancer = queue.balancer
        return (queue.gate,) if balancer is None else [balancer.gates[server] for server in balancer.servers]

    def _is_fault_of_server(self, balancer: LoadBalancer, request: Request, job: Job, fault: Fault) -> bool:
        """Tell a fault of a server that never worked, while there are others: it costs the job nothing."""
        server = request.server
        common = fault.scope in (Scope.ROUTE, Scope.RUN) and fault.billing is Billing.UNBILLED and not fault.retry
        if not common or balancer.gates[server].answers or self._closed or not balancer.others(server):
            return False
        if balancer.is_hopeless(server):
            balancer.leave_out(server)
            self._notify(Notice(f"{self._servers[server]} is left out from here on: {gave_up(fault, job.route)}"))
        return True

    def _compare(self, balancer: LoadBalancer, request: Request, verdict: Completion | Fault, now: float) -> None:
        """Suspend a server that keeps failing while others work, and tell when it works again."""
        server = request.server
        gate, name = balancer.gates[server], self._servers[server]
        if isinstance(verdict, Completion):
            if server in balancer.suspended and gate.outage_since is None:
                balancer.suspended.discard(server)
                self._notify(Notice(f"{name} works again"))
            return
        lost = verdict.kind is Kind.CONNECTION and verdict.scope is Scope.RUN
        broken = verdict.billing in (Billing.SERVER, Billing.DOUBTFUL) or (verdict.kind is Kind.CONNECTION and not lost)
        if broken and balancer.is_storm(server) and balancer.others_work(server):
            gate.set_aside(request, now, request.jobs[0].latency, self._random)
        if (
            gate.outage_since is not None
            and server not in balancer.suspended
            and (lost or broken or gate.breaker.walled)
        ):
            balancer.suspended.add(server)
            self._notify(Notice(f"{name} is set aside, one request at a time tries it again: {verdict.message}"))

    def _check_wait(self, fault: Fault) -> None:
        """End the run when the server asks for more patience than there is."""
        if fault.wait is not None and fault.wait > self._patience.max_wait:
            self._end(wait_too_long(fault, self._patience.max_wait))

    def _give_up(self, queue: _Queue, route: Route, fault: Fault) -> None:
        """Stop the route, and with it the run unless other routes may still work."""
        if queue.stopped or self._closed:
            return
        reason = gave_up(fault, route)
        others = any(not q.stopped for q in self._rotation if q is not queue)
        if fault.scope is Scope.RUN or not others:
            self._end(reason)
            return
        queue.stopped = True
        self.queued -= len(queue.again) + len(queue.fresh)
        late = [due for due in self._due if due[2].route == route]
        if late:
            self._due = [due for due in self._due if due[2].route != route]
            heapq.heapify(self._due)
        for job in (*queue.again, *queue.fresh, *(due[2] for due in late)):
            self._leave_out(job)
        queue.again.clear()
        queue.fresh.clear()
        self._notify(Notice(f"model {route.model!r} is left out from here on: {reason}"))
        self.left_out = reason

    def _end(self, reason: LlmbatchError) -> None:
        if self.stop is None:
            self.stop = reason


def _is_unreachable(fault: Fault) -> bool:
    """Tell whether no connection could be opened."""
    return fault.kind is Kind.CONNECTION and fault.scope is Scope.RUN and fault.billing is Billing.UNBILLED
