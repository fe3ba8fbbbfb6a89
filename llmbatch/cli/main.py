"""The command line. Only this module turns errors into exit codes."""

import os
import re
import sys
from typing import TYPE_CHECKING

import typer
from typer._click.exceptions import ClickException, MissingParameter, NoArgsIsHelpError, NoSuchOption

from llmbatch.cli.fast_params import in_plain_words
from llmbatch.cli.lazy_commands import VERBS, Verbs
from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import ExitCode, LlmbatchError, OutOfMemory, ReaderGone
from llmbatch.core.path_errors import explain_os_error
from llmbatch.core.printable import printable
from llmbatch.core.stderr import from_here, write_stderr
from llmbatch.core.system_limits import explain_shortage
from llmbatch.core.version import __version__

if TYPE_CHECKING:
    from typer._click.core import Context

    from llmbatch.transport_process.parent import TransportProcess

__all__ = ["app", "run_to_code"]

_STOPPED = "Event loop stopped before Future completed."
"""What uvloop says when a second Ctrl-C comes before a run has begun to receive signals."""

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
    version: bool = typer.Option(False, "--version", "-V", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    pass


def run_to_code(transport: "TransportProcess | None" = None, refusal: LlmbatchError | None = None) -> int:
    """Run the command line; return the exit code. Without `transport` a run starts its own.

    `refusal` says why it could not be started before: where memory is too short for that, other parts fail first.
    """
    try:
        code = app(standalone_mode=False, obj=transport)
        sys.stdout.flush()
    except ClickException as error:
        return _explain_usage(error)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer exits with 1, which has another meaning here
            return ExitCode.READER_GONE
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPT
    except Exception as error:
        if isinstance(error, RuntimeError) and str(error) == _STOPPED:
            return ExitCode.INTERRUPT
        out_of_memory = isinstance(explain_shortage(error), OutOfMemory)
        return _explain(refusal if refusal is not None and out_of_memory else error)
    return code if isinstance(code, int) else ExitCode.OK


def _explain_usage(error: ClickException) -> int:
    """Say which word of the command line is wrong, and what is right; return the exit code."""
    context = getattr(error, "ctx", None)
    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return error.exit_code
    verb = sys.argv[1] if sys.argv[1:2] and sys.argv[1] in VERBS else ""
    command = context.command_path if context is not None else f"llmbatch {verb}".strip()
    message = error.format_message().partition(" (Possible")[0].partition(" Did you mean")[0].rstrip(".")
    message = in_plain_words(message)
    variable = re.search(r" \(env var: '(.*?)'\)", message)
    if variable is not None and variable[1] not in ENVIRONMENT:  # the value is that of the flag
        message = message.replace(variable[0], "")
    _say(f"{command}: {message[:1].lower()}{message[1:]}")
    _say(_advice(error, command, context))
    return error.exit_code


def _advice(error: ClickException, command: str, context: "Context | None") -> str:
    from llmbatch.cli.guesses import about_command, about_option
    from llmbatch.options.table import ALL_FLAGS

    if isinstance(error, NoSuchOption) and context is not None:
        if context.parent is None and any(error.option_name in (one.flag, one.short) for one in ALL_FLAGS):
            return f"Options stand behind the command: llmbatch run {error.option_name} ..."
        options = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
        if answer := about_option(error.option_name, options):
            return answer
    elif (name := _unknown_command(error)) is not None:
        if context is not None and context.parent is not None:  # a command of a group, as `config`
            return about_command(name, list(getattr(context.command, "commands", VERBS)), is_file=False, of=command)
        return about_command(name, VERBS, is_file=os.path.isfile(name))
    elif isinstance(error, MissingParameter) and error.param is not None:
        short, values = min(error.param.opts, key=len), error.param.metavar or ""
        return f"Add {f'{short} ' if short.startswith('-') else ''}{values}; {command} --help shows more."
    return f"{command} --help shows what there is."


def _unknown_command(error: ClickException) -> str | None:
    found = re.match(r"No such command '(.*?)'\.", error.format_message(), re.DOTALL)
    return found[1] if found else None


def _explain(error: Exception) -> int:
    """Say what happened and what to do; return the exit code."""
    first = error
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, BrokenPipeError | ReaderGone):
        return ExitCode.READER_GONE
    from llmbatch.cli.secrets import redactor

    redact = redactor()
    reason = first if isinstance(first, LlmbatchError) else explain_shortage(error) or explain_os_error(first)
    if reason is not first and ("--debug" in sys.argv or "LLMBATCH_DEBUG" in ENVIRONMENT):
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            _say(redact(line))
    if reason is not None:
        _say(redact(f"llmbatch: {reason.message}"))
        if reason.hint:
            _say(redact(reason.hint))
        return reason.exit_code
    _say(redact(f"llmbatch: a bug: {type(first).__name__}: {first}"))
    how = "with --debug" if "run" in sys.argv[1:2] else "with LLMBATCH_DEBUG=1 set"
    _say(f"Run it again {how} and report what it prints; what is recorded is safe.")
    return ExitCode.BUG


def _say(text: str) -> None:
    write_stderr(f"{printable(from_here(text), 1000)}\n".encode("utf-8", "replace"))
