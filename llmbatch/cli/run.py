"""`llmbatch run`: sends the records and shows progress and summary."""

import math
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbatch.cli import secrets
from llmbatch.cli.fast_params import Command
from llmbatch.cli.flags import with_flags
from llmbatch.cli.screen import both, errors_as_json, metrics_file, report, screen
from llmbatch.cli.settings_file import leave_out, load_profile, unknown_variables
from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import UsageError
from llmbatch.core.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from typer._click.core import Context
    from typer._click.formatting import HelpFormatter

    from llmbatch.app.servers import Servers
    from llmbatch.app.shared import Shared
    from llmbatch.core.ports import Observer
    from llmbatch.core.settings import Settings
    from llmbatch.core.tally import Summary
    from llmbatch.transport_process.parent import TransportProcess

__all__ = ["COMMAND", "run"]


class RunCommand(Command):
    """The command with a help of its own."""

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Give the option that may stand without a value its value."""
        return super().parse_args(ctx, with_values(args))

    def invoke(self, ctx: "Context") -> Any:
        """Run it; where the log is JSON, the reason why it cannot go on is an object as well."""
        with errors_as_json() if ctx.params.get("log_format") == "json" else nullcontext():
            return super().invoke(ctx)

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the help that fits one screen."""
        from llmbatch.cli.run_help import one_screen

        formatter.write(one_screen(run.__doc__ or ""))


COMMAND = RunCommand


def with_values(words: list[str]) -> list[str]:
    """Return a command line in which `--cache-system` has a value."""
    filled = []
    for place, word in enumerate(words):
        filled.append(word)
        if word == "--":
            return filled + words[place + 1 :]
        if word == "--cache-system" and words[place + 1 : place + 2] not in (["5m"], ["1h"]):
            filled.append("5m")
    return filled


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
        from llmbatch.ui.streams import notice, say_as_json

        for text in unknown:
            (say_as_json if settings.view.log_format == "json" else notice)(text)
    if settings.models:
        from llmbatch.cli.run_models import run_models

        raise typer.Exit(run_models(settings, ctx.obj))
    if settings.dry_run:
        if settings.output.folder is not None:
            raise UsageError("--dry-run does not go with -o DIR/", "Leave -o out: it shows the requests of all parts.")
        from llmbatch.cli.dry_run import show_requests

        raise typer.Exit(show_requests(settings))
    from llmbatch.transport_process.spawn import spawn_transport

    # `cli.entry` may have started the process already.
    with spawn_transport() if ctx.obj is None else nullcontext(ctx.obj) as transport:
        raise typer.Exit(_run(settings, transport).exit_code)


def _limits(
    settings: "Settings", servers: "Servers", observers: "Sequence[Observer]"
) -> "AbstractContextManager[tuple[Shared | None, Sequence[Observer]]]":
    if settings.pace.share_limits is None:
        return nullcontext((None, ()))
    from llmbatch.app.prices import find_price
    from llmbatch.core.events import Notice
    from llmbatch.parts.limits_server import limits_client, shared_limits, spent_on_file

    pace, stop = settings.pace, settings.stop

    def notice(text: str) -> None:
        for observer in observers:
            observer(Notice(text))

    patience = settings.patience.max_outage
    client = limits_client(pace, None, ENVIRONMENT, math.inf, patience=patience, notice=notice)
    price = find_price(settings.model, stop, (servers.name, servers.preset))
    return shared_limits(client, pace, stop, price, spent_on_file(settings.output, stop, price))


def _run(settings: "Settings", transport: "TransportProcess") -> "Summary":
    from llmbatch.app.composition import run as run_session
    from llmbatch.app.input import check_inputs
    from llmbatch.app.servers import find_servers
    from llmbatch.ui.streams import EventLog

    view = settings.view
    say, show = screen(settings.view, settings.output.place)
    check_inputs(settings.input.paths)  # before the key: a wrong name is the first thing to tell
    servers = find_servers(settings.model, ENVIRONMENT, settings.patience.connect_timeout)
    secrets.learn(servers.redact)
    redact = secrets.redactor()
    metrics = metrics_file(settings.view)
    observers = () if view.quiet else (EventLog(say, redact, verbose=view.verbose),)
    shown = show if metrics is None else metrics.view if show is None else partial(both, metrics.view, show)
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
        with _limits(settings, servers, observers) as (shared, watching):
            summary = run_session(
                settings,
                servers,
                transport,
                ENVIRONMENT,
                observers=(*observers, *watching),
                view=shown,
                stdout_is_terminal=os.isatty(1),
                attempt_log=attempt_log,
                shared=shared,
            )
    if summary.stopped is not None:
        summary = replace(summary, stopped=redact(summary.stopped))  # a server may quote the key
    report(settings.view, settings.output.place, summary, redact)
    if metrics is not None:
        metrics.end(summary.exit_code)
    return summary
