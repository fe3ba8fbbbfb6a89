"""`llmbatch split`: writes the plan of a run of parts, and prints the array expression of its parts."""

from typing import Annotated, Any

import typer

from llmbatch.cli.fast_params import Command
from llmbatch.cli.flags import with_flags
from llmbatch.cli.settings_file import leave_out, load_profile
from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import UsageError

__all__ = ["COMMAND", "split"]

COMMAND = Command


@with_flags(load_profile, leave_out)
def split(
    ctx: typer.Context,
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT", help="The inputs of the run.", show_default=False)
    ] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only the parts that are not complete.")] = False,
    **_: Any,
) -> None:
    """Write the plan of a run of parts, with the options of the run; print the array expression of its parts.

    llmbatch split in/ -m MODEL -o out/
    sbatch --array=$(llmbatch split in/ -m MODEL -o out/)%64 job.sh
    sbatch --array=$(llmbatch split in/ -m MODEL -o out/ --missing) job.sh

    The job has --shard auto --of N, with N as it is told. Nothing is sent, no key is needed.
    """
    from llmbatch.app.files import check_run_files
    from llmbatch.app.servers import find_preset
    from llmbatch.cli.resolve import resolve
    from llmbatch.parts.array_job import expression
    from llmbatch.parts.folder import RunFolder
    from llmbatch.parts.planning import find_plan
    from llmbatch.ui.streams import notice, stdout_sink

    settings = resolve(ctx)
    if settings.output.folder is None:
        raise UsageError("split needs -o DIR/", "llmbatch split INPUT -o DIR/: the options of the run, and its folder.")
    folder = RunFolder(settings.output.folder)
    read, written = settings.files_read, settings.view.files
    check_run_files(settings.input, settings.output, read, written, dry_run=settings.dry_run, stdin=False)
    plan = find_plan(
        settings.input,
        settings.model,
        settings.output,
        folder,
        find_preset(settings.model, ENVIRONMENT)[1],
        notice,
        append=settings.resume.append,
        pack=settings.pace.pack,
    )
    complete = folder.complete()
    numbers = [number for number in range(len(plan.parts)) if not (missing and number in complete)]
    notice(f"{len(numbers):,} of {len(plan.parts):,} parts; each worker has --shard auto --of {len(plan.parts)}")
    stdout_sink()(expression(numbers).encode() + b"\n")
