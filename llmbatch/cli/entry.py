"""The front door: starts what a run needs before typer is imported, and leaves without taking anything apart.

Imports little at the top: where memory or open files are short, what fails later can be explained.
"""

import os
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import TextIO

__all__ = ["entry"]


def entry() -> None:
    """Run the command line and leave with its exit code."""
    try:
        code = _run()
    except Exception as error:
        code = _cannot_start(error)
    _silence(sys.stdout, 1)
    _silence(sys.stderr, 2)
    os._exit(code)  # all is closed and flushed; taking the rest apart would only cost time


def _run() -> int:
    import gc

    from llmbatch.core.errors import ExitCode, LlmbatchError
    from llmbatch.transport_process.spawn import LOOK_AT, spawn_transport

    gc.set_threshold(*LOOK_AT)
    _occupy_standard_streams()
    _drop_impossible_sizes()
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        transport = None
        if _will_send(sys.argv):
            with suppress(LlmbatchError):  # tried again, and told, where it is needed
                transport = stack.enter_context(spawn_transport())
        from llmbatch.cli.main import run_to_code  # typer: here while much else is imported there

        return run_to_code(transport)
    return ExitCode.INTERRUPT


def _cannot_start(error: Exception) -> int:
    """Say why not even the command line could be started; return the exit code."""
    message, code = f"cannot start: {type(error).__name__}: {error}", 70
    with suppress(Exception):  # what is short may be short for this import, too
        from llmbatch.core.system_limits import explain_shortage

        shortage = explain_shortage(error)
        if shortage is not None:
            message, code = f"{shortage.message}\n{shortage.hint}", shortage.exit_code
    with suppress(OSError):
        os.write(2, f"llmbatch: {message}\n".encode("utf-8", "replace"))
    return code


def _will_send(words: Sequence[str]) -> bool:
    return words[1:2] == ["run"] and {"-h", "--help", "--dry-run"}.isdisjoint(words)


def _occupy_standard_streams() -> None:
    """Open something in the place of a closed stdin, stdout or stderr, so that no other file gets its number.

    What stands in for stdin cannot be read and what stands in for stdout cannot be written, so that whoever needs them
    notices.
    """
    for fd, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, flags)


def _drop_impossible_sizes() -> None:
    """Remove COLUMNS and LINES where they cannot be the size of a terminal: rich believes even a 0."""
    for name, least in (("COLUMNS", 20), ("LINES", 5)):
        value = os.environ.get(name)
        if value is not None and not (re.fullmatch("[0-9]{1,4}", value) and int(value) >= least):
            del os.environ[name]


def _silence(stream: TextIO | None, fd: int) -> None:
    """Keep the interpreter from complaining at exit, with a code of its own, that nobody takes what is left."""
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
