"""What goes to a server and what comes back: requests, replies, and what was read from one."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from llmbatch.core.fault import Fault
from llmbatch.core.job import Job
from llmbatch.core.outcome import Completion

__all__ = ["Expected", "RateLimits", "ReadReply", "Reply", "Request", "Verdicts"]


class Expected(NamedTuple):
    """What the reader of an answer must know of its request."""

    dialect: str
    keeps: tuple[bool, ...] = (False,)
    """Whether the line shows the provider's own answer, for each job."""
    entries: int = 1
    """How many entries of the answer's list are those of one job; 0 when they all are."""
    weights: tuple[int, ...] = ()
    """The estimated tokens of each input, where several share the answer's usage."""


@dataclass(slots=True)
class Request:
    """What goes over the wire for one or, when packed, several jobs. `path` is appended to the base URL."""

    jobs: tuple[Job, ...]
    path: str
    body: bytes
    expected: Expected
    method: str = "POST"
    server: int = 0
    """The index of the server that it is sent to."""
    taken: tuple[float, float] = (0.0, 0.0)
    """How many requests and tokens the buckets of its gate had let through when it left, itself included."""
    weight: float = 0.0
    """Tokens reserved for it."""
    reserved: list[float] | None = None
    """The reservation itself, where tokens are counted."""
    departure: int = 0
    """How many requests passed its gate before it."""
    load: int = 0
    """How many of its gate were in flight when it left, itself included."""


@dataclass(slots=True)
class Reply:
    """An answer: header names in lower case, body decoded from its content encoding.

    `cut` says that only the end of the connection marked the end of the body, or that it ended too early: the body may
    be incomplete.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    cut: bool = False


class RateLimits(NamedTuple):
    """Limits, units left of them, and seconds until they are reset; None where nothing was announced."""

    requests: float | None = None
    tokens: float | None = None
    requests_left: float | None = None
    tokens_left: float | None = None
    requests_reset: float | None = None
    tokens_reset: float | None = None


Verdicts: TypeAlias = tuple[Completion | Fault, ...]
"""One for each job of a request, in their order."""

ReadReply: TypeAlias = tuple[Verdicts, RateLimits | None]
"""A tuple and not a class, since one is pickled for every request by the transport process."""
