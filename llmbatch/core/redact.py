"""Cuts secrets out of all text but the model's answers: the exact keys of this run, then what looks like a key.

Servers write the texts that are searched here. So no pattern may search the same characters from many beginnings, and
only the beginning of a very long text is kept.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote

__all__ = ["LONGEST", "MARK", "SHORTEST", "Redactor"]

_SHAPES = re.compile(
    r"""\b(?:sk-[A-Za-z0-9][\w-]{18,}
    |AIza[\w-]{35}|AQ\.[\w-]{20,}|ya29\.[\w-]{20,}
    |gsk_[A-Za-z0-9]{20,}|xai-[A-Za-z0-9]{20,}|csk-[A-Za-z0-9]{20,}
    |hf_[A-Za-z0-9]{20,}|pplx-[A-Za-z0-9]{20,}|fw_[A-Za-z0-9]{16,}|tgp_v1_[\w-]{20,}|nvapi-[\w-]{20,}
    |[Bb](?i:earer\s+)(?=\S*\d|\S{20})[\w.~+/=-]{8,}
    |(?<!-)eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})
    |(?<==)(?i:(?<=[?&]key=)|(?<=[?&]apikey=)|(?<=[?&]api[-_]key=)|(?<=[?&]access_token=))[^&\s"']+""",
    re.VERBOSE | re.ASCII,
)
"""Each part begins with a character of its own, after one boundary for all: so most positions are passed at once."""
MARK = "[redacted]"


SHORTEST = 6
"""The least characters of a secret. What is shorter is a placeholder, and occurs in many words."""

LONGEST = 64 * 1024
"""The most characters of one text that are searched, and shown."""


class Redactor:
    """Cuts secrets out of text; call it with the text. `also` are others whose secrets are cut out of text too."""

    def __init__(self, secrets: Iterable[str] = (), *, also: Iterable["Redactor"] = ()) -> None:
        self._also = tuple(also)
        self._secrets: list[str] = []
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Cut these secrets out as well from now on."""
        spellings = {each for secret in secrets if len(secret) >= SHORTEST for each in _spellings(secret)}
        # Longest first, so that a key which contains another is cut out whole.
        self._secrets = sorted(spellings.union(self._secrets), key=len, reverse=True)
        self._written = [secret.encode() for secret in self._secrets]

    def __call__(self, text: str) -> str:
        """Return the text without secrets, or the beginning of a text that is longer than LONGEST."""
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}… ({len(text) - LONGEST:,} more characters)"
        return _SHAPES.sub(MARK, self.exact(text))

    def finds(self, body: bytes) -> bool:
        """Tell whether exact secrets stand in a body."""
        for secret in self._written:  # noqa: SIM110 - `any` takes three times as long, and every line is looked at
            if secret in body:
                return True
        return False

    def exact(self, text: str) -> str:
        """Return the text without the exact secrets; what only looks like a secret stays."""
        for other in self._also:
            text = other.exact(text)
        for secret in self._secrets:
            text = text.replace(secret, MARK)
        return text

    def in_bytes(self, body: bytes) -> bytes:
        """Return a body without the exact secrets."""
        for secret in self._written:
            body = body.replace(secret, MARK.encode())
        return body


def _spellings(secret: str) -> set[str]:
    """Return a secret as it is, as in URLs, as in JSON, and as in some servers' JSON."""
    in_json = secret.replace("\\", "\\\\").replace('"', '\\"')
    return {secret, quote(secret, safe=""), in_json, *(text.replace("/", "\\/") for text in (secret, in_json))}
