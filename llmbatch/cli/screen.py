"""What `llmbatch run` shows on stderr: progress, log lines, and the summary with what to do next."""

import os
import shlex
import stat
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import LlmbatchError, ReaderGone
from llmbatch.core.printable import printable
from llmbatch.core.stderr import from_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from llmbatch.app.session import View
    from llmbatch.core.redact import Redactor
    from llmbatch.core.settings import ViewSettings
    from llmbatch.core.snapshot import Snapshot
    from llmbatch.core.tally import Summary
    from llmbatch.ui.metrics import MetricsFile
    from llmbatch.ui.streams import Say

__all__ = ["both", "errors_as_json", "metrics_file", "report", "say_unless_quiet", "screen"]


def metrics_file(view: "ViewSettings") -> "MetricsFile | None":
    """Return the file of `--metrics-file`."""
    from llmbatch.ui.metrics import MetricsFile

    return MetricsFile(view.metrics_file) if view.metrics_file is not None else None


def screen(view: "ViewSettings", results: "Path | None") -> "tuple[Say, View | None]":
    """Choose how to show progress: live if stderr has a terminal of its own, else plain lines; not at all if quiet.

    Without a place for `results` they go to stdout.
    """
    say = _log(view)
    if view.quiet or view.progress == "none":
        return say, None
    if view.progress == "auto" and view.log_format == "text" and _can_animate(results):
        from llmbatch.ui.console import stderr_console
        from llmbatch.ui.live import LiveView
        from llmbatch.ui.symbols import symbols_for

        live = LiveView(stderr_console(view.color, ENVIRONMENT), symbols_for(ENVIRONMENT))
        return live.say, live
    from llmbatch.ui.plain import json_view, plain_view

    return say, json_view if view.log_format == "json" else plain_view(say)


@contextmanager
def errors_as_json() -> "Iterator[None]":
    """Write why a run cannot go on as an object, as all else on stderr, and end with its exit code."""
    import typer

    from llmbatch.cli.secrets import redactor
    from llmbatch.ui.streams import log_object

    try:
        yield
    except Exception as error:
        reason = error
        while isinstance(reason, ExceptionGroup):
            reason = reason.exceptions[0]
        if not isinstance(reason, LlmbatchError) or isinstance(reason, ReaderGone):
            raise
        redact = redactor()
        told = [printable(from_here(redact(text)), 1000) for text in (reason.message, reason.hint) if text]
        log_object(**dict(zip(("message", "hint"), told, strict=False)), exit_code=int(reason.exit_code))
        raise typer.Exit(reason.exit_code) from error


def _log(view: "ViewSettings") -> "Say":
    """Choose how lines are written while the run lasts: with the time, unless a person sees them as they come."""
    from llmbatch.ui.streams import say_as_json, say_plainly, say_with_time

    if view.log_format == "json":
        return say_as_json
    return say_plainly if os.isatty(2) else say_with_time


@contextmanager
def both(first: "View", second: "View", snapshot: "Callable[[], Snapshot]") -> "Iterator[None]":
    """Show a run in two ways at once."""
    with first(snapshot), second(snapshot):
        yield


def _can_animate(results: "Path | None") -> bool:
    """Say whether stderr is a terminal that does not also show the results."""
    if not os.isatty(2) or ENVIRONMENT.get("TERM") == "dumb":
        return False
    return results is not None or not os.isatty(1) or os.ttyname(1) != os.ttyname(2)


def report(view: "ViewSettings", results: "Path | None", summary: "Summary", redact: "Redactor") -> None:
    """Show the summary; after an early end also say what happened, what is saved and how to continue."""
    from llmbatch.app.files import write_whole
    from llmbatch.codec import json
    from llmbatch.ui.closing import closings_of
    from llmbatch.ui.streams import log_object, say_as_json, say_plainly

    as_json = view.log_format == "json"
    closings = [
        closing._replace(text=printable(redact(closing.text), 2000))
        for closing in closings_of(
            summary,
            results,
            _same_command(),
            stdout_is_file=stat.S_ISREG(os.fstat(1).st_mode),
        )
    ]
    if not view.quiet and not as_json and view.summary == "table":
        from llmbatch.ui.console import stderr_console
        from llmbatch.ui.summary import show_summary
        from llmbatch.ui.symbols import symbols_for

        show_summary(stderr_console(view.color, ENVIRONMENT), summary, symbols_for(ENVIRONMENT), redact, closings)
    else:
        if not view.quiet and as_json and view.summary != "none":
            log_object(summary=summary.as_json())
        elif not view.quiet and view.summary == "json":
            say_plainly(json.dumps(summary.as_json()).decode())
        if summary.stopped is not None or summary.pending or summary.held:
            say = say_as_json if as_json else say_plainly
            for label, text, _ in closings:
                say(f"{label}: {text}" if label else text)
    if view.summary_file is not None:
        write_whole(view.summary_file, json.dumps(summary.as_json()) + b"\n", "--summary-file")


def _same_command() -> str:
    """Return the shell command that continues this run: the same command without --overwrite."""
    words = [word for word in sys.argv[1:] if word != "--overwrite"]
    return shlex.join(["llmbatch", *words])


def say_unless_quiet(view: "ViewSettings") -> "Say":
    """Return how lines are written, or that nothing is."""
    from llmbatch.ui.streams import say_plainly

    return (lambda text: None) if view.quiet else say_plainly
