"""The start and the end of the process that holds the connections."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmbatch.core.errors import LlmbatchError

if TYPE_CHECKING:
    from llmbatch.transport_process.parent import TransportProcess

__all__ = ["LOOK_AT", "PROGRAM", "spawn_transport"]

LOOK_AT = (200_000, 20, 100)
"""When to look for cycles (`gc.set_threshold`), in both processes. What a record needs dies by itself, and what is
imported stays: looking as often as by default costs a twentieth of a short run and a tenth of a long one, at 50,000
still 4 % with 4,000 requests in flight."""

PROGRAM = (
    f"import gc, sys; gc.set_threshold(*{LOOK_AT}); sys.path[:] = sys.argv[1:]; "
    "from llmbatch.transport_process.child import main; main()"
)
"""It finds the modules that this process found, wherever they are."""
_PATIENCE = 5.0
"""Seconds for the other process to end once it was hung up on."""


@contextmanager
def spawn_transport() -> Iterator["TransportProcess"]:
    """Start the process; end it with the context. It also ends, at once, when ours does, even by SIGKILL.

    Its imports take place beside ours: the earlier it is started, the earlier the first request leaves.
    """
    ours, theirs = socket.socketpair()
    words, saying = os.pipe()
    os.set_blocking(saying, False)  # who says more than a pipe takes must not wait for a listener
    with ours, open(words, "rb") as last_words:
        try:
            with theirs, open(saying, "wb"):
                process = subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, *sys.path],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=saying,
                    start_new_session=True,  # Ctrl-C is ours to answer: what is in flight has time to arrive
                )
        except OSError as error:
            raise LlmbatchError(
                f"cannot start the process that holds the connections: {error.strerror}",
                "Allow another process (ulimit -u), or free memory.",
            ) from error
        with process:
            try:
                from llmbatch.transport_process.parent import TransportProcess

                yield TransportProcess(ours, process, last_words)
            finally:
                ours.close()
                process.terminate()  # it may still be importing, and not listen yet
                try:
                    process.wait(_PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
