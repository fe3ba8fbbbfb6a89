"""The routes of a run: a queue of jobs for each, with its gates, and which of them is served next. Pure."""

import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from llmbatch.core.exchange import RateLimits, Request
from llmbatch.core.fault import Fault
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion
from llmbatch.core.ports import Dialect
from llmbatch.core.snapshot import Cause, RouteState
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.gate_state import state_of
from llmbatch.pacing.load_balancer import LoadBalancer
from llmbatch.pacing.token_estimate import TokenEstimate

__all__ = ["RouteQueue", "Routes"]

MOST_ROUTES = 100
"""Routes whose state is shown; a hostile input has one in every record."""


class RouteQueue:
    """The jobs of one route that may be sent now: retries that came due, and new ones."""

    __slots__ = (
        "again",
        "confirmed",
        "fresh",
        "gate",
        "reached",
        "retried_last",
        "route",
        "stopped",
        "weighs",
        "weight",
    )

    def __init__(self, route: Route, gates: Sequence[Gate]) -> None:
        self.route = route
        self.gate = gates[0] if len(gates) == 1 else LoadBalancer(gates)
        self.weighs = self.gate.weighs
        """Whether a limit of tokens binds, so that the tokens of requests must be estimated."""
        self.weight = TokenEstimate()
        self.again: deque[Job] = deque()
        self.fresh: deque[Job] = deque()
        self.retried_last = False
        self.stopped = False
        """Nothing is sent any more: everything on the route would fail alike."""
        self.reached = False
        """Whether the server took a request, if only to end without an answer."""
        self.confirmed = -1
        """How many answers there were when a fault of the account turned out to be permanent."""

    def __repr__(self) -> str:
        """Show how many jobs wait, and its gate."""
        stopped = ", stopped" if self.stopped else ""
        return f"<RouteQueue {self.route.model}: {len(self.fresh)} new, {len(self.again)} again{stopped}, {self.gate}>"

    def source(self) -> deque[Job]:
        """Return the queue to send from: retries and new jobs alternate, so that neither starves the other.

        While the route refuses, and until it answers, a new job goes before one that may have a single attempt left.
        """
        if not self.again or not self.fresh:
            return self.again or self.fresh
        in_doubt = self.again[0].attempts.in_doubt > 0
        return self.fresh if self.retried_last or (in_doubt and self.gate.is_recovering) else self.again

    def opens(self, now: float, dialect: Dialect) -> float:
        """Return when its next request may leave. There must be one."""
        if not self.weighs:
            return self.gate.opens(now, 0.0)
        source = self.source()
        return self.gate.opens(now, self.weigh(itertools.islice(source, dialect.pack(source))))

    def weigh(self, jobs: Iterable[Job]) -> float:
        """Estimate the tokens of a request."""
        return sum(self.weight.of(job.tokens, job.token_cap) for job in jobs)

    def announced(self, request: Request, limits: RateLimits, now: float) -> float:
        """Learn limits that a server announced; return the seconds until they let another request pass there."""
        wait = self.gate.announced(request, limits, now)
        self.weighs = self.gate.weighs
        return wait

    def learn(self, request: Request, verdicts: Sequence[Completion | Fault], now: float) -> None:
        """Tell the gate that a request brought an answer, and how many tokens it really had."""
        jobs, weighed = request.jobs, self.weighs
        used, output, counted = 0, 0, True
        for index, verdict in enumerate(verdicts):
            usage = verdict.usage if isinstance(verdict, Completion) else None
            if usage is None or usage.input_tokens is None:
                counted = False
                continue
            if weighed:
                self.weight.learn(jobs[index].tokens, usage.input_tokens, usage.output_tokens)
            used += usage.input_tokens
            output += usage.output_tokens or 0
        self.gate.succeeded(request, now, output)
        if counted and weighed:
            self.gate.counted(request, used + output, now)


