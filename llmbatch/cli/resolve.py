"""Turns a parsed command line into Settings."""

from pathlib import Path
from typing import Any

import typer

from llmbatch.cli.secrets import learn_addresses
from llmbatch.cli.settings_file import RANK, config_path, origin, values
from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import UsageError
from llmbatch.core.settings import Settings
from llmbatch.options.option import Option
from llmbatch.options.resolve import check_batch_options, to_settings
from llmbatch.options.table import OPTIONS

__all__ = ["resolve"]

_FLAGS = {option.name: option.flag for option in OPTIONS} | {"output": "-o FILE"}


def resolve(ctx: typer.Context) -> Settings:
    """Build the settings from a parsed command line. Raises UsageError."""
    written = {name: value for name, value in values(ctx).items() if origin(ctx, name) != "default" and value != []}
    _drop_weaker(ctx, written, "provider", "base_url")
    _drop_weaker(ctx, written, "key_env", "key_file", "key_command")
    _place_in_array(written)
    read = {option.name: _read(ctx, option, written[option.name]) for option in OPTIONS if option.name in written}
    _shape_stdout(read)
    check_batch_options(read, [name for name in read if origin(ctx, name) == "flag"], _FLAGS.__getitem__)
    inputs = written.get("inputs", ())
    learn_addresses(inputs)
    settings = to_settings(read, inputs, _FLAGS.__getitem__)
    return settings._replace(read_files=_read_files(written))


def _read(ctx: typer.Context, option: Option, value: Any) -> Any:
    """Read the value of an option. Raises UsageError, which names the variable or the key if the value is no flag's."""
    try:
        return option.read(option.flag, value)
    except UsageError as error:
        match origin(ctx, option.name):
            case "environment":
                place = option.variable
            case "profile" | "file":
                place = f"{config_path()}: {option.key}"
            case _:
                raise
        raise UsageError(f"{place}: {error.message}", error.hint) from None


def _place_in_array(written: dict[str, Any]) -> None:
    """Replace `--shard auto` by the place in the array job that this process is. Raises UsageError."""
    of = written.pop("of", None)
    if written.get("shard") != "auto":
        if of is not None:
            raise UsageError("--of is for --shard auto", "Without it, write --shard I/N.")
        return
    if not str(written.get("output", "")).endswith("/"):
        raise UsageError(
            "--shard auto needs -o DIR/", "Each worker takes parts of one plan; -o FILE takes --shard I/N."
        )
    from llmbatch.parts.array_job import shard_of_array

    written["shard"] = "{}/{}".format(*shard_of_array(ENVIRONMENT, of))


def _drop_weaker(ctx: typer.Context, written: dict[str, Any], *options: str) -> None:
    """Drop those of the options which come from a weaker source than another; from the same source all count."""
    ranks = {name: RANK.index(origin(ctx, name)) for name in options if name in written}
    for name, rank in ranks.items():
        if rank > min(ranks.values()):
            del written[name]


def _shape_stdout(read: dict[str, Any]) -> None:
    """Settle the shape of stdout: `--raw` alone means text. Raises UsageError."""
    if read.get("raw") and read.setdefault("output_format", "text") != "text":
        raise UsageError(f"--raw is text, not {read['output_format']}", "Leave one of them out.")
    form = read.get("output_format", Settings().output.format)
    has_output = any(read.get("output", ()))
    if has_output and form != "jsonl" and not read.get("tee"):
        raise UsageError(f"-o is always llmbatch JSONL, not {form}", "Leave -o out to shape stdout, or add --tee.")
    if "error_file" in read and form not in ("openai-batch", "cookbook"):
        raise UsageError("--error-file needs --output-format openai-batch or cookbook", "Add it, or leave it out.")


def _read_files(written: dict[str, Any]) -> tuple[tuple[str, Path], ...]:
    """Return the files that the settings come from, with what names them."""
    redo = written.get("redo", "")
    files: dict[str, Path | None] = {
        "the settings file": config_path(),
        "--schema": written.get("schema"),
        "--redo": Path(redo[1:]) if redo.startswith("@") else None,
    }
    return tuple((words, path) for words, path in files.items() if path is not None)
