"""Makes snapshots of a run for displays and the summary, from the state of its parts."""

from collections.abc import Callable

from llmbatch.app.meter import Meter, estimated_total
from llmbatch.core.clock import Clock
from llmbatch.core.events import Event, Finished, Paused
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.outcome import AlreadyDone
from llmbatch.core.snapshot import Cause, ModelCounts, RouteState, Snapshot, is_away
from llmbatch.core.tally import Tally
from llmbatch.engine.explain import STALL
from llmbatch.engine.pipeline import Pipeline

__all__ = ["Monitor"]


_PAUSES = {
    Kind.RATE_LIMITED: "rate limited",
    Kind.OVERLOADED: "the server is overloaded",
    Kind.CONNECTION: "the server cannot be reached",
    Kind.TIMEOUT: "the server does not answer in time",
    Kind.SERVER_ERROR: "errors of the server",
    Kind.GATEWAY: "errors of a gateway before the server",
}


class Monitor:
    """An observer that watches a run from its beginning.

    `records` is how many the input has, where they were counted before; else the total is estimated from
    `fraction`, the share of the input that has been read. `limit` is `--limit`.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        tally: Tally,
        clock: Clock,
        *,
        records: int | None,
        fraction: Callable[[], float | None],
        limit: int | None,
        ceiling: int,
    ) -> None:
        self._pipeline = pipeline
        self._tally = tally
        self._clock = clock
        self._records = records
        self._fraction = fraction
        self._limit = limit
        self._ceiling = ceiling
        self._began = self._finished = clock.monotonic()
        self._closed_by: dict[str, Fault] = {}
        """By model, the fault that closed a route last."""
        self.meter = Meter(self._began)

    def __call__(self, event: Event) -> None:
        """Remember when records finished last, and why a route was closed."""
        if isinstance(event, Finished):
            self._finished = self._clock.monotonic()
        elif isinstance(event, Paused):
            self._closed_by[event.route.model] = event.fault

    @property
    def wall(self) -> float:
        """Return for how many seconds the run has lasted."""
        return self._clock.monotonic() - self._began

    def sample(self) -> None:
        """Measure. To be called every `meter.EVERY` seconds, on the event loop."""
        pipeline, now = self._pipeline, self._clock.monotonic()
        routes = pipeline.dispatch.routes.states(now, input_ended=pipeline.progress.input_ended)
        states = [self._with_reason(route) for route in routes]
        self.meter.sample(now, self._tally.done, states, _finished(self._tally))

    def end(self) -> None:
        """Measure for the last time."""
        self.meter.end(self._clock.monotonic())

    def snapshot(self) -> Snapshot:
        """Return the state of the run. Called from other threads too."""
        now = self._clock.monotonic()
        pipeline, tally, meter = self._pipeline, self._tally, self.meter
        dispatch, progress = pipeline.dispatch, pipeline.progress
        idle = now - self._finished
        closed = any(route.closed_for > 0 for route in meter.routes)
        waits = pipeline.waits(now, paused=closed) if idle >= STALL else ()
        ok, done, total = tally.ok, tally.done, self._total()
        finished = done + progress.kept.total() - progress.kept[AlreadyDone.PENDING]
        stopping = bool(progress.stops)
        left = dispatch.in_flight if stopping else None if total is None else max(0, total - finished)
        batches = pipeline.batches.state() if pipeline.batches is not None else None
        if not stopping and (batches is not None or is_away(meter.routes)):
            left = None  # the pace of what is live says nothing of when a batch ends, or a server is back
        waiting = {} if stopping else dispatch.routes.waiting()
        return Snapshot(
            ok=ok,
            failed=done - ok,
            in_flight=dispatch.in_flight,
            waiting=dispatch.waiting,
            limit=min(dispatch.routes.limit[0], self._ceiling),
            wall=now - self._began,
            rate=meter.rate(now, done),
            fraction=min(1.0, finished / total) if total else None,
            eta=None if left is None else meter.time_left(now, done, left, _finished(tally), waiting),
            input_tokens=tally.input_tokens,
            output_tokens=tally.output_tokens,
            cost=tally.cost,
            routes=meter.routes,
            left=dispatch.left,
            stalled=idle if waits else 0.0,
            waits=waits,
            stopping=stopping,
            finished=finished,
            total=total,
            total_is_exact=self._records is not None or (progress.input_ended and not stopping),
            latency=tally.recent_latency(),
            models=[ModelCounts(name, share.ok, share.failed) for name, share in [*tally.models.items()]],
            failed_by_kind=dict(tally.failed),
            batches=batches,
        )

    @property
    def read_whole(self) -> bool:
        """Whether all of the input has been read, as far as is known."""
        return self._total() == self._pipeline.progress.read

    def _with_reason(self, route: RouteState) -> RouteState:
        """Add to a closed route why it is closed."""
        fault = self._closed_by.get(route.name.partition(" at ")[0])
        if route.closed_for <= 0 or fault is None:
            return route
        if fault.is_loading:
            return route._replace(cause=Cause.LOADING)
        cause = route.cause if fault.billing is Billing.THROTTLED else Cause.OUTAGE
        return route._replace(cause=cause, reason=_PAUSES.get(fault.kind, str(fault.kind).replace("_", " ")))

    def _total(self) -> int | None:
        """Return how many records the input has, as counted before the first request, or else an estimate."""
        if self._records is not None:
            return self._records
        progress = self._pipeline.progress
        # An input that was interrupted has not ended.
        part = 1.0 if progress.input_ended and not progress.stops else self._fraction()
        return estimated_total(progress.read, part, limit=self._limit)


def _finished(tally: Tally) -> dict[str, int]:
    """Count the records of each model that have finished."""
    return {name: share.ok + share.failed for name, share in [*tally.models.items()]}
