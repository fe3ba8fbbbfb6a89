"""Starts and ends the transport process, which holds the connections."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmbatch.core.system_limits import allow_open_files, cannot_start, check_memory, check_open_files

if TYPE_CHECKING:
    from llmbatch.transport_process.parent import TransportProcess

__all__ = ["LOOK_AT", "PROGRAM", "spawn_transport"]

LOOK_AT = (200_000, 20, 100)
"""Thresholds of the garbage collector (`gc.set_threshold`) in both processes. The objects of a record are freed without
it and imported modules stay, so that collecting as often as by default would only cost time."""

PROGRAM = (
    f"import gc, sys; gc.set_threshold(*{LOOK_AT}); sys.path[:] = sys.argv[1:]; "
    "from llmbatch.transport_process.child import main; main()"
)
"""It gets this process's module search path as arguments."""
_FILES = 32
"""More files than either process opens before the first request."""
_MEMORY = 96 << 20
"""More memory than either process maps before the first request."""
_PATIENCE = 5.0
"""Seconds for the other process to end once its connection is closed."""


@contextmanager
def spawn_transport() -> Iterator["TransportProcess"]:
    """Start the process; end it on exit. It also ends at once when this process does, even by SIGKILL.

    Both processes import their modules at the same time: start it early, and the first request leaves early.
    Raises UsageError when too few open files or processes are allowed or too little memory is, other LlmbatchErrors
    when it cannot start.
    """
    check_memory(_MEMORY)
    allow_open_files(4 * _FILES)
    check_open_files(_FILES)
    ours, theirs = socket.socketpair()
    stderr_read, stderr_write = os.pipe()
    os.set_blocking(stderr_write, False)  # a full pipe must not block it: its stderr is read only after its end
    with ours, open(stderr_read, "rb") as stderr:
        try:
            with theirs, open(stderr_write, "wb"):
                process = subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, *sys.path],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=stderr_write,
                    start_new_session=True,  # Ctrl-C goes to the run alone: what is in flight has time to arrive
                )
        except OSError as error:
            raise cannot_start("the process that holds the connections", error) from error
        with process:
            try:
                from llmbatch.transport_process.parent import TransportProcess

                yield TransportProcess(ours, process, stderr)
            finally:
                ours.close()
                process.terminate()  # it may still be importing
                try:
                    process.wait(_PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
