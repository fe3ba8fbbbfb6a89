"""The flags of `run`, as typer has them, are those of the table."""

import pytest
import typer

from llmbatch.cli.lazy_commands import command
from llmbatch.cli.run import with_values
from llmbatch.options.option import Option
from llmbatch.options.table import ALL_FLAGS

RUN = command("run")
PARAMETERS = {parameter.name: parameter for parameter in RUN.params}


def test_typer_has_the_flags_of_the_table_in_their_order() -> None:
    assert list(PARAMETERS) == ["inputs", "help_all", *(option.name for option in ALL_FLAGS)]


@pytest.mark.parametrize("option", ALL_FLAGS, ids=lambda option: option.name)
def test_a_flag_is_what_the_table_says(option: Option) -> None:
    parameter = PARAMETERS[option.name]
    assert parameter.opts == [option.flag, *([option.short] if option.short else [])]
    assert (parameter.envvar, parameter.default) == (option.variable, option.default)
    assert (parameter.multiple, parameter.is_flag) == (option.repeats, option.kind.type is bool)


def test_the_words_of_an_option_are_completed() -> None:
    ctx = typer.Context(RUN)
    assert [item.value for item in PARAMETERS["fsync"].shell_complete(ctx, "")] == ["batch", "always", "never"]
    assert [item.value for item in PARAMETERS["provider"].shell_complete(ctx, "opena")] == ["openai"]


def test_an_option_that_may_stand_alone_gets_its_value() -> None:
    assert with_values(["--cache-system"]) == ["--cache-system", "5m"]
    assert with_values(["--cache-system", "1h", "x"]) == ["--cache-system", "1h", "x"]
    assert with_values(["--cache-system", "-m", "m"]) == ["--cache-system", "5m", "-m", "m"]
    assert with_values(["--", "--cache-system"]) == ["--", "--cache-system"]
