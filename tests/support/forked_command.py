"""Starts the command in processes forked from one in which it is loaded: tests start it hundreds of times.

A forked command has the streams, folder, environment and session that it would have otherwise, is a child of the
process that runs the tests, and forks the process that holds its connections. It shows nothing of how an interpreter
starts: a command whose environment changes that, or that needs something done before it starts, is started as usual,
and so is every command when the run is a deep one.
"""

import ctypes
import gc
import importlib
import inspect
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import llmbatch
from tests.support.deep import DEEP

__all__ = ["LLMBATCH", "ForkedTransport", "start", "watch"]

LLMBATCH = str(Path(sys.executable).parent / "llmbatch")
READ_AT_START = ("PYTHON", "LC_", "LANG", "TZ", "TERMINAL_WIDTH", "FORCE_", "PY_", "GITHUB_", "LD_", "MALLOC")
"""How the names of variables begin that are read when an interpreter or a module starts."""
LARGEST = 100_000
"""Bytes of a command line and its environment that surely fit in one message."""
_SET_CHILD_SUBREAPER = 36


def start(command: Sequence[str], *, env: Mapping[str, str], **how: Any) -> "subprocess.Popen[bytes]":
    """Start `llmbatch ...` as `subprocess.Popen` does; `command` goes without the name of the program."""
    words = [LLMBATCH, *command]
    usual = {name: value for name, value in env.items() if name.startswith(READ_AT_START)} == {"LANG": "C.UTF-8"}
    small = sum(len(text) for text in (*words, *env, *env.values())) < LARGEST
    can_fork = sys.platform.startswith("linux") and not DEEP
    if can_fork and usual and small and how.get("preexec_fn") is None:
        return _Forked(words, env=env, **how)
    return subprocess.Popen(words, env=env, **how)


class _Forked(subprocess.Popen[bytes]):
    """A child that was forked by the server; everything else is as usual."""

    def _execute_child(self, *values: Any) -> None:
        names = inspect.signature(subprocess.Popen._execute_child).parameters  # type: ignore[attr-defined]
        given = dict(zip([*names][1:], values, strict=True))
        descriptors = [
            fd if fd != -1 else usual
            for usual, fd in enumerate((given["p2cread"], given["c2pwrite"], given["errwrite"]))
        ]
        order = {
            "command": given["args"],
            "environment": dict(given["env"]),
            "folder": os.fspath(given["cwd"]) if given["cwd"] is not None else os.getcwd(),
            "session": given["start_new_session"],
            "parent": os.getpid(),
        }
        self.pid = _Server.get().fork(order, descriptors)
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in pipes))  # type: ignore[attr-defined]


class _Server:
    """The process that has the command loaded, from the view of the one that runs the tests."""

    _one: "_Server | None" = None

    def __init__(self) -> None:
        # A command that the server leaves behind becomes a child of this process.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "cannot adopt the commands that are forked")
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
            command = [sys.executable, "-m", __name__]
            root = Path(__file__).parents[2]
            self._process = subprocess.Popen(command, stdin=theirs, env=environment, cwd=root)

    @classmethod
    def get(cls) -> "_Server":
        """Return the server of this process."""
        if cls._one is None:
            cls._one = cls()
        return cls._one

    def fork(self, order: dict[str, Any], descriptors: list[int]) -> int:
        """Return the number of a new process."""
        socket.send_fds(self._socket, [json.dumps(order).encode()], descriptors)
        pid = int(self._socket.recv(64))
        self._socket.recv(1)  # only now it is a child of this process
        return pid


def main() -> None:
    """Fork commands until the tests have ended."""
    _load()
    orders = socket.socket(fileno=os.dup(0))
    while True:
        message, descriptors, _, _ = socket.recv_fds(orders, LARGEST * 4, 3)
        if not message:
            return
        between = os.fork()
        if between == 0:
            pid = os.fork()
            if pid == 0:
                _run(json.loads(message), descriptors)
            orders.send(str(pid).encode())
            os._exit(0)  # the command becomes an orphan, and so a child of the process that runs the tests
        os.waitpid(between, 0)
        orders.send(b"!")
        for fd in descriptors:
            os.close(fd)


def _load() -> None:
    """Import what a command may use."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("uvloop", "anyio._backends._asyncio", "encodings.idna"):
        importlib.import_module(name)
    for module in pkgutil.walk_packages(llmbatch.__path__, "llmbatch."):
        if module.name.rpartition(".")[2] != "__main__":
            with suppress(ImportError):  # what an extra needs that is not installed
                importlib.import_module(module.name)
    sys.modules["__main__"].__package__ = None  # typer would take this module for the program
    sys.path[0] = str(Path(LLMBATCH).parent)
    gc.freeze()


def _run(order: dict[str, Any], descriptors: list[int]) -> None:
    """Be a command."""
    while os.getppid() != order["parent"]:
        time.sleep(0.0005)
    for fd, given in enumerate([os.dup(given) for given in descriptors]):
        os.dup2(given, fd)
    os.closerange(3, 1024)
    if order["session"]:
        os.setsid()
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    tempfile.tempdir = None
    sys.argv = order["command"]
    _open_streams()
    from llmbatch.cli.entry import entry
    from llmbatch.transport_process import spawn

    spawn.subprocess = ForkedTransport.module()  # type: ignore[attr-defined]
    try:
        entry()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _open_streams() -> None:
    """Open stdin, stdout and stderr as an interpreter does."""
    for name, fd in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        buffering = 1 if fd == 2 or os.isatty(fd) else -1
        mode, newline = ("r", None) if fd == 0 else ("w", "\n")
        stream = open(fd, mode, buffering, old.encoding, old.errors, newline, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


class ForkedTransport:
    """Takes the place of `subprocess.Popen` in `spawn`: the same process, but that it is loaded."""

    def __init__(self, command: list[str], *, stdin: int, stdout: int, stderr: int, start_new_session: bool) -> None:
        from llmbatch.transport_process import child

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

    @classmethod
    def module(cls) -> type:
        """Return what `spawn` uses of the module `subprocess`."""
        names = {"DEVNULL": subprocess.DEVNULL, "TimeoutExpired": subprocess.TimeoutExpired, "Popen": cls}
        return type("Subprocess", (), names)

    @property
    def returncode(self) -> int | None:
        """The exit code, once it is waited for."""
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        if self._code is None:
            self._code = watch(self.pid, timeout if timeout is not None else 60)
        return self._code

    def terminate(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


def watch(pid: int, kill_after: float | None) -> int:
    """Wait for a child, kill it when its time is over; return its exit code."""
    handle = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    if not poll.poll(kill_after * 1000 if kill_after is not None else 60_000):
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
