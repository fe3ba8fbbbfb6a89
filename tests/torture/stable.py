"""A process that has the program loaded, and forks a run at every order: a kill loop has no time for imports.

The process that holds a run's connections is forked as well, from the run, before it opens a file or starts a thread.

Orders are lines of JSON on stdin; each is answered on stdout by one line, when the run is over. Started as a program of
its own: forking a test runner that has threads would be asking for trouble.
"""

import gc
import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from llmbatch.cli.main import run_to_code
from llmbatch.results import store
from llmbatch.transport_process import spawn
from tests.support.forked_command import ForkedTransport, watch
from tests.torture.clock import turn_back
from tests.torture.trap import Trap, lay


def main() -> None:
    """Serve until stdin ends."""
    _load()
    for order in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _run(json.loads(order))
        print(json.dumps({"code": watch(pid, json.loads(order).get("kill_after"))}), flush=True)


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
        spawn.subprocess = ForkedTransport.module()  # type: ignore[attr-defined]
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


if __name__ == "__main__":
    main()
