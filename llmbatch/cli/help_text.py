"""Help of commands as text: what a command does, its arguments and options, without boxes, types and rich."""

import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from typer.core import TyperOption

from llmbatch.core.environment import ENVIRONMENT

if TYPE_CHECKING:
    from typer._click.core import Command, Context, Parameter

__all__ = ["aligned", "command_help", "group_help", "heading", "paragraphs", "width"]

COLUMN = 32
"""Where explanations begin, at most; longer names have theirs on the next line."""

_COMMAND_LINE = re.compile("([A-Z_]+=[^ ]+ )*[a-z]+ ")


def command_help(ctx: "Context") -> str:
    """Return the help of a command; of the options of a run, which have panels, the names alone."""
    lines = [f"Usage: {ctx.command_path} {' '.join(_usage(ctx))}", "", *paragraphs(ctx.command.help or "")]
    options = [one for one in _shown(ctx) if not _is_argument(one)]
    for title, members in (
        ("Arguments", [one for one in _shown(ctx) if _is_argument(one)]),
        ("Options", [one for one in options if not _of_a_run(one)]),
    ):
        if members:
            lines += ["", heading(title), *aligned([(_names(one), _explained(one)) for one in members])]
    if flags := [one.opts[0] for one in options if _of_a_run(one)]:
        lines += ["", heading("Options of the run") + ", in llmbatch run --help-all"]
        lines += _wrapped(" ".join(flags), indent="  ")
    return "\n".join(lines) + "\n"


def group_help(ctx: "Context", *, examples: Iterable[tuple[str, str]] = (), closing: str = "") -> str:
    """Return the help of a group of commands, with command lines as examples and a last paragraph."""
    commands: dict[str, Command] = dict(getattr(ctx.command, "commands", {}))
    lines = [*paragraphs(ctx.command.help or ""), "", f"Usage: {ctx.command_path} COMMAND [OPTIONS] [ARGUMENTS]"]
    if rows := [*examples]:
        lines += ["", *aligned(rows, 60)]
    lines += ["", heading("Commands"), *aligned([(name, _summary(one)) for name, one in commands.items()])]
    lines += ["", heading("Options"), *aligned([(_names(one), _explained(one)) for one in _shown(ctx)])]
    if closing:
        lines += ["", *_wrapped(closing)]
    return "\n".join(lines) + "\n"


def aligned(rows: Iterable[tuple[str, str]], column: int = COLUMN) -> Iterator[str]:
    """Yield names with their explanations beside them, below where the names are long."""
    rows = [*rows]
    column = min(column, 4 + max((len(names) for names, _ in rows), default=0))
    for names, text in rows:
        names = f"  {names}"
        wrapped = textwrap.wrap(text, width() - column, break_on_hyphens=False)
        if len(names) > column - 2 or not wrapped:
            yield names
            names = ""
        for number, line in enumerate(wrapped):
            yield f"{'' if number else names:<{column}}{line}".replace("\xa0", " ")


def paragraphs(doc: str) -> Iterator[str]:
    """Yield a docstring as lines: prose as wide as the screen, command lines as they are."""
    for number, block in enumerate(inspect.cleandoc(doc).replace("\\[", "[").split("\n\n")):
        if number:
            yield ""
        if _COMMAND_LINE.match(block):
            yield from (f"  {line.strip()}" for line in block.splitlines())
        else:
            yield from _wrapped(block)


def width() -> int:
    """Return how many columns help may take."""
    return max(60, min(120, shutil.get_terminal_size((100, 24)).columns))


def heading(text: str) -> str:
    """Write a heading, bold where it is seen on a terminal."""
    if ENVIRONMENT.get("NO_COLOR") or ENVIRONMENT.get("TERM") == "dumb" or not sys.stdout.isatty():
        return text
    return f"\x1b[1m{text}\x1b[0m"


def _usage(ctx: "Context") -> Iterator[str]:
    yield "[OPTIONS]"
    for one in _shown(ctx):
        if _is_argument(one):
            several = "..." if one.nargs == -1 else ""
            yield f"{_values(one)}{several}" if one.required else f"[{_values(one)}]{several}"
        elif one.required:
            yield f"{min(one.opts, key=len)} {_values(one)}"


def _shown(ctx: "Context") -> list["Parameter"]:
    return [one for one in ctx.command.get_params(ctx) if not getattr(one, "hidden", False)]


def _is_argument(parameter: "Parameter") -> bool:
    return parameter.param_type_name == "argument"


def _of_a_run(parameter: "Parameter") -> bool:
    return getattr(parameter, "rich_help_panel", None) is not None


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width(), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _summary(command: "Command") -> str:
    """Return the first statement about a command."""
    return re.split(r"[.;](?:\s|$)", (command.help or "").partition("\n\n")[0].replace("\n", " "), maxsplit=1)[0]


def _names(parameter: "Parameter") -> str:
    """Write an option as it is typed, or the name of an argument."""
    if _is_argument(parameter):
        return _values(parameter)
    short = next((name for name in parameter.opts if not name.startswith("--")), "")
    long = [name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--")]
    words = f"{short}, {', '.join(long)}" if short else f"    {', '.join(long)}"
    return words if getattr(parameter, "is_flag", False) else f"{words} {_values(parameter)}"


def _values(parameter: "Parameter") -> str:
    name = parameter.metavar or ""
    if _is_argument(parameter):
        return name.strip("[.]") or (parameter.name or "").upper()
    return name or "VALUE"


def _explained(parameter: "Parameter") -> str:
    """Return the help of a parameter, with its default where that says something."""
    text = (getattr(parameter, "help", None) or "").replace("\\[", "[").replace("{{ field }}", "{{\xa0field\xa0}}")
    default: Any = parameter.default
    if not isinstance(parameter, TyperOption) or "Default:" in text or default in (None, False, "", ()):
        return text
    if isinstance(default, float):
        default = f"{default:g}"
    shown = parameter.opts[0] if default is True else default
    return text if default == "0" else f"{text} Default: {shown}."
