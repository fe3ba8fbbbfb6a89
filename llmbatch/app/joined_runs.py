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
    all = list(runs.values())
    totals = [one.total for one in all if one.total is not None]
    total = sum(totals) if all and len(totals) == len(all) else None
    finished = sum(one.finished for one in all)
    costs = [one.cost for one in all if one.cost is not None]
    going = [one for one in all if one.fraction != 1.0]
    etas = [one.eta for one in going if one.eta is not None]
    latencies = [one.latency for one in all if one.latency is not None]
    failed_by_kind: Counter[str] = Counter()
    for one in all:
        failed_by_kind.update(one.failed_by_kind)
    return Snapshot(
        ok=sum(one.ok for one in all),
        failed=sum(one.failed for one in all),
        in_flight=sum(one.in_flight for one in all),
        waiting=sum(one.waiting for one in all),
        limit=sum(one.limit for one in all),
        wall=max((one.wall for one in all), default=0.0),
        rate=sum(one.rate for one in all),
        fraction=min(1.0, finished / total) if total else None,
        eta=max(etas) if etas and len(etas) == len(going) else None,
        input_tokens=sum(one.input_tokens for one in all),
        output_tokens=sum(one.output_tokens for one in all),
        cost=sum(costs) if costs else None,
        routes=[route for one in all for route in one.routes],
        left=min((one.left for one in all if one.left is not None), default=None),
        stalled=min((one.stalled for one in going), default=0.0),
        waits=tuple(words for one in going for words in one.waits) if _all_stall(going) else (),
        stopping=any(one.stopping for one in all),
        finished=finished,
        total=total,
        total_is_exact=bool(all) and min(one.total_is_exact for one in all),
        latency=median(latencies) if latencies else None,
        models=[ModelCounts(name, one.ok, one.failed) for name, one in runs.items()],
        failed_by_kind=dict(failed_by_kind),
        batches=next((one.batches for one in all if one.batches is not None), None),
    )


def _all_stall(runs: Sequence[Snapshot]) -> bool:
    """Tell whether nothing goes on in any of the runs."""
    return bool(runs) and all(one.stalled > 0 for one in runs)


def joined_summary(runs: Mapping[str, Summary]) -> Summary:
    """Sum several runs up as one: counts added, the exit code the worst, the counts of each as those of a model."""
    all = list(runs.values())
    code = worst([one.exit_code for one in all])
    name, decisive = next((name, one) for name, one in runs.items() if one.exit_code == code)
    failed: Counter[str] = Counter()
    limited: Counter[str] = Counter()
    wall = max(one.wall_s for one in all)
    for one in all:
        failed.update(one.failed)
        for cause, share in one.limited_by.items():
            limited[cause] += share * one.wall_s / (wall * len(all)) if wall else 0.0  # type: ignore[assignment]
    costs = [one.cost_usd for one in all if one.cost_usd is not None]
    parts = [one.parts for one in all if one.parts is not None]
    saved = [one.cache_saved_usd for one in all if one.cache_saved_usd is not None]
    return Summary(
        read=sum(one.read for one in all),
        read_whole=not any(not one.read_whole for one in all),
        ok=sum(one.ok for one in all),
        failed=dict(failed),
        examples={kind: example for one in reversed(all) for kind, example in one.examples.items()},
        done_before=sum(one.done_before for one in all),
        failed_before=sum(one.failed_before for one in all),
        held=sum(one.held for one in all),
        pending=sum(one.pending for one in all),
        collected=sum(one.collected for one in all),
        others=sum(one.others for one in all),
        dropped=sum(one.dropped for one in all),
        orphans=sum(one.orphans for one in all),
        not_started=sum(one.not_started for one in all),
        unwritten=sum(one.unwritten for one in all),
        requests=sum(one.requests for one in all),
        retries=sum(one.retries for one in all),
        possibly_billed=sum(one.possibly_billed for one in all),
        input_tokens=sum(one.input_tokens for one in all),
        output_tokens=sum(one.output_tokens for one in all),
        cached_input_tokens=sum(one.cached_input_tokens for one in all),
        cost_usd=sum(costs) if costs else None,
        cache_saved_usd=sum(saved) if saved else None,
        models={name: _joined_models([*one.models.values()]) for name, one in runs.items()},
        wall_s=wall,
        waited_s=max(one.waited_s for one in all),
        limited_by={cause: round(share, 4) for cause, share in limited.items()},
        latency_s=latency_s(*(model.latencies for one in all for model in one.models.values())),
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
