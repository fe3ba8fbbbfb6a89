"""A run at one moment, in which everything is there to be shown."""

from llmbatch.core.snapshot import Cause, ModelCounts, RouteState, Snapshot

__all__ = ["NOW"]

NOW = Snapshot(
    ok=61_200,
    failed=4,
    in_flight=64,
    waiting=3,
    limit=128,
    wall=123.0,
    rate=612.4,
    fraction=0.612,
    eta=75.0,
    input_tokens=1_234_567,
    output_tokens=987_654,
    cost=12.3456,
    left=7.5,
    routes=(RouteState("gpt-x", 64, 64, Cause.WALL, closed_for=12.0, reason="rate limited"),),
    finished=61_204,
    total=100_000,
    total_is_exact=True,
    latency=0.82,
    models=(ModelCounts("anthropic/claude-sonnet-4-5-20250929", 61_000, 3), ModelCounts("gpt-x", 200, 1)),
)
