"""`llmbatch batches`: what a results file has with providers' batch APIs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmbatch.cli.completion import choose
from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import ActionNeeded, UsageError
from llmbatch.core.plural import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmbatch.app.batch_list import BatchLine

__all__ = ["batches"]


def batches(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The results file of a run with --batch-api, or its DIR/.")
    ],
    check: Annotated[bool, typer.Option("--check", help="Ask the providers how the batches are.")] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel what runs; what is answered by then comes with the next run.")
    ] = False,
    adopt: Annotated[
        str | None,
        typer.Option(metavar="TICKET=BATCH", help="Name the batch of a ticket whose creation was cut off."),
    ] = None,
    give_up: Annotated[
        str | None,
        typer.Option(
            metavar="TICKET", help="Never collect this batch: its records without an answer are in doubt then."
        ),
    ] = None,
    key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment variable that holds the key.")
    ] = None,
    format: Annotated[
        str, typer.Option(metavar="table|json", help="The shape of the list.", autocompletion=choose("table", "json"))
    ] = "table",
) -> None:
    """List the batches of a results file that are not collected yet.

    llmbatch batches results.jsonl --check
    llmbatch batches results.jsonl --cancel
    """
    if format not in ("table", "json"):
        raise UsageError(f"--format {format} is not a format", "--format table or json.")
    if sum((check, cancel, adopt is not None, give_up is not None)) > 1:
        raise UsageError("--check, --cancel, --adopt and --give-up are one at a time", "Keep one of them.")
    from functools import partial

    from llmbatch.app import batch_list
    from llmbatch.core.clock import SystemClock
    from llmbatch.parts.folder import results_in
    from llmbatch.ui.streams import notice, stdout_sink, terminal_width

    files = [Path(name) for name in results_in([str(file)])]
    listed: list[tuple[Path, BatchLine]]
    if adopt is not None:
        tag, equals, batch = adopt.partition("=")
        if not equals or not tag or not batch:
            raise UsageError(f"--adopt {adopt!r} is not TICKET=BATCH", f"llmbatch batches {file} lists the tickets.")
        one = batch_list.file_with(files, tag)
        listed = [(one, batch_list.adopt(one, tag, batch, notice, environment=ENVIRONMENT, key_env=key_env))]
    elif give_up is not None:
        one = batch_list.file_with(files, give_up)
        listed = [(one, batch_list.give_up(one, give_up, notice))]
        notice("the next run treats its records without an answer as in doubt: --in-doubt retry|hold")
    elif cancel:
        listed = _of_each(files, partial(batch_list.cancel, notice=notice, environment=ENVIRONMENT, key_env=key_env))
        if listed:
            notice("run the same command again: it collects what was answered, and sends the rest again")
    else:
        listed = _of_each(
            files, partial(batch_list.list_batches, check=check, environment=ENVIRONMENT, key_env=key_env)
        )
    lines = [line for _, line in listed]
    out = stdout_sink()
    if format == "json":
        from llmbatch.codec import json

        out(b"".join(json.dumps({"file": str(path), **line.as_json()}) + b"\n" for path, line in listed))
    elif lines:
        from llmbatch.ui.batches import batches_text

        out(batches_text(lines, SystemClock.wall(), terminal_width(1)))
    else:
        notice(f"{file} has no batches that are not collected")
    unasked = [(line.ticket, line.unasked) for line in lines if line.unasked is not None]
    if unasked:
        ticket, reason = unasked[0]
        raise ActionNeeded(
            f"{len(unasked)} of {counted(len(lines), 'batch', 'batches')} left alone, the first "
            f"{ticket.batch or ticket.tag} at {ticket.provider}: {reason.message}",
            reason.hint,
        )


def _of_each(files: "list[Path]", lines_of: "Callable[[Path], list[BatchLine]]") -> "list[tuple[Path, BatchLine]]":
    return [(file, line) for file in files for line in lines_of(file)]
