"""A process that has the program loaded, and forks a run at every order: a kill loop has no time for imports.

Orders are lines of JSON on stdin; each is answered on stdout by one line, when the run is over. Started as a program of
its own: forking a test runner that has threads would be asking for trouble.
"""

import gc
import json
import os
import resource
import select
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any

from llmbatch.cli.main import run_to_code
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
        if order.get("trap"):
            lay(Trap(**order["trap"]))
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
