"""Decides what follows a fault: another attempt of the job, a pause of its route, or the end of the run. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llmbatch.core.errors import LlmbatchError
from llmbatch.core.exchange import Request
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.job import Job
from llmbatch.core.settings import PatienceSettings
from llmbatch.engine.explain import gave_up, no_capacity, outage, wait_too_long
from llmbatch.engine.routes import RouteQueue
from llmbatch.pacing.fail_fast import FailFast
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.retry import RetryPolicy, backoff, refused_apart

__all__ = ["NextStep", "Retries", "smaller_requests"]

CONFIRMATIONS = 2
"""Extra attempts, one probe at a time, before a key or account that worked counts as invalid."""
HOPELESS = 6
"""So many refusals in a row of a job that was set apart, while nothing is answered, are its end: after two minutes."""
APART = 2.0
"""Seconds until the first of these attempts, unless the server asks for more; doubled each time."""
REFUSED_BACKOFF = 0.5
"""Seconds that bound the first wait of a job that was refused, without a time, while others were not."""
DOUBLINGS = 5
"""After so many refusals in a row it does not grow any more: they say nothing about the next attempt."""
READY_PROBE = 5.0
"""The most seconds until a server that is not ready is asked again."""
SOON = 1.0
"""A gateway that answers 502 within so many seconds has reached no server."""


@dataclass(slots=True)
class NextStep:
    """What follows a fault."""

    wait: float | None = None
    """Seconds until the job may be sent again; None when this fault is its end."""
    with_route: bool = False
    """The job waits with all others of its route, whose gate is closed."""
    added: float | None = None
    """By how many seconds this fault delays the opening of the gate; None if it does not close it."""
    stop: LlmbatchError | None = None
    """Why the run should end."""


class Retries:
    """Decides by the kind of fault, by what the attempts of the job may have cost, and by patience."""

    def __init__(
        self,
        policy: RetryPolicy,
        patience: PatienceSettings,
        fail_fast: FailFast,
        random: Callable[[], float],
        *,
        hold: bool,
    ) -> None:
        self._hold = hold
        self._policy = policy
        self._patience = patience
        self._fail_fast = fail_fast
        self._random = random

    def after(
        self, queue: RouteQueue, request: Request, job: Job, fault: Fault, now: float, *, tell_gate: bool, ending: bool
    ) -> NextStep:
        """Decide, and count the attempt in the job; with `tell_gate` tell the gate of a refusal.

        With `ending`, nothing more is sent on this route: a paid answer is not asked for again.
        """
        if fault.capacity:
            return self._after_no_capacity(job, fault, now)
        gate, attempts, step = queue.gate.gate_for(request), job.attempts, NextStep()
        if self._has_no_server_yet(queue, request, fault, now):
            fault = replace(fault, kind=Kind.CONNECTION, scope=Scope.RUN, billing=Billing.UNBILLED)
        closes_gate = (
            fault.retry and (fault.billing is Billing.THROTTLED or _is_unreachable(fault))
        ) or self._may_pass(queue, gate, job, fault)
        match fault.billing:
            case Billing.DOUBTFUL:
                queue.reached = True
                attempts.unknown_outcomes += 1
                attempts.possibly_billed += 1
            case Billing.SERVER:
                attempts.server_errors += 1
                attempts.possibly_billed += 1
            case Billing.UNBILLED if fault.retry and not closes_gate:
                attempts.retries += 1
            case Billing.BILLED if fault.retry:
                if ending:
                    return step
                attempts.unusable_answers += 1
                attempts.unusable_answer = fault
        if not closes_gate:
            if tell_gate and _is_dropped(gate, request, fault):
                self._close_gate(step, queue, gate, request, fault, now, ending=ending)
            elif tell_gate and self._is_in_streak(gate, request, fault, now):
                step.added = gate.set_aside(request, now, self._random)
                if step.added:
                    queue.fresh.rotate(1)  # the probe is a far one: records that stand together may share a fault
                self._wait_or_end(step, queue, gate, fault, now, ending=ending)
            step.wait = self._policy.wait(attempts, fault, self._random)
            if step.wait is None:
                return step
        if not queue.gate.has_alternative(request):
            step.stop = step.stop or self.out_of_patience(fault)
        if closes_gate:
            throttled = fault.billing is Billing.THROTTLED
            apart = refused_apart(attempts, gate.answers) if throttled else None
            if apart == HOPELESS:
                return step
            if tell_gate and not apart:
                self._close_gate(step, queue, gate, request, fault, now, ending=ending)
            else:
                step.with_route = gate.closed_until > now
            step.wait = self._wait_alone(job, fault, apart, with_route=step.with_route)
        return step

    def _has_no_server_yet(self, queue: RouteQueue, request: Request, fault: Fault, now: float) -> bool:
        """Tell whether a gateway says that the server behind it, which is waited for, is not there yet.

        Not where no request may ever be billed twice: that is not proved.
        """
        if self._hold or fault.status != 502 or self._fail_fast.has_succeeded(queue.route):
            return False
        since, took = queue.gate.outage_since, request.jobs[0].attempts.latency
        return took < SOON and now - (now if since is None else since) < self._patience.wait_ready

    def _after_no_capacity(self, job: Job, fault: Fault, now: float) -> NextStep:
        """Let a job wait by itself until its service tier has room: the others are no reason to slow down."""
        times, since = job.attempts.no_capacity or (0, now)
        job.attempts.no_capacity = times + 1, since
        wait, most = max(fault.wait or 0.0, backoff(times + 1, 1.0, self._random)), self._patience.max_wait
        return NextStep(wait=wait, stop=no_capacity(fault, most) if max(wait, now - since) > most else None)

    def holds(self, job: Job, fault: Fault) -> bool:
        """Tell whether a job that is not sent again is held in doubt: under `hold`, unless it has a paid answer."""
        in_doubt = fault.billing in (Billing.DOUBTFUL, Billing.SERVER)
        return self._hold and in_doubt and job.attempts.unusable_answer is None

    def out_of_patience(self, fault: Fault) -> LlmbatchError | None:
        """Return why the run ends if the server asks for a longer wait than `--max-wait` allows."""
        if fault.wait is not None and fault.wait > self._patience.max_wait:
            return wait_too_long(fault, self._patience.max_wait)
        return None

    def _may_pass(self, queue: RouteQueue, gate: Gate, job: Job, fault: Fault) -> bool:
        """Tell whether a fault of a key or an account that worked may pass: a few probes must confirm it."""
        if fault.kind not in (Kind.UNAUTHORIZED, Kind.NO_CREDIT) or not self._fail_fast.has_succeeded(job.route):
            return False
        answers = gate.answers
        if queue.confirmed == answers:
            return False
        job.attempts.retries += 1
        if job.attempts.retries > min(CONFIRMATIONS, self._policy.retries):
            queue.confirmed = answers
            return False
        return True

    def _close_gate(
        self, step: NextStep, queue: RouteQueue, gate: Gate, request: Request, fault: Fault, now: float, *, ending: bool
    ) -> None:
        """Close the gate for all jobs of the route, unless others go on; end the run when patience is out."""
        step.added = gate.refused(request, fault, now, request.jobs[0].attempts.latency, self._random)
        if step.added is None:
            return
        step.with_route = True
        self._wait_or_end(step, queue, gate, fault, now, ending=ending)

    def _wait_or_end(
        self, step: NextStep, queue: RouteQueue, gate: Gate, fault: Fault, now: float, *, ending: bool
    ) -> None:
        """Wait for a server that is not ready; end the run when none ever answered, or none for too long."""
        since, gone = queue.gate.outage_since, _is_unreachable(fault) or fault.billing is Billing.DOUBTFUL
        if (gone or fault.is_loading) and not self._fail_fast.has_succeeded(queue.route):
            if since is not None and now - since < self._patience.wait_ready:
                gate.probe_no_later_than(now + READY_PROBE, now)
                return
            alone = gate.in_flight <= 1  # others may be connected already
            was_there = queue.reached and _is_unreachable(fault)  # it went away, and may come back
            if gone and alone and not was_there and queue.gate.refusals_in_row > self._policy.retries and not ending:
                step.stop = step.stop or gave_up(fault, queue.route)
        self._end_outage(step, queue, fault, now)

    def _end_outage(self, step: NextStep, queue: RouteQueue, fault: Fault, now: float) -> None:
        """End the run if no server has worked for longer than it is patient."""
        since = queue.gate.outage_since
        if step.added is not None and since is not None and now - since > self._patience.max_outage:
            step.stop = step.stop or outage(fault, self._patience.max_outage)

    def _is_in_streak(self, gate: Gate, request: Request, fault: Fault, now: float) -> bool:
        """Tell whether a server gives nothing any more but errors like this one, which may be billed.

        The second error of a job may be its own fault, and so may plain errors of a server that never worked.
        """
        job, no_answer = request.jobs[0], fault.billing is Billing.DOUBTFUL
        if no_answer and request is gate.breaker.probe and (fault.status or 500) >= 500:
            return True
        if not no_answer and (fault.billing is not Billing.SERVER or not self._fail_fast.has_succeeded(job.route)):
            return False
        if job.attempts.in_doubt > 1:
            return False
        return gate.failures.failed(request, now) and not gate.failures.loses_patience(fault, gate.outage_since, now)

    def _wait_alone(self, job: Job, fault: Fault, apart: int | None, *, with_route: bool) -> float:
        """Return how long a refused job waits by itself: as long as the server asked, or longer each time."""
        least = APART * 2.0**apart if apart is not None else 0.0
        if fault.wait or least:
            return max(least, (fault.wait or 0.0) * (1.0 + 0.1 * self._random()))
        if with_route:
            return 0.0
        refused = job.attempts.refused
        return backoff(min(refused[0], DOUBLINGS) if refused is not None else 1, REFUSED_BACKOFF, self._random)


def smaller_requests(jobs: Sequence[Job], fault: Fault) -> list[Sequence[Job]]:
    """Split a request whose jobs cannot be told apart: into halves, which finds the job that fails in a few steps.

    The jobs of a paid answer that could not be matched to them go one by one: halves would be paid several times.
    """
    if fault.billing is Billing.BILLED:
        return [(job,) for job in jobs]
    middle = len(jobs) // 2
    return [jobs[:middle], jobs[middle:]]


def _is_unreachable(fault: Fault) -> bool:
    """Tell whether no connection could be opened."""
    return fault.kind is Kind.CONNECTION and fault.scope is Scope.RUN and fault.billing is Billing.UNBILLED


def _is_dropped(gate: Gate, request: Request, fault: Fault) -> bool:
    """Tell whether a server let a request go without an answer, and sooner than one comes, though it works for others.

    It may be billed, so that it is asked again only once or so; but what leaves next must not meet the same end.
    """
    no_answer = fault.billing is Billing.DOUBTFUL and fault.kind in (Kind.CONNECTION, Kind.PROTOCOL, Kind.GATEWAY)
    works = gate.answers > 0 or gate.in_flight > 1 or gate.refusals_in_row > 0
    usual = gate.limit.round_trip or math.inf
    return fault.retry and no_answer and works and request.jobs[0].attempts.latency < usual
