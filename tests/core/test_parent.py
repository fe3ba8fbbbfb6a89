"""A child ends with its parent, whatever it is doing."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

PATIENCE = 20.0
CHILD = """
import sys
from llmbatch.core.parent import end_with_parent
end_with_parent({fd})
print("ready", flush=True)
{then}
"""
LOOPS = "while True: pass"
SLEEPS = "import time; time.sleep(1000)"


def started(fd: int, then: str, **pipes: int) -> subprocess.Popen[bytes]:
    program = CHILD.format(fd=fd, then=then)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, **pipes)  # type: ignore[call-overload,no-any-return]


def ends(child: subprocess.Popen[bytes], hang_up: Callable[[], None]) -> None:
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.05)
        hang_up()
        assert child.wait(PATIENCE) < 0
    finally:
        child.kill()
        child.wait(PATIENCE)
        child.stdout.close()  # type: ignore[union-attr]


@pytest.mark.parametrize("then", [LOOPS, SLEEPS])
def test_it_ends_when_nobody_holds_the_end_that_it_reads(then: str) -> None:
    child = started(0, then, stdin=subprocess.PIPE)
    assert child.stdin is not None
    ends(child, child.stdin.close)


def test_it_ends_when_nobody_holds_the_end_that_it_writes_to() -> None:
    read, write = os.pipe()
    child = started(2, LOOPS, stderr=write)
    os.close(write)
    ends(child, lambda: os.close(read))


def test_it_ends_even_while_it_is_stopped() -> None:
    child = started(0, SLEEPS, stdin=subprocess.PIPE)
    assert child.stdin is not None

    def hang_up() -> None:
        child.send_signal(signal.SIGSTOP)
        child.stdin.close()  # type: ignore[union-attr]

    ends(child, hang_up)


def test_one_whose_parent_is_gone_already_does_not_begin() -> None:
    child = started(0, LOOPS, stdin=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    child.stdin.close()
    assert child.wait(PATIENCE) != 0
    child.stdout.close()
