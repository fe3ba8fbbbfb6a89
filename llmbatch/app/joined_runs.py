"""The snapshots, and the summaries, of several runs as those of one: counts added, each run shown as a model. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from llmbatch.app.summary import worst
from llmbatch.core.counts import latency_s
from llmbatch.core.snapshot import ModelCounts, Snapshot
from llmbatch.core.tally import ModelTally, PartCounts, Summary

__all__ = ["joined_snapshot", "joined_summary"]


def joined_snapshot(runs: Mapping[str, Snapshot]) -> Snapshot:
    """Return several runs at one moment as one, with the counts of each as those of a model."""
    shown = list(runs.values())
    totals = [one.total for one in shown if one.total is not None]
    total = sum(totals) if shown and len(totals) == len(shown) else None
    finished = sum(one.finished for one in shown)
    costs = [one.cost for one in shown if one.cost is not None]
    going = [one for one in shown if one.fraction != 1.0]
    etas = [one.eta for one in going if one.eta is not None]
    latencies = [one.latency for one in shown if one.latency is not None]
    failed_by_kind: Counter[str] = Counter()
    for one in shown:
        failed_by_kind.update(one.failed_by_kind)
    return Snapshot(
        ok=sum(one.ok for one in shown),
        failed=sum(one.failed for one in shown),
        in_flight=sum(one.in_flight for one in shown),
        waiting=sum(one.waiting for one in shown),
        limit=sum(one.limit for one in shown),
        wall=max((one.wall for one in shown), default=0.0),
        rate=sum(one.rate for one in shown),
        fraction=min(1.0, finished / total) if total else None,
        eta=max(etas) if etas and len(etas) == len(going) else None,
        input_tokens=sum(one.input_tokens for one in shown),
        output_tokens=sum(one.output_tokens for one in shown),
        cost=sum(costs) if costs else None,
        routes=[route for one in shown for route in one.routes],
        left=min((one.left for one in shown if one.left is not None), default=None),
        stalled=min((one.stalled for one in going), default=0.0),
        waits=tuple(words for one in going for words in one.waits) if _all_stall(going) else (),
        stopping=any(one.stopping for one in shown),
        finished=finished,
        total=total,
        total_is_exact=bool(shown) and min(one.total_is_exact for one in shown),
        latency=median(latencies) if latencies else None,
        models=[ModelCounts(name, one.ok, one.failed) for name, one in runs.items()],
        failed_by_kind=dict(failed_by_kind),
        batches=next((one.batches for one in shown if one.batches is not None), None),
    )


def _all_stall(runs: Sequence[Snapshot]) -> bool:
    """Tell whether nothing goes on in any of the runs."""
    return bool(runs) and all(one.stalled > 0 for one in runs)


def joined_summary(runs: Mapping[str, Summary]) -> Summary:
    """Sum several runs up as one: counts added, the exit code the worst, the counts of each as those of a model."""
    summaries = list(runs.values())
    code = worst([one.exit_code for one in summaries])
    name, decisive = next((name, one) for name, one in runs.items() if one.exit_code == code)
    failed: Counter[str] = Counter()
    limited: Counter[str] = Counter()
    wall = max(one.wall_s for one in summaries)
    for one in summaries:
        failed.update(one.failed)
        for cause, share in one.limited_by.items():
            limited[cause] += share * one.wall_s / (wall * len(summaries)) if wall else 0.0  # type: ignore[assignment]
    costs = [one.cost_usd for one in summaries if one.cost_usd is not None]
    parts = [one.parts for one in summaries if one.parts is not None]
    saved = [one.cache_saved_usd for one in summaries if one.cache_saved_usd is not None]
    return Summary(
        read=sum(one.read for one in summaries),
        read_whole=all(one.read_whole for one in summaries),
        ok=sum(one.ok for one in summaries),
        failed=dict(failed),
        examples={kind: example for one in reversed(summaries) for kind, example in one.examples.items()},
        done_before=sum(one.done_before for one in summaries),
        failed_before=sum(one.failed_before for one in summaries),
        held=sum(one.held for one in summaries),
        pending=sum(one.pending for one in summaries),
        collected=sum(one.collected for one in summaries),
        others=sum(one.others for one in summaries),
        dropped=sum(one.dropped for one in summaries),
        orphans=sum(one.orphans for one in summaries),
        not_started=sum(one.not_started for one in summaries),
        unwritten=sum(one.unwritten for one in summaries),
        requests=sum(one.requests for one in summaries),
        retries=sum(one.retries for one in summaries),
        possibly_billed=sum(one.possibly_billed for one in summaries),
        input_tokens=sum(one.input_tokens for one in summaries),
        output_tokens=sum(one.output_tokens for one in summaries),
        cached_input_tokens=sum(one.cached_input_tokens for one in summaries),
        cost_usd=sum(costs) if costs else None,
        cache_saved_usd=sum(saved) if saved else None,
        models={name: _joined_models([*one.models.values()]) for name, one in runs.items()},
        wall_s=wall,
        waited_s=max(one.waited_s for one in summaries),
        limited_by={cause: round(share, 4) for cause, share in limited.items()},
        latency_s=latency_s(*(model.latencies for one in summaries for model in one.models.values())),
        stopped=f"{name}: {decisive.stopped}" if decisive.stopped is not None else None,
        stopped_by=decisive.stopped_by,
        hint=decisive.hint,
        exit_code=code,
        parts=PartCounts(*map(sum, zip(*parts, strict=True))) if parts else None,
    )


def _joined_models(models: Sequence[ModelTally]) -> ModelTally:
    """Return the counts of the models of one run as one: records may name others than that of the run."""
    found = ModelTally()
    for one in models:
        found.include(one)
    return found
