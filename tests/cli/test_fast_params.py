"""What is taken as it is, typer would have made the same of."""

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperArgument, TyperOption

from llmbatch.cli.lazy_commands import VERBS, command

TEXTS = [
    "",
    " x ",
    "-",
    "a=1",
    "5",
    "-5",
    "05",
    "2.50",
    "1e3",
    "1_000",
    "5.0",
    "٥",
    "Grüße \u2028 \U0001f600",
    "no such/file",
    ".",
    "/",
    "\udcff",
    "\x1b[31m",
]
RUN = command("run")
CONTEXT = RUN.make_context("run", [])


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "config"])
def test_what_is_not_given_is_what_typer_makes_of_it(verb: str) -> None:
    called = command(verb)
    ctx = typer.Context(called)
    for parameter in called.get_params(ctx):
        if parameter.callback is None:
            assert _outcome(parameter, ctx, parameter.default) == _typers(parameter, ctx, parameter.default)


@pytest.mark.parametrize("name", ["model", "timeout", "summary_file", "inputs", "header", "limit", "rpm", "quiet"])
@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_text_is_what_typer_makes_of_it(name: str, text: str) -> None:
    parameter = next(p for p in RUN.params if p.name == name)
    for value in (text, [text], (text, "y"), True):
        assert _outcome(parameter, CONTEXT, value) == _typers(parameter, CONTEXT, value)


def test_a_file_that_cannot_be_read_is_refused_in_typers_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.touch()
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.F_OK)
    parameter = next(p for p in RUN.params if p.name == "summary_file")
    with pytest.raises(typer.BadParameter, match="is not readable"):
        parameter.process_value(CONTEXT, str(path))


def test_the_typer_is_one_whose_parameters_these_classes_fit() -> None:
    """Values are converted in `process_value`, which typer may bypass in any minor version."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    minor = int(typer.__version__.split(".")[1])
    assert f"typer>=0.{minor},<0.{minor + 1}" in project["dependencies"]
    assert TyperOption.process_value is TyperArgument.process_value
    assert all(isinstance(p, TyperOption | TyperArgument) for p in RUN.get_params(CONTEXT))


def _outcome(parameter: Any, ctx: Any, value: Any) -> Any:
    """Return the value and its type, or how it is refused."""
    try:
        made = parameter.process_value(ctx, value)
    except typer.BadParameter as error:
        return str(error)
    return type(made), made


def _typers(parameter: Any, ctx: Any, value: Any) -> Any:
    """Return the same of the parameter as typer made it."""
    own = type(parameter)
    parameter.__class__ = TyperArgument if isinstance(parameter, TyperArgument) else TyperOption
    try:
        return _outcome(parameter, ctx, value)
    finally:
        parameter.__class__ = own
