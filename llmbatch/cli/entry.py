"""Entry point of the command: starts the transport process of a run before it imports typer, and exits quickly.

The top of this module imports little: if memory or open files are short, a later import fails where the error can be
explained.
"""

import os
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import TextIO

from llmbatch.core.stderr import write_stderr

__all__ = ["entry"]


def entry() -> None:
    """Run the command line and leave with its exit code."""
    try:
        code = _run()
    except Exception as error:
        code = _cannot_start(error)
    _silence(sys.stdout, 1)
    _silence(sys.stderr, 2)
    os._exit(code)  # everything is closed and flushed; an orderly shutdown would only cost time


def _run() -> int:
    import gc

    from llmbatch.core.errors import ExitCode, LlmbatchError
    from llmbatch.transport_process.spawn import LOOK_AT, spawn_transport

    gc.set_threshold(*LOOK_AT)
    _occupy_standard_streams()
    _drop_impossible_sizes()
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        transport = refusal = None
        if _will_send(sys.argv):
            try:
                transport = stack.enter_context(spawn_transport())
            except LlmbatchError as error:
                refusal = error  # the run tries again, and reports the error
        from llmbatch.cli.main import run_to_code  # imports typer while the transport process starts

        return run_to_code(transport, refusal)
    return ExitCode.INTERRUPT


def _cannot_start(error: Exception) -> int:
    """Say why the command line could not start; return the exit code."""
    message, code = f"cannot start: {type(error).__name__}: {error}", 70
    with suppress(Exception):  # the shortage may make this import fail too
        from llmbatch.core.errors import ExitCode, OutOfMemory
        from llmbatch.core.system_limits import explain_shortage

        shortage = explain_shortage(error)
        if isinstance(shortage, OutOfMemory):  # nothing is in flight yet that fewer workers would make smaller
            message = "there is too little memory to start\nRaise `ulimit -v`, then run the same command again."
            code = ExitCode.USAGE
        elif shortage is not None:
            message, code = f"{shortage.message}\n{shortage.hint}", shortage.exit_code
    write_stderr(f"llmbatch: {message}\n".encode("utf-8", "replace"))
    return code


def _will_send(words: Sequence[str]) -> bool:
    return words[1:2] == ["run"] and {"-h", "--help", "--dry-run"}.isdisjoint(words)


def _occupy_standard_streams() -> None:
    """Open something in the place of a closed stdin, stdout or stderr, so that no other file gets its number.

    The replacement of stdin cannot be read and that of stdout cannot be written, so that using them fails.
    """
    for fd, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, flags)
    if sys.stdout is None:  # what `print` and typer write would be lost without an error
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115


def _drop_impossible_sizes() -> None:
    """Remove COLUMNS and LINES if they cannot be the size of a terminal: rich accepts even a 0."""
    from llmbatch.core.environment import ENVIRONMENT

    for name, least in (("COLUMNS", 20), ("LINES", 5)):
        value = ENVIRONMENT.get(name)
        if value is not None and not (re.fullmatch("[0-9]{1,4}", value) and int(value) >= least):
            del ENVIRONMENT[name]


def _silence(stream: TextIO | None, fd: int) -> None:
    """Flush a stream; if its reader is gone, point it at /dev/null, or the interpreter would fail at exit."""
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
