"""What the other process is told before its first request."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmbatch.dialects.answer_reader import Reader

__all__ = ["WireSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WireSettings:
    """Where requests go, and how long for. Times in seconds; `lanes` may be open at once."""

    base_urls: tuple[str, ...]
    headers: Mapping[str, str] = field(repr=False)
    ca_file: str | None
    reader: Reader
    """Reads the answers there."""
    connect: float
    attempt: float
    lanes: int
    logged: bool
    """Every attempt is told in a line."""
