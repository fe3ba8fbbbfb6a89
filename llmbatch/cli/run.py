"""`llmbatch run`: sends the records and shows progress and summary."""

import os
import shlex
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbatch.cli import secrets
from llmbatch.cli.fast_params import Command
from llmbatch.cli.flags import with_flags
from llmbatch.cli.settings_file import leave_out, load_profile, unknown_variables
from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import UsageError
from llmbatch.core.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typer._click.core import Context
    from typer._click.formatting import HelpFormatter

    from llmbatch.app.session import View
    from llmbatch.core.redact import Redactor
    from llmbatch.core.settings import Settings
    from llmbatch.core.snapshot import Snapshot
    from llmbatch.core.tally import Summary
    from llmbatch.transport_process.parent import TransportProcess
    from llmbatch.ui.metrics import MetricsFile
    from llmbatch.ui.streams import Say

__all__ = ["COMMAND", "run"]


class RunCommand(Command):
    """The command with a help of its own."""

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the help that fits one screen."""
        from llmbatch.cli.run_help import one_screen

        formatter.write(one_screen(run.__doc__ or ""))


COMMAND = RunCommand


def _help_all(wanted: bool) -> None:
    if wanted:
        from llmbatch.cli.run_help import everything

        sys.stdout.write(everything(run.__doc__ or ""))
        raise typer.Exit


@with_flags(load_profile, leave_out)
def run(
    ctx: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Files, folders or quoted patterns of prompts; none or - is stdin.",
            show_default=False,
        ),
    ] = None,
    help_all: Annotated[
        bool, typer.Option("--help-all", callback=_help_all, is_eager=True, help="Show every option with its help.")
    ] = False,
    **_: Any,
) -> None:
    """Send every record of INPUT to a model; write one JSON line for each.

    llmbatch run prompts.jsonl -m MODEL -o results.jsonl
    jq -c '{id, prompt: .text}' rows.jsonl | llmbatch run -m MODEL -c 64 | jq -r .text
    llmbatch run reviews.csv -t 'Sentiment of: {{ review }}' -m MODEL -o out.jsonl
    llmbatch run prompts.jsonl -p mock
    """
    if not inputs and os.isatty(0):
        raise UsageError(
            "no INPUT, and stdin is a terminal",
            "llmbatch run FILE, or pipe JSONL in; llmbatch run --help shows more.",
        )
    from llmbatch.cli.resolve import resolve

    settings = resolve(ctx)
    if not settings.view.quiet and (unknown := unknown_variables(ctx)):
        from llmbatch.ui.streams import notice

        for text in unknown:
            notice(text)
    if settings.dry_run:
        if settings.output.folder is not None:
            raise UsageError("--dry-run does not go with -o DIR/", "Leave -o out: it shows the requests of all parts.")
        from llmbatch.app.dry_run import dry_run as show_requests

        raise typer.Exit(
            show_requests(settings, ENVIRONMENT, say=_say_unless_quiet(settings), stdout_is_terminal=os.isatty(1))
        )
    from llmbatch.transport_process.spawn import spawn_transport

    # `cli.entry` may have started the process already.
    with spawn_transport() if ctx.obj is None else nullcontext(ctx.obj) as transport:
        raise typer.Exit(_run(settings, transport).exit_code)


def _run(settings: "Settings", transport: "TransportProcess") -> "Summary":
    from llmbatch.app.input import check_inputs
    from llmbatch.app.servers import find_servers
    from llmbatch.app.session import run as run_session
    from llmbatch.ui.streams import EventLog

    view = settings.view
    say, show = _screen(settings)
    check_inputs(settings.input.paths)  # before the key: a wrong name is the first thing to tell
    servers = find_servers(settings.model, ENVIRONMENT, settings.patience.connect_timeout)
    secrets.learn(servers.redact)
    redact = secrets.redactor()
    metrics = _metrics(settings)
    observers = () if view.quiet else (EventLog(say, redact, verbose=view.verbose),)
    shown = show if metrics is None else metrics.view if show is None else partial(_both, metrics.view, show)
    attempt_log = (lambda line: say(f"wire: {printable(redact(line))}")) if view.debug else None
    if settings.output.folder is not None:
        from llmbatch.parts.run import run_parts

        summary = run_parts(
            settings,
            servers,
            ENVIRONMENT,
            transport=transport,
            observers=observers,
            view=shown,
            attempt_log=attempt_log,
        )
    else:
        summary = run_session(
            settings,
            servers,
            transport,
            ENVIRONMENT,
            observers=observers,
            view=shown,
            stdout_is_terminal=os.isatty(1),
            attempt_log=attempt_log,
        )
    if summary.stopped is not None:
        summary = replace(summary, stopped=redact(summary.stopped))  # a server may quote the key
    _report(settings, summary, redact)
    if metrics is not None:
        metrics.end(summary.exit_code)
    return summary


def _metrics(settings: "Settings") -> "MetricsFile | None":
    from llmbatch.ui.metrics import MetricsFile

    return MetricsFile(settings.view.metrics_file) if settings.view.metrics_file is not None else None


def _screen(settings: "Settings") -> "tuple[Say, View | None]":
    """Choose how to show progress: live if stderr has a terminal of its own, else plain lines; not at all if quiet."""
    say = _log(settings)
    if settings.view.quiet or settings.view.progress == "none":
        return say, None
    if settings.view.progress == "auto" and settings.view.log_format == "text" and _can_animate(settings):
        from llmbatch.ui.console import stderr_console
        from llmbatch.ui.live import LiveView
        from llmbatch.ui.symbols import symbols_for

        live = LiveView(stderr_console(settings.view.color, ENVIRONMENT), symbols_for(ENVIRONMENT))
        return live.say, live
    from llmbatch.ui.plain import plain_view

    return say, plain_view(say)


def _log(settings: "Settings") -> "Say":
    """Choose how lines are written while the run lasts: with the time, unless a person sees them as they come."""
    from llmbatch.ui.streams import say_as_json, say_plainly, say_with_time

    if settings.view.log_format == "json":
        return say_as_json
    return say_plainly if os.isatty(2) else say_with_time


@contextmanager
def _both(first: "View", second: "View", snapshot: "Callable[[], Snapshot]") -> "Iterator[None]":
    with first(snapshot), second(snapshot):
        yield


def _can_animate(settings: "Settings") -> bool:
    """Say whether stderr is a terminal that does not also show the results."""
    if not os.isatty(2) or ENVIRONMENT.get("TERM") == "dumb":
        return False
    return (
        (settings.output.path or settings.output.folder) is not None
        or not os.isatty(1)
        or os.ttyname(1) != os.ttyname(2)
    )


def _report(settings: "Settings", summary: "Summary", redact: "Redactor") -> None:
    """Show the summary; after an early end also say what happened, what is saved and how to continue."""
    from llmbatch.app.files import write_whole
    from llmbatch.codec import json
    from llmbatch.ui.closing import closings_of
    from llmbatch.ui.streams import log_object, say_as_json, say_plainly

    view = settings.view
    as_json = view.log_format == "json"
    closings = [
        closing._replace(text=printable(redact(closing.text), 2000))
        for closing in closings_of(summary, settings.output.path or settings.output.folder, _same_command())
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
                say(f"{label}: {text}")
    if view.summary_file is not None:
        write_whole(view.summary_file, json.dumps(summary.as_json()) + b"\n", "--summary-file")


def _same_command() -> str:
    """Return the shell command that continues this run: the same command without --overwrite."""
    words = [word for word in sys.argv[1:] if word != "--overwrite"]
    return shlex.join(["llmbatch", *words])


def _say_unless_quiet(settings: "Settings") -> "Say":
    from llmbatch.ui.streams import say_plainly

    return (lambda text: None) if settings.view.quiet else say_plainly
