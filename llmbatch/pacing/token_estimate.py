"""Estimates the tokens of a request; learns from the usage that answers report. Pure."""

import re

__all__ = ["TokenEstimate", "estimated"]

_BLOB = re.compile(rb"[A-Za-z0-9+/=_-]{4096,}")
"""Base64: no text has such long words."""
BLOB_TOKENS, BLOB_BYTES = 1000, 64
"""The least tokens of an image, and the bytes of base64 for each further token: as for a page of a PDF, not a photo."""

FIRST_GUESS = 256.0
"""Output tokens of an answer, before the first has come."""
LEARNING = 0.05


def estimated(body: bytes) -> int:
    """Estimate the tokens of a request's body.

    It counts four bytes as a token, which suits European languages; reported usage corrects it later. Images and
    documents count by what they show, not by their bytes.
    """
    size, tokens = len(body), 1
    if size >= 4096:
        for blob in _BLOB.finditer(body):
            length = blob.end() - blob.start()
            size -= length
            tokens += max(BLOB_TOKENS, length // BLOB_BYTES)
    return tokens + size // 4


class TokenEstimate:
    """Estimates one route's tokens. Both directions count, as in most providers' tokens per minute."""

    def __init__(self) -> None:
        self._ratio = 1.0
        self._output = FIRST_GUESS
        self._seen = False

    def of(self, estimate: int, cap: int | None) -> float:
        """Return the tokens of a request with this estimated input and this cap on the answer."""
        output = self._output if cap is None else min(float(cap), max(self._output, 1.0))
        return estimate * self._ratio + output

    def learn(self, estimate: int, input_tokens: int | None, output_tokens: int | None) -> None:
        """Learn from reported usage; the input ratio stays between a half and two, whatever servers say."""
        if input_tokens and estimate > 0:
            self._ratio += LEARNING * (input_tokens / estimate - self._ratio)
            self._ratio = min(2.0, max(0.5, self._ratio))
        if output_tokens is not None:
            share = LEARNING if self._seen else 1.0
            self._output += share * (min(output_tokens, 1e6) - self._output)
            self._seen = True
