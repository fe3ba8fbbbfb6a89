"""A function at work in a copy of this process."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmbatch.core.fork import can_fork, forked


def test_the_result_comes_back_however_large_it_is() -> None:
    with forked(lambda: (os.getpid(), b"x" * 10_000_000)) as child:
        assert child is not None
        result = child.result()
    assert result is not None and result[0] != os.getpid() and len(result[1]) == 10_000_000


def _raise() -> None:
    raise ValueError


@pytest.mark.parametrize("function", [_raise, lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(0)])
def test_a_function_that_fails_has_no_result(function) -> None:
    with forked(function) as child:
        assert child is not None and child.result() is None


def test_the_child_is_ended_and_reaped_with_the_context() -> None:
    with forked(lambda: time.sleep(600)) as child:
        assert child is not None
        pid = child._pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_no_lock_is_held_by_the_child(tmp_path: Path) -> None:
    ours, given = (os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("ours", "given"))
    for fd in (ours, given):
        os.write(fd, b"text")
        fcntl.flock(fd, fcntl.LOCK_EX)
    os.mkfifo(tmp_path / "begun")

    def work() -> None:
        (tmp_path / "begun").write_bytes(os.pread(given, 4, 0))
        time.sleep(600)

    with forked(work, files=[given]):
        assert (tmp_path / "begun").read_bytes() == b"text"
        for fd in (ours, given):
            os.close(fd)
        for name in ("ours", "given"):
            with (tmp_path / name).open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


PARENT = """
import os, time
from llmbatch.core.fork import forked
with forked(lambda: os.write(1, b"%d\\n" % os.getpid()) and time.sleep(600)) as child:
    time.sleep(600)
"""


def test_the_child_ends_when_the_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) != parent.pid
        parent.kill()
        assert parent.stdout.read() == b""  # the child held the other end, too


def test_a_process_with_threads_is_not_copied() -> None:
    import threading

    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    assert not can_fork()
    over.set()
    thread.join()
