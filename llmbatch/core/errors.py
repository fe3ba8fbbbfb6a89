"""Why a whole run fails, each with its exit code. A failed record is a value, never one of these.

LlmbatchError
 ├── UsageError        2   contradictory or missing options, a template that cannot work
 ├── InputError        3   input missing or unreadable
 ├── ActionNeeded      4   credentials, credit, model, address: a person must act
 ├── CeilingReached    5   failures, cost, deadline, wait, outage
 ├── OutputError       6   results could not be written
 ├── OutputBusy       75   another run holds the output
 ├── ReaderGone      141   the reader of stdout went away
 ├── Interrupted   128+n   stopped by signal n
 ├── OutOfMemory      70   the answers at hand do not fit
 └── OutOfResources   70   the system refuses another open file or thread
"""

import signal
from enum import IntEnum
from typing import Any

__all__ = [
    "ActionNeeded",
    "CeilingReached",
    "ExitCode",
    "InputError",
    "Interrupted",
    "LlmbatchError",
    "OutOfMemory",
    "OutOfResources",
    "OutputBusy",
    "OutputError",
    "ReaderGone",
    "UsageError",
]


class ExitCode(IntEnum):
    """What the process tells the shell."""

    OK = 0
    FAILURES = 1
    USAGE = 2
    INPUT = 3
    ACTION = 4
    CEILING = 5
    OUTPUT = 6
    HELD = 7
    PENDING = 8
    BUG = 70
    BUSY = 75
    HANGUP = 129
    INTERRUPT = 130
    READER_GONE = 141
    TERMINATED = 143


class LlmbatchError(Exception):
    """A run that cannot go on: what happened, and in `hint` what to do next."""

    exit_code = ExitCode.BUG
    by = "bug"
    """The cause in a word, for programs that read the summary."""
    recorded = False
    """Set when the results so far are safe all the same."""
    run: Any = None
    """In the Python API: the run, with the results so far."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LlmbatchError):
    """The command line, the settings or the results file do not fit together; nothing was sent."""

    exit_code = ExitCode.USAGE
    by = "usage"


class InputError(LlmbatchError):
    """The input is missing or cannot be read."""

    exit_code = ExitCode.INPUT
    by = "input"


class ActionNeeded(LlmbatchError):
    """Every record would fail for the same reason until a person acts."""

    exit_code = ExitCode.ACTION
    by = "action"


class CeilingReached(LlmbatchError):
    """A limit that the user set, or a wait, ran out; the run can be continued."""

    exit_code = ExitCode.CEILING

    def __init__(self, message: str, hint: str | None = None, *, by: str = "ceiling") -> None:
        super().__init__(message, hint)
        self.by = by


class OutputError(LlmbatchError):
    """Results could not be written."""

    exit_code = ExitCode.OUTPUT
    by = "output"
    rescued = False
    """Set when the message names a file that holds answers: it must be shown, even where others are not."""


class OutputBusy(LlmbatchError):
    """Another run holds the same output."""

    exit_code = ExitCode.BUSY
    by = "busy"


class ReaderGone(LlmbatchError):
    """The reader of stdout closed the pipe."""

    exit_code = ExitCode.READER_GONE
    by = "reader"


_SIGNALS = {
    signal.SIGINT: "interrupted by Ctrl-C (SIGINT)",
    signal.SIGTERM: "asked to end (SIGTERM)",
    signal.SIGHUP: "ended because the terminal went away (SIGHUP)",
}


class Interrupted(LlmbatchError):
    """A signal asked the run to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(_SIGNALS.get(signal.Signals(signum)) or f"ended by {signal.Signals(signum).name}")
        self.exit_code = ExitCode(128 + signum)
        self.by = "signal"


class OutOfMemory(LlmbatchError):
    """What is in flight takes more memory than there is."""

    by = "memory"

    def __init__(self) -> None:
        super().__init__(
            "there is not enough memory for so many or so large answers at once",
            "Lower -c, then run the same command again: with -o what is recorded is kept.",
        )


class OutOfResources(LlmbatchError):
    """The system refuses another open file or thread in the middle of the work."""

    by = "resources"
