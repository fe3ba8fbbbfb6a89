"""Collects secrets so that every message of the command line is redacted."""

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from llmbatch.core.redact import Redactor

__all__ = ["learn", "redactor"]

_ENDINGS = ("_API_KEY", "_TOKEN", "_KEY", "_SECRET", "_PASSWORD")
_learned: list[str] = []
"""Of this process, as stderr is."""


def learn(secrets: Iterable[str]) -> None:
    """Remember what must not be shown from here on."""
    _learned.extend(secrets)


def redactor() -> "Redactor":
    """Return what cuts out all that was learned, and whatever in the environment is named like a secret."""
    from llmbatch.core.redact import Redactor

    return Redactor([*_in_environment(), *_learned])


def _in_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        value = value.strip()
        if name.upper().endswith(_ENDINGS) and len(value) >= 8:
            yield value
        elif name.lower().endswith("_proxy"):
            try:
                yield unquote(urlsplit(value if "://" in value else f"//{value}").password or "")
            except ValueError:
                continue  # not an address
