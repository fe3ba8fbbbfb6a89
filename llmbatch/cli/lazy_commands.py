"""The verbs. Each is imported when it is called or listed, so that more verbs do not slow down `--version`."""

from collections import UserDict
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

from llmbatch.cli.fast_params import Command, Group

if TYPE_CHECKING:
    from typer._click.core import Context
    from typer._click.formatting import HelpFormatter

__all__ = ["Verbs", "command"]

VERBS = ("run", "report", "verify", "convert", "batches", "split", "limits", "mock", "providers", "config", "help")
"""The verbs in the order of `--help`. Each is a module here that holds a function or typer.Typer of its name,
and perhaps its class of commands, COMMAND."""

_EXAMPLES = (
    ("llmbatch run prompts.jsonl -m MODEL -o results.jsonl", "run it again to continue"),
    ("llmbatch run in.csv -t 'Rate: {{ text }}' -m MODEL", "a table and a template"),
    ("echo '\"Why is the sky blue?\"' | llmbatch run -p mock", "no key, no network"),
)
_CLOSING = (
    "llmbatch run --help shows the options that matter; llmbatch help lists the pages of the manual: records, resume, "
    "cost, recipes, troubleshooting and others."
)


class Verbs(Group):
    """A group whose commands are the verbs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(dict.fromkeys(VERBS))

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the help of the program."""
        from llmbatch.cli.help_text import group_help

        formatter.write(group_help(ctx, examples=_EXAMPLES, closing=_CLOSING))


class _Commands(UserDict[str, Any]):
    """The dict of commands that typer expects. A value of None is a command that is not made yet."""

    def __getitem__(self, verb: str) -> Any:
        if self.data[verb] is None:
            self.data[verb] = command(verb)
        return self.data[verb]


def command(verb: str) -> Any:
    """Import a verb and return its command."""
    module = import_module(f"llmbatch.cli.{verb}")
    found = getattr(module, verb)
    if not isinstance(found, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command(cls=getattr(module, "COMMAND", Command))(found)
        found = app
    return typer.main.get_command(found)
