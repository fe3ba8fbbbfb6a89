"""`llmbatch config`: shows where settings come from."""

from pathlib import Path
from typing import Annotated

import typer

from llmbatch.cli import secrets, settings_file
from llmbatch.cli.completion import profiles
from llmbatch.cli.fast_params import Command, Group
from llmbatch.cli.lazy_commands import command
from llmbatch.core.errors import UsageError
from llmbatch.options.table import OPTIONS

__all__ = ["config"]

config = typer.Typer(
    name="config",
    cls=Group,
    add_completion=False,
    help="Where settings come from, each value with its origin.",
    no_args_is_help=True,
)


@config.command(cls=Command)
def path() -> None:
    """Print the path of the settings file, whether or not it is there."""
    print(_path())


def _path() -> Path:
    path = settings_file.config_path()
    if path is None:
        raise UsageError("there is no home folder for a settings file", "Set HOME or XDG_CONFIG_HOME.")
    return path


@config.command(cls=Command)
def init() -> None:
    """Write a settings file with all settings as comments. A file that is there is never touched."""
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(settings_file.commented())
    except FileExistsError:
        raise UsageError(f"{path} is there already", "llmbatch config show says what is in force.") from None
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}", "Set XDG_CONFIG_HOME to a folder that can."
        ) from None
    print(path)


@config.command(cls=Command)
def show(
    profile: Annotated[
        str | None, typer.Option(help=r"Show them under \[profile.NAME].", metavar="NAME", autocompletion=profiles)
    ] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only those that are not the default.")] = False,
) -> None:
    """Print what `run` would use without flags: one line per setting, with its origin.

    What --changed prints is TOML for a settings file; a line with a secret is a comment in it.
    """
    from llmbatch.app.servers import secret_values
    from llmbatch.core.redact import Redactor
    from llmbatch.ui.streams import notice

    ctx = command("run").make_context("run", ["--profile", profile] if profile is not None else [])
    values = settings_file.values(ctx)
    secrets.learn(Redactor(secret_values(dict(header.partition(":")[::2] for header in values["header"] or ()))))
    redact = secrets.redactor()
    for text in settings_file.unknown_variables(ctx):
        notice(text)
    for option in OPTIONS:
        origin = settings_file.origin(ctx, option.name)
        if not changed or origin != "default":
            value = settings_file.toml_value(values[option.name])
            shown = redact(value)
            print(f"{'' if shown == value else '# '}{option.key} = {shown}  # {origin}")
