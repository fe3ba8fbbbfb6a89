"""Writes lines to stdout and stderr without rich; a stderr that is closed or full is no error."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from llmbatch.codec import json
from llmbatch.core.events import Event, Finished, Notice, Paused, Retrying, Stopping
from llmbatch.core.fault import Fault, Kind
from llmbatch.core.outcome import Outcome
from llmbatch.core.plural import counted
from llmbatch.core.printable import printable
from llmbatch.core.stderr import from_here, write_stderr
from llmbatch.results.stream_sink import StreamSink
from llmbatch.ui.units import duration

__all__ = [
    "EventLog",
    "Say",
    "log_object",
    "notice",
    "say_as_json",
    "say_plainly",
    "say_with_time",
    "stdout_sink",
    "terminal_width",
]

Say = Callable[[str], None]
"""Shows one line."""


def say_plainly(text: str) -> None:
    """Write a line to stderr; errors are ignored."""
    write_stderr(f"{text}\n".encode("utf-8", "replace"))


def say_with_time(text: str) -> None:
    """Write a line with the time in UTC before it: for logs."""
    say_plainly(f"{_now()} {text}")


def say_as_json(text: str) -> None:
    """Write a line as an object with its time, without the name of the program."""
    log_object(message=text.removeprefix("llmbatch: "))


def log_object(**fields: Any) -> None:
    """Write fields as one line of JSON, with the time in UTC."""
    write_stderr(json.dumps({"time": _now(), **fields}) + b"\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class EventLog:
    """An observer that writes a line for each notice, and, when `verbose`, for each failure and retry."""

    def __init__(self, say: Say, redact: Callable[[str], str], *, verbose: bool) -> None:
        self._say = say
        self._redact = redact
        self._verbose = verbose
        self._pause_shown = 0.0

    def __call__(self, event: Event) -> None:
        """Write a line about the event, if it is worth one."""
        match event:
            case Notice(text):
                self._tell(text)
            case Stopping(reason, in_flight, grace) if in_flight:
                self._tell(_stopping(reason, in_flight, grace))
            case Finished(outcomes) if self._verbose:
                for outcome in outcomes:
                    fault = outcome.verdict if isinstance(outcome, Outcome) else outcome.fault
                    if isinstance(fault, Fault):
                        identity = outcome.job.identity if isinstance(outcome, Outcome) else outcome.identity
                        self._tell(f"failed: record {identity.index} (id {identity.id!r}): {_fault(fault)}")
            case Retrying(job, fault, wait) if self._verbose:
                self._tell(f"record {job.identity.index} is sent again in {wait:.1f} s: {_fault(fault)}")
            case Paused(_, fault, wait) if wait > 5.0 or self._verbose:
                now = time.monotonic()
                if now - self._pause_shown > 5.0:
                    self._pause_shown = now
                    self._tell(f"waiting {duration(wait)}: {_fault(fault)}")

    def _tell(self, text: str) -> None:
        self._say(f"llmbatch: {printable(from_here(self._redact(text)), 500)}")


def _stopping(reason: str, in_flight: int, grace: float) -> str:
    if grace <= 0:
        return f"stopping: {reason}; {counted(in_flight, 'request')} in flight dropped"
    return f"stopping: {reason}; finishing {counted(in_flight, 'request')}; interrupt again to drop them"


def _fault(fault: Fault) -> str:
    if fault.kind is Kind.CONNECTION:  # its messages say so
        return fault.message
    status = f" (HTTP {fault.status})" if fault.status else ""
    return f"{fault.kind}{status}: {fault.message}"


def stdout_sink(*, escape: bool = True) -> Callable[[bytes], None]:
    """Return a function that writes lines to stdout, control characters escaped where it is a terminal.

    Without `escape` they are written as they are: for text of our own. It raises ReaderGone or OutputError.
    """
    return StreamSink(1, lambda outcome: b"", escape=escape and os.isatty(1), hint=None).write_lines


def notice(text: str) -> None:
    """Write a notice to stderr."""
    write_stderr(f"llmbatch: {printable(from_here(text))}\n".encode("utf-8", "replace"))


def terminal_width(fd: int) -> int | None:
    """Return how wide the terminal is, None where there is none."""
    try:
        return os.get_terminal_size(fd).columns or None
    except OSError:
        return None
