"""The front door: what a run needs is begun before typer is imported, and nothing is taken apart at the end."""

import gc
import os
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import TextIO

from llmbatch.core.errors import ExitCode, LlmbatchError
from llmbatch.transport_process.spawn import LOOK_AT, spawn_transport

__all__ = ["entry"]


def entry() -> None:
    """Run the command line and leave with its exit code."""
    gc.set_threshold(*LOOK_AT)
    _occupy_standard_streams()
    _drop_impossible_sizes()
    code: int = ExitCode.INTERRUPT
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        wire = None
        if _will_send(sys.argv):
            with suppress(LlmbatchError):  # tried again, and told, where it is needed
                wire = stack.enter_context(spawn_transport())
        from llmbatch.cli.main import run_to_code  # typer: here while much else is imported there

        code = run_to_code(wire)
    _silence(sys.stdout, 1)
    _silence(sys.stderr, 2)
    os._exit(code)  # all is closed and flushed; Python would take 8 ms to take the rest apart


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
