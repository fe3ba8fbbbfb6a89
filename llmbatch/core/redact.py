"""Cuts secrets out of all text but the model's answers: the exact keys of this run, then what looks like a key.

Servers write the texts that are searched here. So no pattern may search the same characters from many beginnings, and
only the beginning of a very long text is kept.
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
"""The least characters of a secret. What is shorter is a placeholder, and occurs in many words."""

LONGEST = 64 * 1024
"""The most characters of one text that are searched, and shown."""


class Redactor:
    """Cuts secrets out of text; call it with the text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first, so that a key which contains another is cut out whole.
        spellings = {each for secret in secrets if len(secret) >= SHORTEST for each in _spellings(secret)}
        self._secrets = sorted(spellings, key=len, reverse=True)
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
        """Return the text without the exact secrets; what only looks like a secret stays."""
        for secret in self._secrets:
            text = text.replace(secret, MARK)
        return text

    def in_bytes(self, body: bytes) -> bytes:
        """Return a body without the exact secrets."""
        for secret in self._written:
            body = body.replace(secret, MARK.encode())
        return body


def _spellings(secret: str) -> set[str]:
    """Return a secret as it is, as in URLs, and as in some servers' JSON."""
    return {secret, quote(secret, safe=""), secret.replace("/", "\\/")}
