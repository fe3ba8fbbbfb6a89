"""The verbs, each imported when it is called or listed: `--version` costs the same however many there are."""

from collections import UserDict
from importlib import import_module
from typing import Any

import typer

from llmbatch.cli.fast_params import Command, Group

__all__ = ["Verbs", "command"]

VERBS = ("run", "report", "verify", "convert", "mock", "providers", "config")
"""In the order of `--help`. Each is a module here, and in it a function or a typer.Typer of the same name."""


class Verbs(Group):
    """A group whose commands are the verbs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(dict.fromkeys(VERBS))


class _Commands(UserDict[str, Any]):
    """What typer takes for a dict of commands. None stands for one that is not made yet."""

    def __getitem__(self, verb: str) -> Any:
        if self.data[verb] is None:
            self.data[verb] = command(verb)
        return self.data[verb]


def command(verb: str) -> Any:
    """Import a verb; return its command."""
    found = getattr(import_module(f"llmbatch.cli.{verb}"), verb)
    if not isinstance(found, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command(cls=Command)(found)
        found = app
    return typer.main.get_command(found)
