"""Arguments that several verbs have."""

import typer

__all__ = ["RESULTS_FILES"]

RESULTS_FILES = typer.Argument(
    metavar="FILE",
    help="Results files, shards too, or the DIR/ of a run; none or - is stdin.",
    show_default=False,
)
