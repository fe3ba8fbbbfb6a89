"""Collects secrets so that every message of the command line is redacted."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from llmbatch.core.environment import ENVIRONMENT

if TYPE_CHECKING:
    from llmbatch.core.redact import Redactor

__all__ = ["learn", "learn_addresses", "redactor"]

_ENDINGS = ("_API_KEY", "_TOKEN", "_KEY", "_SECRET", "_PASSWORD")
_learned: "list[Redactor]" = []
"""One list for the whole process, which has one stderr."""


def learn(redact: "Redactor") -> None:
    """Add a redactor whose secrets must not be shown from now on, with those that it learns later."""
    _learned.append(redact)


def learn_addresses(names: Iterable[str]) -> None:
    """Hide what the addresses of inputs have beside their place: signatures, passwords."""
    if any("://" in name for name in names):
        from llmbatch.core.redact import Redactor
        from llmbatch.input.address import credentials

        learn(Redactor(secret for name in names for secret in credentials(name)))


def redactor() -> "Redactor":
    """Return a redactor for the learned secrets and for environment variables that are named like secrets."""
    from llmbatch.core.redact import Redactor

    return Redactor(_in_environment(), also=_learned)


def _in_environment() -> Iterator[str]:
    for name, value in ENVIRONMENT.items():
        value = value.strip()
        if name.upper().endswith(_ENDINGS) and len(value) >= 8:
            yield value
        elif name.lower().endswith("_proxy"):
            try:
                yield unquote(urlsplit(value if "://" in value else f"//{value}").password or "")
            except ValueError:
                continue  # not an address
