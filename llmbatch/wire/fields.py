"""Repeated header fields made one, as a proxy may."""

from collections.abc import Iterable

__all__ = ["joined"]


def joined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join the values of each name with commas, in the order they came."""
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name, []).append(value)
    return {name: ", ".join(several) for name, several in values.items()}
