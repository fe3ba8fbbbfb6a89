"""`llmbatch config`: shows where settings come from."""

from typing import Annotated

import typer

from llmbatch.cli import secrets, settings_file
from llmbatch.cli.lazy_commands import command
from llmbatch.core.errors import UsageError
from llmbatch.options.table import OPTIONS

__all__ = ["config"]

config = typer.Typer(
    name="config",
    add_completion=False,
    help="Where settings come from, each value with its origin.",
    no_args_is_help=True,
)


@config.command()
def path() -> None:
    """Print the path of the settings file, whether or not it is there."""
    path = settings_file.config_path()
    if path is None:
        raise UsageError("there is no home folder for a settings file", "Set HOME or XDG_CONFIG_HOME.")
    print(path)


@config.command()
def show(
    profile: Annotated[str | None, typer.Option(help=r"Show them under \[profile.NAME].", metavar="NAME")] = None,
) -> None:
    """Print what `run` would use without flags: one line per setting, with its origin."""
    import json

    from llmbatch.app.servers import secret_values

    ctx = command("run").make_context("run", ["--profile", profile] if profile is not None else [])
    values = settings_file.values(ctx)
    secrets.learn(secret_values(dict(header.partition(":")[::2] for header in values["header"] or ())))
    redact = secrets.redactor()
    for option in OPTIONS:
        shown = redact(json.dumps(values[option.name], default=str))
        print(f"{option.key} = {shown}  # {settings_file.origin(ctx, option.name)}")
