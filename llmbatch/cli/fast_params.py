"""Parameters that convert plain text and defaults themselves: typer would import pydantic for that."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

if TYPE_CHECKING:
    from typer._click.core import Context, Parameter
    from typer._click.formatting import HelpFormatter

__all__ = ["Command", "Group", "in_plain_words"]


class Command(TyperCommand):
    """A command with such parameters."""

    def get_params(self, ctx: "Context") -> "list[Parameter]":
        """Return the parameters, including `--help`."""
        return _with_our_classes(super().get_params(ctx))

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the help of the command."""
        from llmbatch.cli.help_text import command_help

        formatter.write(command_help(ctx))


class Group(TyperGroup):
    """A group of commands with such parameters."""

    def get_params(self, ctx: "Context") -> "list[Parameter]":
        """Return the parameters, including `--help`."""
        return _with_our_classes(super().get_params(ctx))

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the help of the group."""
        from llmbatch.cli.help_text import group_help

        formatter.write(group_help(ctx))


class _Option(TyperOption):
    def process_value(self, ctx: "Context", value: Any) -> Any:
        """Convert a value and pass it to the callback."""
        return _process(self, ctx, value, super().process_value)


class _Argument(TyperArgument):
    def process_value(self, ctx: "Context", value: Any) -> Any:
        """Convert a value and pass it to the callback."""
        return _process(self, ctx, value, super().process_value)


def _with_our_classes(parameters: "list[Parameter]") -> "list[Parameter]":
    """Replace the classes of parameters in place: typer has no setting for them."""
    for parameter in parameters:
        if type(parameter) is TyperOption:
            parameter.__class__ = _Option
        elif type(parameter) is TyperArgument:
            parameter.__class__ = _Argument
    return parameters


def _process(
    parameter: TyperOption | TyperArgument, ctx: "Context", value: Any, fallback: "Callable[[Context, Any], Any]"
) -> Any:
    try:
        converted = _convert(parameter, ctx, value)
    except (LookupError, ValueError):
        return fallback(ctx, value)
    return converted if parameter.callback is None else parameter.callback(ctx, parameter, converted)


def _convert(parameter: TyperOption | TyperArgument, ctx: "Context", value: Any) -> Any:
    """Convert a value as typer would. Raises LookupError or ValueError if typer itself must convert or reject it."""
    if value is None or value is parameter.default:
        if parameter.required:
            raise ValueError("the value is missing")
        return () if value is None and (parameter.multiple or parameter.nargs == -1) else value
    if ctx.command.callback is None:
        raise LookupError("a group without a function")
    annotation, *_ = get_args(ctx.command.callback.__annotations__[parameter.name])
    return _CONVERTERS[annotation](value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("typer knows more kinds of text")
    value.encode()  # raises UnicodeEncodeError, a ValueError, for arguments that are not UTF-8
    return value


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list | tuple):
        raise ValueError("this is one, and no list")
    return [_text(value) for value in values]


def _path(value: Any) -> Path:
    path = Path(_text(value))
    if os.access(path, os.F_OK) and not os.access(path, os.R_OK):
        raise ValueError("it cannot be read")
    return path


def _whole_number(value: Any) -> int:
    if not re.fullmatch("-?[0-9]{1,18}", _text(value)):
        raise ValueError("typer knows more ways to write it")
    return int(value)


def _number(value: Any) -> float:
    if not re.fullmatch("-?[0-9]{1,18}([.][0-9]{1,18})?", _text(value)):
        raise ValueError("typer knows more ways to write it")
    return float(value)


_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    str: _text,
    str | None: _text,
    list[str] | None: _texts,
    Path: _path,
    Path | None: _path,
    int: _whole_number,
    int | None: _whole_number,
    float | None: _number,
}
"""The converter of a parameter, by its annotation."""

_KINDS = {"integer": "a whole number", "number": "a number", "boolean": "yes or no", "string": "UTF-8 text"}


def in_plain_words(message: str) -> str:
    """Replace pydantic's words about a value of the wrong type."""
    return re.sub(
        r"Input should be a valid (\w+)(, unable to .*)?",
        lambda found: f"must be {_KINDS.get(found[1], found[1])}",
        message,
    )
