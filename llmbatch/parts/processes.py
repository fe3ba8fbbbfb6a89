"""Works on several parts at once in processes of this machine, which end with this one."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from llmbatch.core.errors import Interrupted, LlmbatchError
from llmbatch.core.system_limits import cannot_start
from llmbatch.parts.hub import Hub
from llmbatch.parts.remote import Job, Result, packed

__all__ = ["Processes", "noting_signals"]

TRIES = 3
"""How often a part may end with its process before the run does."""
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[3:]; from llmbatch.parts.process import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]))"
)
"""It gets this process's module search path as arguments."""
_PATIENCE = 5.0
"""Seconds for a process to end that has nothing to do."""


class Processes:
    """Up to `count` processes that work on parts. `done` is called with what became of each."""

    def __init__(self, job: Job, hub: Hub, count: int, done: Callable[[int, Result], None]) -> None:
        self._job, self._hub, self._count, self._done = packed(job), hub, count, done
        self._todo: list[int] = []
        self._died: dict[int, int] = {}

    def run(self, numbers: list[int], is_stopped: Callable[[], bool]) -> None:
        """Have all parts worked on, in order; no further one is begun once the run is stopped."""
        self._todo = [*numbers]
        workers: dict[Connection, _Process] = {}
        with noting_signals(self._hub.signals.append):
            try:
                for _ in range(min(self._count, len(numbers))):
                    self._start(workers)
                while workers:
                    for ready in wait([*workers], timeout=1.0):
                        assert isinstance(ready, Connection)
                        self._serve(workers, ready, is_stopped)
            finally:
                for process in workers.values():
                    process.end()
        if self._hub.signals and not is_stopped():
            self._done(-1, Interrupted(self._hub.signals[0]))

    def _start(self, workers: "dict[Connection, _Process]") -> None:
        process = _Process(self._job)
        workers[process.connection] = process

    def _serve(self, workers: "dict[Connection, _Process]", ready: Connection, is_stopped: Callable[[], bool]) -> None:
        process = workers[ready]
        try:
            name, *arguments = ready.recv()
        except (EOFError, OSError):
            del workers[ready]
            process.end()
            self._lost(process, workers, is_stopped)
            return
        if name == "next":
            process.number = self._next(is_stopped)
            if process.number is None:
                del workers[ready]
            self._answer(ready, process.number)
            if process.number is None:
                process.end()
        elif name == "end":
            number, process.number = process.number, None
            assert number is not None
            self._done(number, arguments[0])
            self._answer(ready, None)
        else:
            self._answer(ready, getattr(self._hub, name)(*arguments))

    def _next(self, is_stopped: Callable[[], bool]) -> int | None:
        return self._todo.pop(0) if self._todo and not is_stopped() and not self._hub.signals else None

    def _lost(self, process: "_Process", workers: "dict[Connection, _Process]", is_stopped: Callable[[], bool]) -> None:
        """Give the part of a process that died to another one."""
        number = process.number
        if number is None:
            return
        self._died[number] = self._died.get(number, 0) + 1
        if self._died[number] >= TRIES:
            self._done(number, LlmbatchError(f"the process that worked on part {number} died {TRIES} times"))
        elif not is_stopped() and not self._hub.signals:
            self._hub.notice(f"the process that worked on part {number} died; another one goes on")
            self._todo.insert(0, number)
            self._start(workers)

    @staticmethod
    def _answer(connection: Connection, value: Any) -> None:
        try:
            connection.send(value)
        except OSError:
            return  # it has just died, which the next look shows


class _Process:
    """One process, and the part that it works on."""

    def __init__(self, job: bytes) -> None:
        self.number: int | None = None
        ours, theirs = socket.socketpair()
        alive, self._held = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), str(alive), *sys.path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), alive),
                start_new_session=True,  # Ctrl-C goes to the driver alone, which has the parts end in order
            )
        except OSError as error:
            ours.close()
            os.close(self._held)
            raise cannot_start("a process that works on parts", error) from error
        finally:
            theirs.close()
            os.close(alive)
        self.connection: Connection = Connection(ours.detach())
        self.connection.send_bytes(job)

    def end(self) -> None:
        """End it, whatever it is doing; one that has no part ends by itself."""
        self.connection.close()
        try:
            self._process.wait(_PATIENCE if self.number is None else 0.1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._held)


@contextmanager
def noting_signals(tell: Callable[[int], None]) -> Iterator[list[int]]:
    """Note signals while the context lasts, and tell of each of the first two; a third one kills."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def note(signum: int, _: Any) -> None:
        seen.append(signum)
        tell(signum)
        if len(seen) == 2:
            for other, handler in before.items():
                signal.signal(other, signal.SIG_DFL if handler is not signal.SIG_IGN else handler)

    before = {
        signum: signal.signal(signum, note)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(signum) is not signal.SIG_IGN
    }
    try:
        yield seen
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
