"""What a request weighs in tokens, learned from what answers report. Pure."""

__all__ = ["Weight"]

FIRST_GUESS = 256.0
"""Output tokens of an answer, before the first is known."""
LEARNING = 0.05


class Weight:
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
