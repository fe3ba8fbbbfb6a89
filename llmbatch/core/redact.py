"""Secrets cut out of everything but the model's own words: the exact keys of this run, then the shapes of known keys.

Servers choose what is looked at here. So no pattern may look at the same characters from many beginnings, and of a text
beyond all measure only the beginning stays.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote

__all__ = ["LONGEST", "MARK", "SHORTEST", "Redactor"]

_SHAPES = re.compile(
    r"""\bsk-ant-(?:api|admin|oat|sid)\d{2}-[\w-]{20,}
    |\bsk-[A-Za-z0-9][\w-]{18,}
    |\bAIza[\w-]{35}|\bAQ\.[\w-]{20,}|\bya29\.[\w-]{20,}
    |\bgsk_[A-Za-z0-9]{20,}|\bxai-[A-Za-z0-9]{20,}|\bcsk-[A-Za-z0-9]{20,}
    |\bhf_[A-Za-z0-9]{20,}|\bpplx-[A-Za-z0-9]{20,}|\bfw_[A-Za-z0-9]{16,}|\btgp_v1_[\w-]{20,}|\bnvapi-[\w-]{20,}
    |(?i:\bbearer\s+)(?=\S*\d|\S{20})[\w.~+/=-]{8,}
    |(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}
    |(?i:(?<=[?&]key=)|(?<=[?&]apikey=)|(?<=[?&]api[-_]key=)|(?<=[?&]access_token=))[^&\s"']+""",
    re.VERBOSE | re.ASCII,
)
MARK = "[redacted]"


SHORTEST = 6
"""Characters of a secret. What is shorter is a placeholder, and stands in many a word."""

LONGEST = 64 * 1024
"""Characters of one text that are looked at, and shown."""


class Redactor:
    """Cuts secrets out of text; call it with the text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first, so that a key which contains another is cut out whole.
        written = {way for secret in secrets if len(secret) >= SHORTEST for way in _ways(secret)}
        self._secrets = sorted(written, key=len, reverse=True)
        self._written = [secret.encode() for secret in self._secrets]

    def __call__(self, text: str) -> str:
        """Return the text without secrets, or the beginning of a text that is longer than LONGEST."""
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}… ({len(text) - LONGEST:,} more characters)"
        return _SHAPES.sub(MARK, self.exact(text))

    def finds(self, body: bytes) -> bool:
        """Tell whether exact secrets stand in a body."""
        return any(secret in body for secret in self._written)

    def exact(self, text: str) -> str:
        """Return the text without the exact secrets; what only looks like one stays."""
        for secret in self._secrets:
            text = text.replace(secret, MARK)
        return text

    def in_bytes(self, body: bytes) -> bytes:
        """Return a body without the exact secrets."""
        for secret in self._written:
            body = body.replace(secret, MARK.encode())
        return body


def _ways(secret: str) -> set[str]:
    """Write a secret as it is, and as URLs and some servers' JSON have it."""
    return {secret, quote(secret, safe=""), secret.replace("/", "\\/")}
