"""Waits and limits that servers announce: read in each one's words, and nothing else believed."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmbatch.core.clock import duration
from llmbatch.core.exchange import RateLimits, Reply
from llmbatch.core.fault import Fault
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.answers import alone
from llmbatch.dialects.response_headers import quoted_headers, rate_limits, retry_after, wait_in_text

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
        (
            {
                "x-ratelimit-limit-req-minute": "720",
                "x-ratelimit-remaining-req-minute": "717",
                "x-ratelimit-limit-tokens-minute": "5000000",
                "x-ratelimit-remaining-tokens-minute": "4999911",
            },
            RateLimits(720, 5000000, 717, 4999911),
        ),
        (
            {
                "x-ratelimit-limit-requests-day": "14400",
                "x-ratelimit-remaining-requests-day": "13693",
                "x-ratelimit-reset-requests-day": "11726.25",
                "x-ratelimit-limit-requests-minute": "30",
                "x-ratelimit-remaining-requests-minute": "29",
                "x-ratelimit-reset-requests-minute": "26.5",
            },
            RateLimits(30, None, 29, None, 26.5),
        ),
        ({"x-ratelimit-limit-minute": "60", "x-ratelimit-remaining-minute": "59"}, RateLimits(60, None, 59)),
        ({"x-ratelimit-limit-req-minute": "0", "x-ratelimit-remaining-req-minute": "0"}, RateLimits(None, None, 0)),
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


DATE = "Sun, 22 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "6m0s"}, 360.0),
        ({"retry-after": "86400"}, 86400.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "0.5"}, 0.0005),
        ({"x-ms-retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "-1", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "nan", "retry-after": "9"}, 9.0),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:30 +0100", "date": DATE}, 30.0),
        ({"retry-after": "Sunday, 22-Nov-26 10:00:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "30 seconds"}, 30.0),
        ({"retry-after": "1m 30s"}, 90.0),
        ({"retry-after": '"30"'}, 30.0),
        ({"retry-after": "30; comment=x"}, 30.0),
        ({"retry-after": "2026-11-22T10:00:30Z", "date": DATE}, 30.0),
        ({"retry-after": "1795341630", "date": DATE}, 30.0),
        ({"retry-after": "1795341630000", "date": DATE}, 30.0),
    ],
)
def test_a_wait_is_read_in_every_form(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"retry-after": ""},
        {"retry-after": "0"},
        {"retry-after": "-5"},
        {"retry-after": "NaN"},
        {"retry-after": "inf"},
        {"retry-after": "1e400"},
        {"retry-after": "9" * 400},
        {"retry-after-ms": "5e-324"},
        {"retry-after": "in a while"},
        {"retry-after": "Sun, 22 Nov 2026 09:59:00 GMT", "date": DATE},
        {"retry-after": DATE, "date": DATE},
        {"retry-after": "1795341630"},
        {"retry-after": "1795341000", "date": DATE},
        {"retry-after": "2026-11-22T10:00:30"},
        {"retry-after": DATE},
        {"retry-after": DATE, "date": "yesterday"},
        {"retry-after": "Sun, 31 Feb 2026 10:00:00 GMT", "date": DATE},
        {"retry-after": "Sun, 22 Nov 99999 10:00:00 GMT", "date": DATE},
    ],
)
def test_what_is_not_a_finite_positive_wait_counts_as_not_said(headers: dict[str, str]) -> None:
    assert retry_after(headers) is None


def test_the_year_9999_is_a_wait_of_millennia_and_not_an_overflow() -> None:
    seconds = retry_after({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT", "date": DATE})
    assert seconds is not None and seconds > 7000 * 365 * 86400


def test_a_date_without_a_zone_is_gmt_whatever_the_local_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert retry_after({"retry-after": "Sun, 22 Nov 2026 10:00:30", "date": DATE}) == 30.0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(
    st.text(max_size=40) | st.from_regex(r"\A[0-9.eE+:, -]{1,20}\Z"),
    st.text(max_size=40),
    st.text(max_size=40) | st.just(DATE),
)
@example("1" * 5000, "1" * 5000, "1" * 5000)
@example("Fri, 31 Dec 9999 23:59:59 -9999", "", DATE)
@example("", "\x00", "0 0 0 0 0")
def test_no_header_text_raises_and_every_wait_is_finite_and_positive(value: str, ms: str, date: str) -> None:
    for headers in ({"retry-after": value, "date": date}, {"retry-after": date, "retry-after-ms": ms, "date": value}):
        seconds = retry_after(headers)
        assert seconds is None or (math.isfinite(seconds) and seconds > 0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("1s", 1.0),
        ("20ms", 0.02),
        ("1m30s", 90.0),
        ("7.66s", 7.66),
        ("1h1m1s", 3661.0),
        ("45.837906927s", 45.837906927),
        ("500us", 0.0005),
        ("500µs", 0.0005),
        ("12", 12.0),
    ],
)
def test_go_durations_and_bare_seconds_are_read(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5 s", "5x", "1s2", "-1s", "0s", "١s", "1m1", "1..2s"])
def test_what_is_no_duration_is_none(text: str) -> None:
    assert duration(text) is None


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached. Please try again in 5.289s. Visit ...", 5.289),
        ("Please try again in 186ms.", 0.186),
        ("quota ... Please retry in 38.80s.", 38.8),
        ("Rate limit is exceeded. Try again in 26 seconds.", 26.0),
        ("Rate limit ... retry after 26 seconds.", 26.0),
        ("You have reached your weekly limit. Resets in 6hr", 21600.0),
        ("Please try again in 6m0s.", 360.0),
        ("Please try again in 1H", 3600.0),
        ("Try again in 2 minutes.", 120.0),
        ("Too many requests. Please wait 20 seconds before trying again.", 20.0),
        ("Request was throttled. Expected available in 5 seconds.", 5.0),
        ("Your limit resets in 1 hour and 30 minutes", 5400.0),
        ("Retry-After: 7 seconds", 7.0),
        ("available again in about 3 days", 259200.0),
    ],
)
def test_a_message_may_say_how_long(message: str, seconds: float) -> None:
    assert wait_in_text(message) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "message",
    ["", "try again later", "try again in a moment", "retry in 0s", "in 5s", "wait for 3 retries", "await 5 s"],
)
def test_other_messages_say_nothing(message: str) -> None:
    assert wait_in_text(message) is None


@given(st.text(max_size=60).map(lambda t: f"try again in {t}"))
def test_no_message_raises(message: str) -> None:
    seconds = wait_in_text(message)
    assert seconds is None or (math.isfinite(seconds) and seconds > 0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3, 3", 3.0),
        ("3, 5", 5.0),
        ("2s,1m", 60.0),
        ("soon, 4", 4.0),
        ("Fri, 27 Nov 2026 10:00:05 GMT, Fri, 27 Nov 2026 10:00:05 GMT", 5.0),
        ("Fri, 27 Nov 2026 10:00:05 GMT, Fri, 27 Nov 2026 10:00:09 GMT", 9.0),
    ],
)
def test_a_wait_that_is_said_twice_is_the_longer_one(value: str, seconds: float) -> None:
    assert retry_after({"retry-after": value, "date": "Fri, 27 Nov 2026 10:00:00 GMT"}) == seconds


@pytest.mark.parametrize(
    ("text", "date", "seconds"),
    [
        ("6m0s", None, 360.0),
        ("120ms", None, 0.12),
        ("58.1", None, 58.1),
        ("2026-11-27T10:00:30Z", "Fri, 27 Nov 2026 10:00:00 GMT", 30.0),
        ("2026-11-27T10:00:30Z", None, None),  # the local clock may be wrong
        ("1795773630", "Fri, 27 Nov 2026 10:00:00 GMT", 30.0),
        ("1795773630500", "Fri, 27 Nov 2026 10:00:00 GMT", 30.5),
        ("1795773630", None, None),
        ("90000", "Fri, 27 Nov 2026 10:00:00 GMT", None),
        ("2026-11-27T10:00:30", "Fri, 27 Nov 2026 10:00:00 GMT", None),
        ("9999-12-31T23:59:59Z", "Fri, 27 Nov 2026 10:00:00 GMT", None),
        ("2025-01-01T00:00:00Z", "Fri, 27 Nov 2026 10:00:00 GMT", None),
        ("-5", None, None),
        ("nan", None, None),
        ("1e300", None, None),
        ("soon", None, None),
    ],
)
def test_a_reset_is_read_in_every_form_and_nonsense_is_none(text: str, date: str | None, seconds: float | None) -> None:
    headers = {"date": date} if date is not None else {}
    for reset in ("x-ratelimit-reset-requests", "anthropic-ratelimit-requests-reset"):
        limit = "x-ratelimit-limit-requests" if reset.startswith("x") else "anthropic-ratelimit-requests-limit"
        found = rate_limits({limit: "60", reset: text, **headers})
        assert found is not None and found.requests_reset == (pytest.approx(seconds) if seconds else None)


NOON = "Fri, 27 Nov 2026 12:00:00 GMT"
BARE = {"x-ratelimit-limit": "20", "x-ratelimit-remaining": "0", "date": NOON}
DRAFT = {"ratelimit-policy": '"burst";q=10;w=60, "daily";q=5000;w=86400'}


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (BARE | {"x-ratelimit-reset": "1795780830000"}, (20, 0, 30.0)),  # OpenRouter
        (BARE | {"x-ratelimit-reset": "1795780830"}, (20, 0, 30.0)),  # GitHub, DigitalOcean
        (BARE | {"x-ratelimit-reset": "1"}, (20, 0, 1.0)),  # Together
        (BARE | {"x-ratelimit-limit": "20, 100;w=60", "x-ratelimit-reset": "30, 3600"}, (20, 0, 30.0)),
        ({"ratelimit-limit": "100", "ratelimit-remaining": "9", "ratelimit-reset": "6"}, (100, 9, 6.0)),  # Kong
        (DRAFT | {"ratelimit": '"burst";r=8;t=30, "daily";r=4998;t=69076'}, (10, 8, 30.0)),
        (
            {"ratelimit": '"api";r=495;t=140', "ratelimit-policy": '"fixed window";"api";q=500;w=300'},  # Hugging Face
            (500, 495, 140.0),
        ),
        (BARE | {"x-ratelimit-reset": "1795780830000", "x-ratelimit-limit-requests": "60"}, (60, None, None)),
    ],
)
def test_names_that_say_no_period_are_read_with_their_reset(
    headers: dict[str, str], said: tuple[float | None, ...]
) -> None:
    found = rate_limits(headers)
    assert found is not None and (found.requests, found.requests_left, found.requests_reset) == said
    assert found.tokens is None


@pytest.mark.parametrize(
    "headers",
    [
        BARE,
        *(
            BARE | {"x-ratelimit-reset": reset}
            for reset in ("", "0", "-1", "nan", "1e300", "soon", "1795780830000000", "9" * 400, "1795770000000")
        ),
        {"x-ratelimit-limit": "20", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795780830000"},  # no date
        BARE | {"x-ratelimit-limit": "-1", "x-ratelimit-reset": "30"},
        BARE | {"x-ratelimit-limit": "1e999", "x-ratelimit-reset": "30"},
        BARE | {"x-ratelimit-remaining": "many", "x-ratelimit-reset": "30"},
        DRAFT,
        DRAFT | {"ratelimit": '"burst";r=8'},
        DRAFT | {"ratelimit": '"burst";r=8;t=99999999999999'},
        {"ratelimit": "limit=100, remaining=50, reset=5"},
        {"ratelimit": '"burst";r=8;t=30'},
    ],
)
def test_a_limit_of_no_known_period_is_not_believed(headers: dict[str, str]) -> None:
    assert rate_limits(headers) in (None, RateLimits())


def test_what_an_error_quotes_of_its_headers_are_those_about_pace() -> None:
    quoted = {"X-RateLimit-Reset": 1795780830000, "Retry-After": "7", "x-should-retry": "true", "location": "/"}
    body = {"error": {"code": 429, "metadata": {"headers": quoted}}}
    assert quoted_headers(body) == {"x-ratelimit-reset": "1795780830000", "retry-after": "7"}
    for nonsense in (None, "x", [], {"error": []}, {"error": {"metadata": {"headers": [1]}}}):
        assert quoted_headers(nonsense) == {}


@pytest.mark.parametrize("own", [{}, {"x-ratelimit-limit": "60"}])
def test_limits_that_stand_in_the_body_of_an_error_count_like_its_headers(own: dict[str, str]) -> None:
    body = (
        b'{"error":{"message":"Rate limit exceeded: free-models-per-min.","code":429,"metadata":{"headers":{'
        b'"X-RateLimit-Limit":"20","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1795780830000"}}}}'
    )
    _, limits = AnswerReader().read_reply(alone("chat", False), Reply(429, {"date": NOON, **own}, body))
    assert limits == RateLimits(requests=60.0 if own else 20.0, requests_left=0.0, requests_reset=30.0)


@pytest.mark.parametrize(
    "error",
    [
        {"metadata": {"retry_after_seconds": 1.5}},
        {"details": {"retry_after": 1.5}},
        {"retryAfterMs": 1500},
        {"retry-after": "1.5s"},
    ],
)
def test_a_wait_in_a_field_of_an_error_is_read(error: dict[str, Any]) -> None:
    body = json.dumps({"error": {"message": "Provider returned error", "code": 429} | error}).encode()
    (verdict,) = AnswerReader().read(alone("chat", False), Reply(429, {}, body))
    assert isinstance(verdict, Fault) and verdict.wait == 1.5
