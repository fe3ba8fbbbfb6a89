"""What an answer says: of the records that were asked about, and of the server's limits."""

from typing import NamedTuple, TypeAlias

from llmbatch.core.fault import Fault
from llmbatch.core.outcome import Completion

__all__ = ["Announced", "Heard", "Verdicts"]


class Announced(NamedTuple):
    """Units a minute and units left, None where nothing was said."""

    requests: float | None = None
    tokens: float | None = None
    requests_left: float | None = None
    tokens_left: float | None = None


Verdicts: TypeAlias = tuple[Completion | Fault, ...]
"""One for each job of a request, in their order."""

Heard: TypeAlias = tuple[Verdicts, Announced | None]
"""A tuple and no class of its own: one comes for every request, from another process."""
