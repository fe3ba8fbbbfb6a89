"""Limits of the system are explained, and distinguished from bugs."""

import errno
import os
import resource
from collections.abc import Callable

import pytest

from llmbatch.core.errors import ExitCode, LlmbatchError, OutOfMemory, OutOfResources
from llmbatch.core.system_limits import cannot_start, explain_shortage


def raised(raise_it: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        raise_it()
    return caught.value


def refused(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (MemoryError(), OutOfMemory, "memory"),
        (refused(errno.ENOMEM), OutOfMemory, "memory"),
        (ImportError("x.so: failed to map segment from shared object: Cannot allocate memory"), OutOfMemory, "memory"),
        (ImportError("x.so: failed to map segment from shared object"), OutOfMemory, "memory"),
        (refused(errno.EMFILE), OutOfResources, str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])),
        (refused(errno.ENFILE), OutOfResources, "too many files"),
        (ImportError("x.so: cannot open shared object file: Too many open files"), OutOfResources, "too many files"),
        (RuntimeError("can't start new thread"), OutOfResources, "thread"),
    ],
)
def test_a_shortage_is_explained_wherever_it_stands(error: Exception, kind: type[LlmbatchError], words: str) -> None:
    def clean_up() -> None:
        try:
            raise error
        finally:
            raise RuntimeError("Cannot close a running event loop")

    for seen in (error, ExceptionGroup("several", [ValueError("odd"), error]), raised(clean_up)):
        reason = explain_shortage(seen)
        assert type(reason) is kind and words in reason.message and reason.hint
        assert reason.exit_code is ExitCode.BUG and reason.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [ValueError("odd"), RuntimeError("odd"), ImportError("odd"), refused(errno.ENOENT), refused(errno.EAGAIN)],
)
def test_anything_else_stays_a_bug(error: Exception) -> None:
    assert explain_shortage(error) is None
    assert explain_shortage(ExceptionGroup("several", [error])) is None


@pytest.mark.parametrize(
    ("error", "code", "hint"),
    [
        (refused(errno.EAGAIN), ExitCode.USAGE, "ulimit -u"),
        (refused(errno.EMFILE), ExitCode.USAGE, "ulimit -n"),
        (RuntimeError("can't start new thread"), ExitCode.USAGE, "ulimit -u"),
        (refused(errno.ENOMEM), ExitCode.BUG, "Lower -c"),
        (refused(errno.EACCES), ExitCode.BUG, "free memory"),
    ],
)
def test_why_a_process_cannot_start_decides_the_exit_code(error: OSError | RuntimeError, code: int, hint: str) -> None:
    reason = cannot_start("the process", error)
    assert reason.exit_code == code and reason.hint is not None and hint in reason.hint
