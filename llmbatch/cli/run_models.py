"""`llmbatch run -m A -m B -o DIR/`: several models side by side, shown and reported as one run."""

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from llmbatch.cli import secrets
from llmbatch.cli.screen import both, metrics_file, report, screen
from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.printable import printable

if TYPE_CHECKING:
    from llmbatch.core.ports import AttemptLog, Observer
    from llmbatch.core.settings import Settings
    from llmbatch.transport_process.parent import TransportProcess

__all__ = ["run_models"]


def run_models(settings: "Settings", transport: "TransportProcess | None") -> int:
    """Run each model with its own results file; return the worst exit code. Raises LlmbatchError."""
    from dataclasses import replace

    from llmbatch.app import side_by_side
    from llmbatch.app.input import check_inputs
    from llmbatch.transport_process.spawn import spawn_transport
    from llmbatch.ui.streams import EventLog

    if settings.dry_run:
        from llmbatch.cli.dry_run import show_requests

        runs_of_models = (own for _, own in side_by_side.settings_by_model(settings))
        return max(
            [show_requests(own._replace(output=own.output._replace(path=None, folder=None))) for own in runs_of_models]
        )
    view = settings.view
    check_inputs(settings.input.paths)  # before the keys: a wrong name is the first thing to tell
    runs = side_by_side.model_runs(settings, ENVIRONMENT)
    for run in runs:
        secrets.learn(run.servers.redact)
    redact = secrets.redactor()
    say, show = screen(settings.view, settings.output.place)
    metrics = metrics_file(settings.view)

    def observers(name: str) -> "tuple[Observer, ...]":
        if view.quiet:
            return ()
        return (EventLog(lambda text: say(f"{printable(name, 80)}: {text}"), redact, verbose=view.verbose),)

    def attempt_log(name: str) -> "AttemptLog":
        return lambda line: say(f"{printable(name, 80)}: wire: {printable(redact(line))}")

    shown = show if metrics is None else metrics.view if show is None else partial(both, metrics.view, show)
    if settings.output.part_size is not None:
        from llmbatch.parts.models import run_models_in_parts

        summary = run_models_in_parts(runs, ENVIRONMENT, observers=observers, view=shown)
    else:
        with spawn_transport() if transport is None else nullcontext(transport) as first:
            summary = side_by_side.run_models(
                runs,
                first,
                ENVIRONMENT,
                observers=observers,
                view=shown,
                attempt_log=attempt_log if view.debug else None,
            )
    if summary.stopped is not None:
        summary = replace(summary, stopped=redact(summary.stopped))  # a server may quote the key
    report(settings.view, settings.output.place, summary, redact)
    if metrics is not None:
        metrics.end(summary.exit_code)
    return summary.exit_code
