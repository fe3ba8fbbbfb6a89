"""Two clients of a modelled service, each as a loop over events: llmbatch, and the openai client under a semaphore.

An event is the end of an attempt or of a wait, and time jumps from one to the next, so that a thousand records take
milliseconds. Of llmbatch these are the dispatch and the gate as they are, without the workers around them.
"""

import heapq
import math
import random
from typing import Protocol

from llmbatch.core.exchange import Expected, Reply, Request, Verdicts
from llmbatch.core.fault import Fault
from llmbatch.core.outcome import Completion, Outcome
from llmbatch.core.settings import PatienceSettings
from llmbatch.dialects.openai_chat import Chat
from llmbatch.dialects.request_options import Options
from llmbatch.engine.dispatch import Dispatch
from llmbatch.pacing.concurrency_limit import ConcurrencyLimit
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.retry import RetryPolicy
from llmbatch.pacing.token_bucket import TokenBucket

from .scripted import READER, Attempt, job

__all__ = ["CEILING", "Model", "Watched", "llmbatch_takes", "semaphore_takes"]

CEILING = 256
"""The most requests in flight that llmbatch tries by itself."""
CPU = 0.0015
"""Seconds of a processor that the openai client takes for each request."""
FIRST, MOST, LONGEST = 0.5, 8.0, 60.0
"""The openai client waits so many seconds before its first retry, and then twice as long each time up to the second
number; a Retry-After up to the third is followed."""


REFUSALS = (429, 503, 529)


class Model(Protocol):
    """A modelled service: what becomes of a request that leaves at a time."""

    def attempt(self, now: float, request: Request) -> Attempt: ...


class Watched:
    """Watches what llmbatch sends to a service, a record at a time."""

    def __init__(self, service: Model) -> None:
        self._service = service
        self.sent = self.refused = 0
        self.early: list[float] = []
        """When a record left sooner than its last refusal had told."""
        self._due: dict[int, float] = {}
        """The time until which each record was told to wait."""

    def attempt(self, now: float, request: Request) -> Attempt:
        index = request.jobs[0].identity.index
        if now < self._due.get(index, 0.0):
            self.early.append(now)
        takes, result = self._service.attempt(now, request)
        self.sent += 1
        if isinstance(result, Reply) and result.status in REFUSALS:
            self.refused += 1
            self._due[index] = now + takes + float(result.headers.get("retry-after", 0.0))
        return takes, result


def llmbatch_takes(
    records: int,
    service: Model,
    seed: int,
    *,
    fixed: int | None = None,
    rpm: float | None = None,
    failed: list[Outcome] | None = None,
) -> float:
    """Return the seconds that llmbatch takes without flags, or with these.

    Every record must have its answer, unless there is a list for those that have none.
    """
    limit = ConcurrencyLimit(fixed or CEILING, adaptive=fixed is None)
    gate = Gate(limit, TokenBucket(rpm, sliced=True), TokenBucket())
    dispatch = Dispatch(
        dialect=Chat(Options()),
        new_gate=lambda: gate,
        policy=RetryPolicy(),
        patience=PatienceSettings(),
        random=random.Random(seed).random,
        notify=lambda event: None,
    )
    dispatch.add([job(index) for index in range(records)])
    ends: list[tuple[float, int, float, Request, Attempt]] = []
    now, number, done = 0.0, 0, 0
    while done < records:
        while len(ends) < CEILING and (request := dispatch.take(now)) is not None:
            attempt = service.attempt(now, request)
            number += 1
            heapq.heappush(ends, (now + attempt[0], number, now, request, attempt))
        assert dispatch.stop is None, dispatch.stop
        due = dispatch.next_time(now) if len(ends) < CEILING else math.inf
        if not ends or due < ends[0][0]:
            assert due < math.inf, "everybody waits for somebody else"
            now = max(now + 1e-7, due)
            continue
        now, _, began, request, (_, result) = heapq.heappop(ends)
        attempts = request.jobs[0].attempts
        attempts.started, attempts.latency = began, now - began
        if isinstance(result, Fault):
            verdicts: Verdicts = (result,)
        else:
            verdicts, limits = READER.read_reply(request.expected, result)
            if limits is not None:
                dispatch.learn_limits(request, limits, now)
        for outcome in dispatch.settle(request, verdicts, now):
            if not isinstance(outcome.verdict, Completion):
                assert failed is not None, outcome.verdict
                failed.append(outcome)
            done += 1
    return now


def semaphore_takes(records: int, service: Model, in_flight: int, seed: int) -> float:
    """Return the seconds that the openai client takes with so many at once, and as many retries as it needs."""
    source = random.Random(seed)
    waiting = [(0.0, index, 0) for index in range(min(in_flight, records))]
    following, now, free_at, last = len(waiting), 0.0, 0.0, 0.0
    while waiting:
        now, index, tries = heapq.heappop(waiting)
        if now < free_at:
            heapq.heappush(waiting, (free_at, index, tries))
            continue
        free_at = now + CPU
        takes, result = service.attempt(now, Request((job(index),), "/", b"", Expected("chat")))
        if isinstance(result, Fault) or result.status != 200:
            headers = {} if isinstance(result, Fault) else result.headers
            asked = float(headers.get("retry-after", 0.0))
            backoff = min(FIRST * 2.0 ** min(tries, 10), MOST) * (1.0 - 0.25 * source.random())
            wait = asked if 0.0 < asked <= LONGEST else backoff
            heapq.heappush(waiting, (now + takes + wait, index, tries + 1))
            continue
        last = max(last, now + takes)
        if following < records:
            heapq.heappush(waiting, (now + takes, following, 0))
            following += 1
    return last
