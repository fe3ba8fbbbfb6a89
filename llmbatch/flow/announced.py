"""What a server announces about its limits per minute, in every dialect of the headers. Pure.

The numbers are untrusted: what is not a positive, finite number below a billion was not said.
"""

import math
from collections.abc import Mapping

from llmbatch.core.exchange import Announced

__all__ = ["announced"]


def announced(headers: Mapping[str, str]) -> Announced | None:
    """Read the rate-limit headers of an answer; None when there are none.

    OpenAI and its copies say `x-ratelimit-limit-requests`, Anthropic `anthropic-ratelimit-requests-limit`, whose limit
    on tokens is the sum of those on input and output; which of them binds is left to its 429s. Groq's
    limit on requests is for a day and so too large to bind here, which does no harm.
    """
    if "x-ratelimit-limit-requests" in headers or "x-ratelimit-limit-tokens" in headers:
        limit, left = "x-ratelimit-limit-{}", "x-ratelimit-remaining-{}"
    elif "anthropic-ratelimit-requests-limit" in headers or "anthropic-ratelimit-tokens-limit" in headers:
        limit, left = "anthropic-ratelimit-{}-limit", "anthropic-ratelimit-{}-remaining"
    else:
        return None
    return Announced(
        _count(headers.get(limit.format("requests")), least=1.0),
        _count(headers.get(limit.format("tokens")), least=1.0),
        _count(headers.get(left.format("requests")), least=0.0),
        _count(headers.get(left.format("tokens")), least=0.0),
    )


def _count(text: str | None, *, least: float) -> float | None:
    try:
        number = float(text.replace(",", "")) if text is not None else math.nan
    except ValueError:
        return None
    return number if least <= number < 1e9 else None
