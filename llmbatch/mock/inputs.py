"""Requests of one input or several, and answers to them that lose count. Pure."""

from collections.abc import Callable
from typing import Any

from llmbatch.mock.dialect import Malformed

__all__ = ["DISORDERS", "disorder", "one_or_several"]

_MOST = 2048


def one_or_several(body: dict[str, Any], name: str) -> list[str]:
    """Return the inputs of a request as texts; tokens given as numbers stand for themselves. Raises Malformed."""
    given = body.get(name)
    if isinstance(given, list) and given and all(type(one) is int for one in given):
        given = [given]
    inputs = given if isinstance(given, list) else [given]
    if not inputs or len(inputs) > _MOST:
        raise Malformed(f"'{name}' takes from 1 to {_MOST} inputs.", name)
    texts = []
    for place, one in enumerate(inputs):
        if isinstance(one, list) and one and all(type(token) is int for token in one):
            one = " ".join(map(str, one))
        if not isinstance(one, str) or not one:
            raise Malformed(f"Invalid '{name}[{place}]': a non-empty string or array of tokens was expected.", name)
        texts.append(one)
    return texts


Entries = list[dict[str, Any]]

DISORDERS: dict[str, Callable[[Entries], Entries]] = {
    "one-missing": lambda entries: entries[:-1],
    "one-twice": lambda entries: [*entries[:-1], entries[0]],
    "backwards": lambda entries: entries[::-1],
    "no-index": lambda entries: [{name: value for name, value in one.items() if name != "index"} for one in entries],
}
"""Faults that make the answers to several inputs lose count."""


def disorder(entries: Entries, fault: str | None) -> Entries:
    """Return the entries of an answer as the fault wants them."""
    return DISORDERS[fault](entries) if fault in DISORDERS else entries
