"""Secrets cut out of everything but results' own text: the exact keys of this run, then the shapes of known keys."""

import re
from collections.abc import Iterable

__all__ = ["Redactor"]

_SHAPES = re.compile(
    r"""\bsk-ant-(?:api|admin|oat|sid)\d{2}-[\w-]{20,}
    |\bsk-[A-Za-z0-9][\w-]{18,}
    |\bAIza[\w-]{35}|\bAQ\.[\w-]{20,}|\bya29\.[\w-]{20,}
    |\bgsk_[A-Za-z0-9]{20,}|\bxai-[A-Za-z0-9]{20,}|\bcsk-[A-Za-z0-9]{20,}
    |\bhf_[A-Za-z0-9]{20,}|\bpplx-[A-Za-z0-9]{20,}|\bfw_[A-Za-z0-9]{16,}|\btgp_v1_[\w-]{20,}|\bnvapi-[\w-]{20,}
    |(?i:\bbearer\s+)(?=\S*\d|\S{20})[\w.~+/=-]{8,}
    |\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}
    |(?i:(?<=[?&]key=)|(?<=[?&]apikey=)|(?<=[?&]api[-_]key=)|(?<=[?&]access_token=))[^&\s"']+""",
    re.VERBOSE | re.ASCII,
)
MARK = "[redacted]"


class Redactor:
    """Cuts secrets out of text; call it with the text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first, so that a key which contains another is cut out whole.
        self._secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MARK)
        return _SHAPES.sub(MARK, text)
