"""`--metrics-file`: progress in Prometheus' text format, for the textfile collector of a node exporter."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from llmbatch.app.files import write_whole
from llmbatch.core.errors import OutputError
from llmbatch.core.snapshot import Snapshot
from llmbatch.ui.timer import ticking

__all__ = ["exposition", "metrics_view"]

EVERY = 5.0


def metrics_view(path: Path) -> Callable[[Callable[[], Snapshot]], AbstractContextManager[None]]:
    """Return a view that writes the file every five seconds once something was sent, and at the end.

    A run that is refused leaves the file as it was. A failure to write costs a sample, never the run.
    """

    @contextmanager
    def view(snapshot: Callable[[], Snapshot]) -> Iterator[None]:
        def write() -> None:
            now = snapshot()
            if now.in_flight or now.waiting or now.ok or now.failed:
                _write(path, now)

        with ticking(EVERY, write):
            yield
        _write(path, snapshot())

    return view


def exposition(now: Snapshot) -> str:
    """Write a snapshot in Prometheus' text format (version 0.0.4)."""
    metrics: list[tuple[str, str, str, dict[str, float]]] = [
        ("records_total", "counter", "Records finished.", {'{status="ok"}': now.ok, '{status="failed"}': now.failed}),
        ("in_flight", "gauge", "Requests in flight.", {"": now.in_flight}),
        ("concurrency_limit", "gauge", "Requests allowed in flight.", {"": now.limit}),
        ("waiting", "gauge", "Records to be sent again later.", {"": now.waiting}),
        (
            "tokens_total",
            "counter",
            "Tokens as reported.",
            {'{direction="input"}': now.input_tokens, '{direction="output"}': now.output_tokens},
        ),
        ("held_seconds", "gauge", "Seconds left to wait for a limit.", {"": round(now.closed_for, 3)}),
        ("records_per_second", "gauge", "Records finished a second, at present.", {"": round(now.rate, 3)}),
        ("running_seconds", "gauge", "Seconds since the run began.", {"": round(now.wall, 3)}),
    ]
    if now.cost is not None:
        metrics.append(("cost_usd_total", "counter", "Cost as reported, in US dollars.", {"": now.cost}))
    lines = []
    for name, kind, help, values in metrics:
        lines += [f"# HELP llmbatch_{name} {help}", f"# TYPE llmbatch_{name} {kind}"]
        lines += [f"llmbatch_{name}{labels} {value}" for labels, value in values.items()]
    return "\n".join(lines) + "\n"


def _write(path: Path, now: Snapshot) -> None:
    with suppress(OutputError):
        write_whole(path, exposition(now).encode(), "--metrics-file")
