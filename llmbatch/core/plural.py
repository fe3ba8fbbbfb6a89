"""Writes counts of things: `1 record`, `2,000 records`."""

__all__ = ["counted"]


def counted(count: int, one: str, several: str = "") -> str:
    """Write a count with its noun, and what belongs to it: `several` where an s at the end is not enough."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"
