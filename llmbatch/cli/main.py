"""The command line. Only this module turns errors into exit codes."""

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from llmbatch.cli.lazy_commands import Verbs
from llmbatch.core.errors import ExitCode, LlmbatchError, ReaderGone
from llmbatch.core.printable import printable
from llmbatch.core.system_limits import explain_shortage
from llmbatch.core.version import __version__

if TYPE_CHECKING:
    from llmbatch.transport_process.parent import TransportProcess

__all__ = ["app", "run_to_code"]

app = typer.Typer(
    name="llmbatch",
    cls=Verbs,
    help="Bulk prompts for any LLM HTTP API: JSONL in, JSONL out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"llmbatch {__version__} (Python {sys.version.split()[0]})")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    pass


def run_to_code(transport: "TransportProcess | None" = None) -> int:
    """Run the command line; return the exit code. Without `transport` a run starts its own."""
    try:
        app(standalone_mode=True, obj=transport)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer exits with 1, which has another meaning here
            return ExitCode.READER_GONE
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPT
    except Exception as error:
        return _explain(error)
    return ExitCode.OK


def _explain(error: Exception) -> int:
    """Say what happened and what to do; return the exit code."""
    first = error
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, BrokenPipeError | ReaderGone):
        return ExitCode.READER_GONE
    from llmbatch.cli.secrets import redactor

    redact = redactor()
    reason = first if isinstance(first, LlmbatchError) else explain_shortage(error)
    if reason is not first and "--debug" in sys.argv:
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            _say(redact(line))
    if reason is not None:
        _say(redact(f"llmbatch: {reason.message}"))
        if reason.hint:
            _say(redact(reason.hint))
        return reason.exit_code
    _say(redact(f"llmbatch: a bug: {type(first).__name__}: {first}"))
    _say("Run it again with --debug and report what it prints.")
    return ExitCode.BUG


def _say(text: str) -> None:
    with suppress(OSError):
        os.write(2, f"{printable(text, 1000)}\n".encode("utf-8", "replace"))