class Routes:
    """All route queues, which are served in turn. `servers` are the names of those that each route asks."""

    def __init__(self, new_gate: Callable[[], Gate], servers: Sequence[str], dialect: Dialect) -> None:
        self.servers = servers
        self._new_gate = new_gate
        self._dialect = dialect
        self.queues: dict[Route, RouteQueue] = {}
        self._rotation: deque[RouteQueue] = deque()

    def __iter__(self) -> Iterator[RouteQueue]:
        """Iterate in the order in which they are served."""
        return iter(self._rotation)

    def open(self, route: Route) -> RouteQueue:
        """Make the queue of a new route."""
        queue = self.queues[route] = RouteQueue(route, [self._new_gate() for _ in self.servers])
        self._rotation.append(queue)
        return queue

    def next(self, now: float) -> RouteQueue | None:
        """Return the next queue with a job that may leave now, None when there is none."""
        for passed, queue in enumerate(self._rotation, 1):
            if (queue.fresh or queue.again) and queue.opens(now, self._dialect) <= now:
                self._rotation.rotate(-passed)
                return queue
        return None

    def opens(self, now: float) -> float:
        """Return when `next` may have a queue, without anything else happening; or infinity."""
        at = math.inf
        for queue in self._rotation:
            if queue.fresh or queue.again:
                at = min(at, queue.opens(now, self._dialect))
        return at

    def are_paused(self, now: float) -> bool:
        """Tell whether jobs wait because the gates of a route are closed until a later time."""
        return any(queue.gate.closed_until > now for queue in self._rotation if queue.again or queue.fresh)

    def some_are_idle(self) -> bool:
        """Tell whether a route could send more and has nothing to send, as when the jobs of another fill the queue."""
        return any(
            gate.now > gate.in_flight
            for queue in self._rotation
            if not (queue.again or queue.fresh or queue.stopped)
            for gate in queue.gate.in_use
        )

    @property
    def free(self) -> int:
        """Count the requests that may join those in flight, if it is time."""
        return sum(max(0, gate.now - gate.in_flight) for gate in self._gates())

    @property
    def limit(self) -> tuple[int, str]:
        """Return how many requests may be in flight, over all routes, and what moved that last."""
        gates = self._gates()
        return sum(gate.now for gate in gates), gates[0].why if gates else ""

    def states(self, now: float, *, input_ended: bool) -> list[RouteState]:
        """Return the state of each route, up to a hundred, at each of its servers: what keeps it from sending more."""
        states, idle = [], None if input_ended else Cause.INPUT
        for route, queue in itertools.islice(self.queues.items(), MOST_ROUTES):
            for server, gate in zip(self.servers, queue.gate.gates, strict=True):
                state = state_of(gate, route.model if len(self.servers) == 1 else f"{route.model} at {server}", now)
                if not (queue.again or queue.fresh) and (input_ended or state.in_flight < state.allowed):
                    state = state._replace(cause=idle, closed_for=0.0)
                states.append(state)
        return states

    def waiting(self) -> Counter[str]:
        """Count the jobs of each model that could leave now if the gates let them."""
        waiting: Counter[str] = Counter()
        for route, queue in [*self.queues.items()]:
            waiting[route.model] += len(queue.again) + len(queue.fresh)
        return waiting

    def traffic(self) -> list[tuple[str, int, int, int]]:
        """Return for each server how many requests it got, how many it answered and how many it refused."""
        rows = []
        for server, name in enumerate(self.servers):
            gates = [queue.gate.gates[server] for queue in self._rotation]
            sent, answers = sum(gate.sent for gate in gates), sum(gate.answers for gate in gates)
            rows.append((name, sent, answers, sum(gate.refusals for gate in gates)))
        return rows

    def answered(self) -> set[Route]:
        """Return the routes that had an answer in this run."""
        return {route for route, queue in self.queues.items() if any(gate.answers for gate in queue.gate.gates)}

    def level(self) -> float:
        """Return the lowest limit of requests in flight that a gate learned; 0 if none had an answer."""
        return min((gate.limit.now for queue in self._rotation for gate in queue.gate.gates if gate.answers), default=0)

    def _gates(self) -> list[Gate]:
        return [gate for queue in self._rotation for gate in queue.gate.in_use]
