"""Explains errors of paths and of stdout that nothing nearer has explained: they are no bugs of the program."""

import errno
import os

from llmbatch.core.errors import LlmbatchError, OutputError, UsageError

__all__ = ["explain_os_error"]

_OF_A_PATH = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ELOOP, errno.ENAMETOOLONG),
}
_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF, errno.EIO}


def explain_os_error(error: BaseException) -> LlmbatchError | None:
    """Return an error for people if a path cannot be used, or stdout cannot be written; else None."""
    if not isinstance(error, OSError):
        return None
    if error.filename is not None and error.errno in _OF_A_PATH:
        path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
        shown = path if len(path) <= 100 else f"{path[:99]}…"
        return UsageError(
            f"cannot get at {shown}: {error.strerror}", "Check the name, and the permissions of the folders it lies in."
        )
    if error.filename is None and error.errno == errno.ENOENT and _is_folder_gone():
        return UsageError("the current folder is gone", "Go to one that is there: cd")
    if error.filename is None and error.errno in _OF_WRITING:
        return OutputError(f"cannot write to stdout: {error.strerror}")
    return None


def _is_folder_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False
