"""`llmbatch run --dry-run`: compares the files, then writes the requests to stdout."""

import os
from typing import TYPE_CHECKING

from llmbatch.cli.screen import say_unless_quiet
from llmbatch.core.environment import ENVIRONMENT

if TYPE_CHECKING:
    from llmbatch.core.settings import Settings

__all__ = ["show_requests"]


def show_requests(settings: "Settings") -> int:
    """Write the requests that a run by these settings would send; return the exit code. Raises LlmbatchError."""
    from llmbatch.app.dry_run import dry_run
    from llmbatch.app.files import check_run_files

    read, written = settings.files_read, settings.view.files
    check_run_files(settings.input, settings.output, read, written, dry_run=True, stdout=1)
    return dry_run(
        settings.input,
        settings.model,
        settings.stop,
        settings.output,
        settings.resume,
        ENVIRONMENT,
        pack=settings.pace.pack,
        verbose=settings.view.verbose,
        say=say_unless_quiet(settings.view),
        stdout_is_terminal=os.isatty(1),
    )
