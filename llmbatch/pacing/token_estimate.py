"""Estimates the tokens of a request; learns from the usage that answers report. Pure."""

import re

__all__ = ["TokenEstimate", "estimated"]

_BLOB = re.compile(rb"[A-Za-z0-9+/=_-]{4096,}")
"""Base64: no text has words of that length."""
BLOB_TOKENS, BLOB_BYTES = 1000, 64
"""Tokens of an image at least, and bytes of base64 for each of more: what a page of a PDF takes, more than a photo."""

FIRST_GUESS = 256.0
"""Output tokens of an answer, before the first is known."""
LEARNING = 0.05


def estimated(body: bytes) -> int:
    """Estimate the tokens of a request's body.

    Four bytes a token: right within a third for European languages, corrected later by reported usage. Images and
    documents in it weigh what they show, not what they measure.
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
        """Return the tokens of a request whose input is estimated so, and whose answer is capped so."""
        output = self._output if cap is None else min(float(cap), max(self._output, 1.0))
        return estimate * self._ratio + output

    def learn(self, estimate: int, input_tokens: int | None, output_tokens: int | None) -> None:
        """Compare with what was reported; the input ratio stays within a half and two, whatever servers say."""
        if input_tokens and estimate > 0:
            self._ratio += LEARNING * (input_tokens / estimate - self._ratio)
            self._ratio = min(2.0, max(0.5, self._ratio))
        if output_tokens is not None:
            share = LEARNING if self._seen else 1.0
            self._output += share * (min(output_tokens, 1e6) - self._output)
            self._seen = True
