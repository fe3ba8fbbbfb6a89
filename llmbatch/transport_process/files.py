"""Computes how many lanes the limit of open files allows the transport process."""

import resource
import sys

from llmbatch.core.errors import UsageError
from llmbatch.core.system_limits import allow_open_files

__all__ = ["allow_lanes", "most_lanes"]

_OTHERS = 24
"""Files of that process which are no connections: its event loop, the resolver, certificates."""


def most_lanes(servers: int) -> int:
    """Return how many lanes there may be at most, each with a connection to every server; at least one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else max(1, (hard - _OTHERS) // servers)


def allow_lanes(lanes: int, servers: int) -> None:
    """Raise this process's limit to what the lanes need. Raises UsageError when the system forbids it."""
    needed = lanes * servers + _OTHERS
    allowed = allow_open_files(needed)
    if allowed < needed:
        raise UsageError(
            f"-c {lanes} needs {needed} open files, the system allows {allowed}",
            "Lower -c or raise `ulimit -n`.",
        )
