"""How far one attempt got: what decides whether it may have been billed."""

from dataclasses import dataclass

__all__ = ["HEAD", "TRACE", "Trace"]

TRACE = "llmbatch.trace"
"""The key under which a trace travels in `httpx.Request.extensions`."""


HEAD = "llmbatch.head"
"""The key of a request's head, where it was rendered before: line and headers as they go over the wire."""


@dataclass(slots=True)
class Trace:
    """Facts a lane writes down while it works."""

    fresh: bool = False
    """The connection was opened for this attempt."""
    began: bool = False
    """A byte of the request may have left."""
    sent: bool = False
    """The whole request was handed to the kernel."""
    answered: bool = False
    """A byte of the answer arrived."""
    open_ended: bool = False
    """Only the end of the connection marked the end of the body, so it may have been cut."""
