"""A process that has the program loaded, and forks a run at every order: a kill loop has no time for imports.

The process that holds a run's connections is forked as well, from the run, before it opens a file or starts a thread.

Orders are lines of JSON on stdin; each is answered on stdout by one line, when the run is over. Started as a program of
its own: forking a test runner that has threads would be asking for trouble.
"""

import gc
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, Self

from llmbatch.cli.main import run_to_code
from llmbatch.results import store
from llmbatch.transport_process import child, spawn
from tests.torture.clock import turn_back
from tests.torture.trap import Trap, lay


def main() -> None:
    """Serve until stdin ends."""
    _load()
    for order in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _run(json.loads(order))
        print(json.dumps({"code": _watch(pid, json.loads(order).get("kill_after"))}), flush=True)


def _load() -> None:
    """Run once, on no records, so that all is imported; no thread is left that a fork would lose."""
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["llmbatch", "run", os.devnull, "--base-url", "http://127.0.0.1:9/v1", "-m", "m", "-q"]
        sys.argv += ["-o", f"{folder}/out.jsonl"]
        run_to_code()
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(10)
    while len(sys._current_frames()) > 1:
        time.sleep(0.001)
    gc.freeze()


def _run(order: dict[str, Any]) -> None:
    """Be one run."""
    code = 70
    try:
        warnings.simplefilter("error")
        os.chdir(order["folder"])
        for name, fd in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
            path = Path(order.get(name) or os.devnull)
            opened = os.open(path, os.O_RDONLY if fd == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(opened, fd)
            os.close(opened)
        os.environ.clear()
        os.environ.update(order["environment"])
        sys.argv = ["llmbatch", *order["arguments"]]
        spawn.subprocess = _Subprocess  # type: ignore[attr-defined]
        if order.get("trap"):
            lay(Trap(**order["trap"]))
        if order.get("storage"):
            store.storage_of = lambda folder: order["storage"].encode().ljust(16)[:16]  # type: ignore[attr-defined]
        if order.get("clock"):
            turn_back()
        if order.get("largest"):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest"], resource.RLIM_INFINITY))
        code = run_to_code()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


class _Forked:
    """Takes the place of `subprocess.Popen` in `spawn`: the same process, but that it is loaded."""

    def __init__(self, command: list[str], *, stdin: int, stdout: int, stderr: int, start_new_session: bool) -> None:
        assert start_new_session and stdout == subprocess.DEVNULL
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                for fd, source in ((0, stdin), (1, os.open(os.devnull, os.O_WRONLY)), (2, stderr)):
                    os.dup2(source, fd)
                os.closerange(3, 1024)
                child.main()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)

    def wait(self, timeout: float | None = None) -> int:
        if self._code is None:
            self._code = _watch(self.pid, timeout if timeout is not None else 60)
        return self._code

    def terminate(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGTERM)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


class _Subprocess:
    """What `spawn` uses of the module."""

    DEVNULL, TimeoutExpired, Popen = subprocess.DEVNULL, subprocess.TimeoutExpired, _Forked


def _watch(pid: int, kill_after: float | None) -> int:
    """Wait for a run, kill it when its time is over; return its exit code."""
    handle = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    if not poll.poll(kill_after * 1000 if kill_after is not None else 60_000):
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
