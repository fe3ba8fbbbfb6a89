"""The options of a run as flags of typer, and as parameters of the function behind `llmbatch run`."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from llmbatch.cli.completion import choose, models, profiles
from llmbatch.options.option import Option
from llmbatch.options.table import NO_CONFIG, OPTIONS, PROFILE

__all__ = ["with_flags"]

_COMPLETIONS: dict[str, Callable[..., list[str]]] = {"model": models, "profile": profiles}
"""Completions of values that the kind of an option does not know."""


def with_flags(
    load_profile: Callable[[typer.Context, str | None], str | None],
    leave_out: Callable[[typer.Context, bool], bool],
) -> Callable[[Any], Any]:
    """Return a decorator that gives a function a parameter for each option, where typer looks for parameters.

    The function takes them as keywords. `load_profile` is called with the name of a profile before all others are read,
    `leave_out` with whether there is to be no settings file.
    """

    def decorate(function: Any) -> Any:
        own = inspect.signature(function)
        named = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
        options = [_parameter(option) for option in OPTIONS]
        options.append(_parameter(NO_CONFIG, is_eager=True, callback=leave_out))
        options.append(_parameter(PROFILE, is_eager=True, callback=load_profile))
        function.__signature__ = own.replace(parameters=[*named, *options])
        function.__annotations__ |= {option.name: option.annotation for option in options}
        return function

    return decorate


def _parameter(option: Option, **settings: Any) -> inspect.Parameter:
    kind, default = option.kind, option.default
    flag = typer.Option(
        option.flag,
        *([option.short] if option.short else []),
        help=option.help,
        rich_help_panel=option.panel,
        envvar=option.variable,
        metavar=option.shown_values or None,
        autocompletion=_COMPLETIONS.get(option.name) or (choose(*kind.choices) if kind.choices else None),
        **settings,
    )
    annotation = kind.type if default is not None else kind.type | None
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, flag]
    )
