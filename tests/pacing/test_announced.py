"""Limits that servers announce: read in each one's words, and nothing else believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.exchange import RateLimits
from llmbatch.dialects.response_headers import rate_limits

ANTHROPIC = {
    "anthropic-ratelimit-input-tokens-limit": "80000",
    "anthropic-ratelimit-output-tokens-limit": "16000",
    "anthropic-ratelimit-requests-limit": "1000",
    "anthropic-ratelimit-requests-remaining": "999",
    "anthropic-ratelimit-requests-reset": "2025-08-21T12:40:59Z",
    "anthropic-ratelimit-tokens-limit": "96000",
    "anthropic-ratelimit-tokens-remaining": "95000",
}


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, None),
        ({"retry-after": "3"}, None),
        (ANTHROPIC, RateLimits(1000, 96000, 999, 95000)),
        ({"anthropic-ratelimit-tokens-limit": "96000"}, RateLimits(None, 96000)),
        (
            {"x-ratelimit-limit-requests": "10,000", "x-ratelimit-remaining-requests": "0"},
            RateLimits(10000, None, 0, None),
        ),
        ({"x-ratelimit-limit-tokens": "-1", "x-ratelimit-remaining-tokens": "-1"}, RateLimits()),
        ({"x-ratelimit-limit-tokens": "0"}, RateLimits()),
        ({"x-ratelimit-limit-tokens": "nan", "x-ratelimit-remaining-tokens": "inf"}, RateLimits()),
    ],
)
def test_the_limits_are_read(headers: dict[str, str], said: RateLimits | None) -> None:
    assert rate_limits(headers) == said


@given(st.dictionaries(st.sampled_from([*ANTHROPIC, "x-ratelimit-limit-requests"]), st.text(max_size=8)))
def test_whatever_a_header_says_is_a_number_of_use_or_nothing(headers: dict[str, str]) -> None:
    assert all(number is None or 0 <= number < 1e9 for number in rate_limits(headers) or ())
