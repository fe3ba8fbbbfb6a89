"""`--metrics-file`: progress in Prometheus' text format, for the textfile collector of a node exporter."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from llmbatch.app.files import write_whole
from llmbatch.app.timer import ticking
from llmbatch.core.errors import OutputError
from llmbatch.core.snapshot import Snapshot
from llmbatch.ui.streams import notice

__all__ = ["Ended", "MetricsFile", "exposition"]

EVERY = 5.0


class Ended(NamedTuple):
    """How a run ended: its exit code, and when in Unix seconds."""

    exit_code: int
    at: float


class MetricsFile:
    """Writes the file every five seconds once something was sent, and when the run has ended.

    A run that is refused leaves the file as it was. A failure to write costs a sample, never the run; if the last one
    fails, that is told.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = time.time()
        self._last: Snapshot | None = None
        self._failure: OutputError | None = None

    @contextmanager
    def view(self, snapshot: Callable[[], Snapshot]) -> Iterator[None]:
        """Write while the context lasts."""

        def write() -> None:
            now = snapshot()
            if now.in_flight or now.waiting or now.ok or now.failed:
                self._write(now)

        with ticking(EVERY, write):
            yield
        self._last = snapshot()
        self._write(self._last)

    def end(self, exit_code: int) -> None:
        """Write once more, with the exit code."""
        if self._last is not None:
            self._write(self._last, Ended(exit_code, time.time()))
        if self._failure is not None:
            notice(f"--metrics-file is not up to date: {self._failure.message}")

    def _write(self, now: Snapshot, ended: Ended | None = None) -> None:
        try:
            write_whole(self._path, exposition(now, self._began, ended).encode("utf-8", "replace"), "--metrics-file")
            self._failure = None
        except OutputError as error:
            self._failure = error


Values = Mapping[str, float]
"""Values by their labels, written as the format has them."""


def exposition(now: Snapshot, began: float, ended: Ended | None = None) -> str:
    """Write a snapshot in Prometheus' text format (version 0.0.4). `began` is in Unix seconds."""
    status = {_labels(status="ok"): now.ok, _labels(status="failed"): now.failed}
    tokens = {_labels(direction="input"): now.input_tokens, _labels(direction="output"): now.output_tokens}
    by_model = {
        _labels(model=name, status=status): count
        for name, ok, failed in now.models
        for status, count in (("ok", ok), ("failed", failed))
    }
    metrics: list[tuple[str, str, str, Values]] = [
        ("records_total", "counter", "Records finished.", status),
        ("model_records_total", "counter", "Records finished, by the model that was asked.", by_model),
        (
            "failures_total",
            "counter",
            "Failed records by kind.",
            {_labels(kind=kind): count for kind, count in now.failed_by_kind.items()},
        ),
        ("expected_records", "gauge", "Records of the input.", {"": now.total} if now.total is not None else {}),
        ("done_records", "gauge", "Records of the input that are done, by earlier runs too.", {"": now.finished}),
        ("in_flight", "gauge", "Requests in flight.", {"": now.in_flight}),
        ("concurrency_limit", "gauge", "Requests allowed in flight.", {"": now.limit}),
        ("waiting", "gauge", "Records to be sent again later.", {"": now.waiting}),
        ("tokens_total", "counter", "Tokens as reported.", tokens),
        ("held_seconds", "gauge", "Seconds left to wait for a limit.", {"": round(now.closed_for, 3)}),
        ("records_per_second", "gauge", "Records finished a second, at present.", {"": round(now.rate, 3)}),
        ("running_seconds", "gauge", "Seconds since the run began.", {"": round(now.wall, 3)}),
        ("start_time_seconds", "gauge", "When the run began, in Unix time.", {"": round(began, 3)}),
    ]
    if now.cost is not None:
        metrics.append(("cost_usd_total", "counter", "Cost as reported, in US dollars.", {"": now.cost}))
    if ended is not None:
        metrics.append(("end_time_seconds", "gauge", "When the run ended, in Unix time.", {"": round(ended.at, 3)}))
        metrics.append(("exit_code", "gauge", "The exit code of the run that ended.", {"": ended.exit_code}))
    lines = []
    for name, kind, help, values in metrics:
        if values:
            lines += [f"# HELP llmbatch_{name} {help}", f"# TYPE llmbatch_{name} {kind}"]
            lines += [f"llmbatch_{name}{labels} {value}" for labels, value in values.items()]
    return "\n".join(lines) + "\n"


def _labels(**labels: str) -> str:
    """Write labels as the format has them: backslash, quote and newline are escaped."""
    escaped = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
    return "{" + ",".join(f'{name}="{value.translate(escaped)}"' for name, value in labels.items()) + "}"
