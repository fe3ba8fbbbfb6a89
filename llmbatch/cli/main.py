"""The command line's front door, and the one place where errors become exit codes."""

import gc
import os
import sys
from contextlib import suppress
from typing import TextIO

import typer

from llmbatch import __version__
from llmbatch.cli.verbs import Verbs
from llmbatch.core.errors import ExitCode, LlmbatchError, ReaderGone
from llmbatch.core.printable import printable

__all__ = ["app", "entry", "run_to_code"]

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


def entry() -> None:
    """Run the command line and leave with its exit code."""
    # What a record needs dies by itself, and what is imported stays: looking for cycles as often as by default costs
    # a twentieth of a short run and a tenth of a long one.
    gc.set_threshold(50_000, 20, 100)
    code = run_to_code()
    _silence(sys.stdout, 1)
    _silence(sys.stderr, 2)
    os._exit(code)  # all is closed and flushed; Python would take 8 ms to take the rest apart


def run_to_code() -> int:
    """Run the command line; return the exit code instead of leaving."""
    try:
        _occupy_standard_streams()
        app(standalone_mode=True)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer makes a 1 of it, which is taken
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
    if isinstance(first, LlmbatchError):
        _say(redact(f"llmbatch: {first.message}"))
        if first.hint:
            _say(redact(first.hint))
        return first.exit_code
    if "--debug" in sys.argv:
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            _say(redact(line))
    if isinstance(first, MemoryError):
        _say("llmbatch: there is not enough memory for so many or so large answers at once")
        _say("Lower -c, then run the same command again: with -o what is recorded is kept.")
        return ExitCode.BUG
    _say(redact(f"llmbatch: a bug: {type(first).__name__}: {first}"))
    _say("Run it again with --debug and report what it prints.")
    return ExitCode.BUG


def _say(text: str) -> None:
    with suppress(OSError):
        os.write(2, f"{printable(text, 1000)}\n".encode("utf-8", "replace"))


def _occupy_standard_streams() -> None:
    """Put something at a closed stdin, stdout or stderr, lest a file of ours gets its number and foreign text.

    What stands in for stdout cannot be written to, so that results do not vanish there.
    """
    for fd, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, flags)


def _silence(stream: TextIO | None, fd: int) -> None:
    """Keep the interpreter from complaining at exit, with a code of its own, that nobody takes what is left."""
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
