"""How far one attempt got: what decides whether it may have been billed."""

from dataclasses import dataclass

__all__ = ["Trace"]


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
