"""The decision table: every row of the providers' handbook, through the reading of bodies."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.dialects.error_rules import ApiError, classify
from llmbatch.dialects.errors import api_error

FREE, THROTTLED, DOUBTFUL, SERVER = Billing.UNBILLED, Billing.THROTTLED, Billing.DOUBTFUL, Billing.SERVER
RECORD, ROUTE, RUN = Scope.RECORD, Scope.ROUTE, Scope.RUN


def verdict(status: int, body: Any, **headers: str) -> Fault:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    error, _ = api_error(Reply(status, {k.replace("_", "-"): v for k, v in headers.items()}, content))
    return classify(error, {k.replace("_", "-"): v for k, v in headers.items()})


def openai(message: str = "sorry", *, type: str | None = None, code: Any = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": None, "code": code}}


def gemini(code: int, status: str, *details: dict[str, Any], message: str = "sorry") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def anthropic(type: str, message: str = "sorry", **details: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": type, "message": message, "details": details}, "request_id": "req_1"}


PER_DAY = {"@type": "QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
PER_MINUTE = {"@type": "QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]}
RETRY_INFO = {"@type": "RetryInfo", "retryDelay": "36s"}

MONEY = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_hard_limit_reached",
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
    "billing_error",
    "payment_required",
]


@pytest.mark.parametrize("name", MONEY)
@pytest.mark.parametrize("place", ["code", "type"])
@pytest.mark.parametrize("status", [400, 402, 403, 429])
def test_no_money_stops_the_run_whatever_the_status_and_wherever_it_is_said(name: str, place: str, status: int) -> None:
    fault = verdict(status, openai(**{place: name}), retry_after="5")
    assert (fault.kind, fault.scope, fault.retry, fault.billing) == (Kind.NO_CREDIT, RUN, False, FREE)


NO_MONEY = (Kind.NO_CREDIT, FREE, RUN, False)

TABLE: list[tuple[str, int, Any, dict[str, str], tuple[Kind, Billing, Scope, bool]]] = [
    # OpenAI, 1.6
    ("openai 400", 400, openai(code="invalid_value"), {}, (Kind.BAD_REQUEST, FREE, RECORD, False)),
    ("openai too long", 400, openai(code="context_length_exceeded"), {}, (Kind.CONTEXT_LENGTH, FREE, RECORD, False)),
    ("openai 401", 401, openai(code="invalid_api_key"), {}, (Kind.UNAUTHORIZED, FREE, RUN, False)),
    ("a bare 401", 401, b"", {}, (Kind.UNAUTHORIZED, FREE, RUN, False)),
    ("openai 403", 403, openai("not available in your country"), {}, (Kind.FORBIDDEN, FREE, ROUTE, False)),
    ("openai 404", 404, openai(code="model_not_found"), {}, (Kind.NOT_FOUND, FREE, ROUTE, False)),
    ("405", 405, b"", {}, (Kind.CONFIGURATION, FREE, ROUTE, False)),
    ("408", 408, b"", {}, (Kind.TIMEOUT, DOUBTFUL, RECORD, True)),
    ("409", 409, openai(), {}, (Kind.SERVER_ERROR, FREE, RECORD, True)),
    ("425", 425, b"", {}, (Kind.SERVER_ERROR, FREE, RECORD, True)),
    ("413 of nginx", 413, b"<html><title>413 Too Large</title>", {}, (Kind.TOO_LARGE, FREE, RECORD, False)),
    ("414", 414, b"", {}, (Kind.TOO_LARGE, FREE, RECORD, False)),
    ("431", 431, b"", {}, (Kind.TOO_LARGE, FREE, RECORD, False)),
    ("422", 422, openai(), {}, (Kind.BAD_REQUEST, FREE, RECORD, False)),
    ("429 requests", 429, openai(type="requests"), {}, (Kind.RATE_LIMITED, THROTTLED, ROUTE, True)),
    ("429 slow down", 429, openai(code="slow_down"), {}, (Kind.RATE_LIMITED, THROTTLED, ROUTE, True)),
    ("a bare 429", 429, b"", {}, (Kind.RATE_LIMITED, THROTTLED, ROUTE, True)),
    (
        "a 429 that talks of context length",
        429,
        openai("Limit 30000, requested 40000; the maximum context length is not the matter"),
        {},
        (Kind.RATE_LIMITED, THROTTLED, ROUTE, True),
    ),
    ("500", 500, openai(type="server_error"), {}, (Kind.SERVER_ERROR, SERVER, RECORD, True)),
    *[
        (
            f"a gateway's {status}",
            status,
            b"<html><title>Bad gateway</title>",
            {},
            (Kind.GATEWAY, DOUBTFUL, RECORD, True),
        )
        for status in (502, 504, 520, 521, 522, 523, 524, 525, 526, 527, 530)
    ],
    ("503", 503, openai(code="server_is_overloaded"), {}, (Kind.OVERLOADED, THROTTLED, ROUTE, True)),
    ("503 of a balancer", 503, b"<html>", {}, (Kind.OVERLOADED, THROTTLED, ROUTE, True)),
    ("498 of Groq", 498, openai(code="capacity_exceeded"), {}, (Kind.OVERLOADED, THROTTLED, RECORD, True)),
    ("529 of Anthropic", 529, openai(type="overloaded_error"), {}, (Kind.OVERLOADED, THROTTLED, ROUTE, True)),
    ("501", 501, b"", {}, (Kind.CONFIGURATION, FREE, ROUTE, False)),
    ("507", 507, b"", {}, (Kind.SERVER_ERROR, SERVER, RECORD, True)),
    ("301", 301, b"", {}, (Kind.REDIRECT, FREE, RUN, False)),
    ("308", 308, b"", {}, (Kind.REDIRECT, FREE, RUN, False)),
    ("418", 418, b"", {}, (Kind.BAD_REQUEST, FREE, RECORD, False)),
    # money without a code
    ("402", 402, b"", {}, (Kind.NO_CREDIT, FREE, RUN, False)),
    ("402 that asks to wait", 402, openai(), {"retry_after": "3"}, (Kind.RATE_LIMITED, THROTTLED, RECORD, True)),
    ("412 of Fireworks", 412, openai("suspended"), {}, (Kind.NO_CREDIT, FREE, RUN, False)),
    *[
        (
            f"xAI out of credit with {status}",
            status,
            {"code": "x", "error": "Your team has used all available credits or reached its monthly spending limit"},
            {},
            (Kind.NO_CREDIT, FREE, RUN, False),
        )
        for status in (403, 429)
    ],
    (
        "Anthropic out of credit",
        400,
        {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to"}},
        {},
        (Kind.NO_CREDIT, FREE, RUN, False),
    ),
    (
        "Anthropic's spend limit",
        429,
        {
            "type": "error",
            "error": {
                "type": "rate_limit_error",
                "message": "",
                "details": {"error_code": "enforced_spend_limit_reached"},
            },
        },
        {},
        (Kind.NO_CREDIT, FREE, RUN, False),
    ),
    *[
        (f"Anthropic's own limit of a {whose}", 400, anthropic("invalid_request_error", said), {}, NO_MONEY)
        for whose, said in [
            ("organisation", "You have reached your specified API usage limits. You will regain access on 2026-12-01."),
            ("workspace", "You have reached your specified workspace API usage limits. You will regain access on"),
        ]
    ],
    *[
        (f"Anthropic's {type}", status, anthropic(type), {}, expected)
        for type, status, expected in [
            ("invalid_request_error", 400, (Kind.BAD_REQUEST, FREE, RECORD, False)),
            ("authentication_error", 401, (Kind.UNAUTHORIZED, FREE, RUN, False)),
            ("billing_error", 402, (Kind.NO_CREDIT, FREE, RUN, False)),
            ("permission_error", 403, (Kind.FORBIDDEN, FREE, ROUTE, False)),
            ("not_found_error", 404, (Kind.NOT_FOUND, FREE, ROUTE, False)),
            ("conflict_error", 409, (Kind.SERVER_ERROR, FREE, RECORD, True)),
            ("request_too_large", 413, (Kind.TOO_LARGE, FREE, RECORD, False)),
            ("rate_limit_error", 429, (Kind.RATE_LIMITED, THROTTLED, ROUTE, True)),
            ("api_error", 500, (Kind.SERVER_ERROR, SERVER, RECORD, True)),
            ("timeout_error", 504, (Kind.GATEWAY, DOUBTFUL, RECORD, True)),
            ("overloaded_error", 529, (Kind.OVERLOADED, THROTTLED, ROUTE, True)),
        ]
    ],
    (
        "Anthropic's ramp limit",
        429,
        anthropic("rate_limit_error", error_code="ramp_limit_exceeded"),
        {"retry_after": "5"},
        (Kind.RATE_LIMITED, THROTTLED, ROUTE, True),
    ),
    (
        "Anthropic's contract",
        429,
        anthropic("rate_limit_error", error_code="contract_spend_limit_reached"),
        {},
        NO_MONEY,
    ),
    *[
        (
            f"Anthropic's long context, {words}",
            429,
            anthropic("rate_limit_error", f"{words} required for long context requests."),
            {},
            (Kind.CONTEXT_LENGTH, FREE, RECORD, False),
        )
        for words in ("Extra usage is", "Usage credits are")
    ],
    *[
        (
            f"Anthropic's {said[:20]}",
            400,
            anthropic("invalid_request_error", said),
            {},
            (Kind.CONTEXT_LENGTH, FREE, RECORD, False),
        )
        for said in (
            "prompt is too long: 210000 tokens > 200000 maximum",
            "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000",
        )
    ],
    *[
        (f"Gemini's {name} with {status}", status, gemini(status, name), {}, expected)
        for name, status, expected in [
            ("INVALID_ARGUMENT", 400, (Kind.BAD_REQUEST, FREE, RECORD, False)),
            ("FAILED_PRECONDITION", 400, (Kind.FORBIDDEN, FREE, RUN, False)),
            ("RESOURCE_EXHAUSTED", 402, NO_MONEY),
            ("PERMISSION_DENIED", 403, (Kind.FORBIDDEN, FREE, ROUTE, False)),
            ("NOT_FOUND", 404, (Kind.NOT_FOUND, FREE, ROUTE, False)),
            ("INTERNAL", 500, (Kind.SERVER_ERROR, SERVER, RECORD, True)),
            ("UNAVAILABLE", 503, (Kind.OVERLOADED, THROTTLED, ROUTE, True)),
            ("DEADLINE_EXCEEDED", 504, (Kind.GATEWAY, DOUBTFUL, RECORD, True)),
        ]
    ],
    (
        "a weekly limit that resets",
        429,
        openai("You have reached your weekly usage limit. Resets in 6hr", type="rate_limit_error"),
        {},
        (Kind.RATE_LIMITED, THROTTLED, ROUTE, True),
    ),
    # the zoo, 5.2
    ("vLLM", 400, openai(type="BadRequestError", code=400), {}, (Kind.BAD_REQUEST, FREE, RECORD, False)),
    (
        "an old vLLM",
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 8",
            "type": "x",
            "param": None,
            "code": 400,
        },
        {},
        (Kind.CONTEXT_LENGTH, FREE, RECORD, False),
    ),
    (
        "llama.cpp too long",
        400,
        {"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error", "n_ctx": 8}},
        {},
        (Kind.CONTEXT_LENGTH, FREE, RECORD, False),
    ),
    (
        "llama.cpp loading",
        503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        {},
        (Kind.OVERLOADED, THROTTLED, ROUTE, True),
    ),
    (
        "Mistral's limit",
        429,
        {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"},
        {},
        (Kind.RATE_LIMITED, THROTTLED, ROUTE, True),
    ),
    (
        "Mistral's capacity",
        429,
        {
            "object": "error",
            "message": "Service tier capacity exceeded for this model.",
            "type": "invalid_request_error",
        },
        {},
        (Kind.RATE_LIMITED, THROTTLED, ROUTE, True),
    ),
    ("Mistral's gateway", 401, {"message": "Unauthorized"}, {}, (Kind.UNAUTHORIZED, FREE, RUN, False)),
    (
        "FastAPI",
        422,
        {"detail": [{"loc": ["body"], "msg": "m", "type": "t"}]},
        {},
        (Kind.BAD_REQUEST, FREE, RECORD, False),
    ),
    ("Ollama", 404, {"error": "model 'm' not found"}, {}, (Kind.NOT_FOUND, FREE, ROUTE, False)),
    (
        "Gemini's minute",
        429,
        [gemini(429, "RESOURCE_EXHAUSTED", PER_MINUTE, RETRY_INFO)],
        {},
        (Kind.RATE_LIMITED, THROTTLED, ROUTE, True),
    ),
    (
        "Gemini's day",
        429,
        gemini(429, "RESOURCE_EXHAUSTED", PER_MINUTE, PER_DAY, RETRY_INFO),
        {},
        (Kind.RATE_LIMITED, FREE, ROUTE, False),
    ),
    (
        "Gemini's bad key",
        400,
        gemini(400, "INVALID_ARGUMENT", {"@type": "ErrorInfo", "reason": "API_KEY_INVALID"}),
        {},
        (Kind.UNAUTHORIZED, FREE, RUN, False),
    ),
    (
        "Azure's content filter",
        400,
        {"error": {"message": "m", "code": "content_filter", "status": 400, "param": "prompt", "type": None}},
        {},
        (Kind.CONTENT_FILTER, FREE, RECORD, False),
    ),
    (
        "Azure's inner error",
        400,
        {"error": {"message": "m", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
        {},
        (Kind.CONTENT_FILTER, FREE, RECORD, False),
    ),
    (
        "Azure API Management",
        429,
        {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 26 seconds."},
        {},
        (Kind.RATE_LIMITED, THROTTLED, ROUTE, True),
    ),
    *[
        (
            f"OpenRouter's {name}",
            status,
            {"error": {"code": status, "message": "m", "metadata": {"error_type": name}}},
            {},
            expected,
        )
        for name, status, expected in [
            ("context_length_exceeded", 400, (Kind.CONTEXT_LENGTH, FREE, RECORD, False)),
            ("token_limit_exceeded", 400, (Kind.CONTEXT_LENGTH, FREE, RECORD, False)),
            ("content_policy_violation", 403, (Kind.CONTENT_FILTER, FREE, RECORD, False)),
            ("authentication", 403, (Kind.UNAUTHORIZED, FREE, RUN, False)),
            ("payment_required", 403, (Kind.NO_CREDIT, FREE, RUN, False)),
            ("provider_overloaded", 529, (Kind.OVERLOADED, THROTTLED, ROUTE, True)),
        ]
    ],
]


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_an_error_answer_means(status: int, body: Any, headers: dict[str, str], expected: tuple[Any, ...]) -> None:
    fault = verdict(status, body, **headers)
    assert (fault.kind, fault.billing, fault.scope, fault.retry) == expected


@pytest.mark.parametrize(
    ("status", "body", "headers", "wait"),
    [
        (429, openai(), {"retry_after": "7"}, 7.0),
        (429, openai(), {"retry_after_ms": "250", "retry_after": "7"}, 0.25),
        (503, openai(), {"retry_after": "7"}, 7.0),
        (529, openai(), {"retry_after": "0.5"}, 0.5),
        (429, gemini(429, "X", RETRY_INFO), {}, 36.0),
        (429, gemini(429, "X", RETRY_INFO), {"retry_after": "2"}, 2.0),
        (429, gemini(429, "X", message="Please retry in 36.4s."), {}, 36.4),
        (429, openai("Please try again in 186ms."), {}, 0.186),
        (429, openai("Resets in 6hr"), {}, 21600.0),
        (429, openai(), {"retry_after": "-1"}, None),
        (429, openai(), {"retry_after": "2592000"}, 2592000.0),
        (429, openai(), {"retry_after": "1e308"}, None),
        (429, openai(), {"retry_after": "1795773630"}, None),  # a moment
        (429, openai("Please retry in 2s"), {"retry_after": "99999999999"}, 2.0),
        (
            429,
            openai(),
            {"retry_after": "Fri, 31 Dec 9999 23:59:59 GMT", "date": "Sun, 22 Nov 2026 10:00:00 GMT"},
            None,
        ),
        (429, openai(), {}, None),
    ],
)
def test_the_wait_comes_from_headers_then_body_then_words(
    status: int, body: Any, headers: dict[str, str], wait: float | None
) -> None:
    assert verdict(status, body, **headers).wait == wait


@pytest.mark.parametrize(("status", "plain"), [(400, False), (401, False), (429, True), (500, True), (503, True)])
@pytest.mark.parametrize(("word", "decided"), [("true", True), ("false", False), ("maybe", None)])
def test_x_should_retry_decides_over_the_table(status: int, plain: bool, word: str, decided: bool | None) -> None:
    assert verdict(status, openai(), x_should_retry=word).retry is (plain if decided is None else decided)


def test_x_should_retry_does_not_make_a_doubtful_attempt_free() -> None:
    assert verdict(502, b"", x_should_retry="true").billing is DOUBTFUL


@pytest.mark.parametrize("header", ["x_request_id", "request_id"])
def test_the_request_id_is_kept(header: str) -> None:
    assert verdict(500, openai(), **{header: "req_9"}).request_id == "req_9"


def test_a_page_is_reduced_to_its_title() -> None:
    page = b"<!DOCTYPE html><html><head><title>\n 502 Bad\n Gateway </title></head><body>203.0.113.9 Ray 77</body>"
    assert verdict(502, page).message == "HTTP 502: 502 Bad Gateway"


def test_a_page_without_a_title_says_nothing_of_addresses() -> None:
    assert verdict(502, b"<html><body>203.0.113.9</body>").message == "HTTP 502 without an explanation"


def test_plain_text_is_its_own_message() -> None:
    assert verdict(503, b"upstream connect error").message == "HTTP 503: upstream connect error"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": None, "message": "m"}, "m"),
        ({"error": "m"}, "m"),
        ({"detail": "m"}, "m"),
        ({"error": {"message": "m", "metadata": {"raw": "true reason"}}}, "m: true reason"),
        ("m", "m"),
        ([], "HTTP 400"),
        ({}, "HTTP 400"),
        (None, "HTTP 400"),
    ],
)
def test_the_message_is_found(body: Any, message: str) -> None:
    assert verdict(400, body).message == message


def test_a_message_is_at_most_a_thousand_characters() -> None:
    assert len(verdict(400, openai("x" * 100_000)).message) == 1000


def test_a_code_that_is_a_number_is_kept_as_text() -> None:
    assert verdict(400, openai(code=20009)).code == "20009"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 999)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "code", "type", "details", "metadata", "raw", "innererror", "status", "violations"]
            )
            | st.sampled_from(["retryDelay", "reason", "quotaId", "detail", "error_type", "error_code"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.integers(300, 599), JSON)
def test_no_error_body_is_too_odd_to_judge(status: int, body: Any) -> None:
    fault = verdict(status, {"error": body})
    assert fault.message


@pytest.mark.parametrize(
    "details", [5, "x", [5], [{"violations": 5}], [{"violations": [5]}], [{"retryDelay": 5}], {"error_code": 5}]
)
def test_odd_details_do_not_hide_the_error(details: Any) -> None:
    body = {"error": {"message": "m", "details": details, "metadata": details, "innererror": details}}
    assert verdict(429, body).kind is Kind.RATE_LIMITED


@given(st.integers(300, 599), st.binary(max_size=60))
def test_no_error_page_is_too_odd_to_judge(status: int, page: bytes) -> None:
    assert verdict(status, page).status == status


@given(st.integers(100, 599), st.text(max_size=30), st.text(max_size=30))
def test_every_error_has_a_row(status: int, message: str, code: str) -> None:
    assert classify(ApiError(status, message, code), {}).status == status


def test_a_code_that_only_repeats_the_status_gives_way_to_a_name() -> None:
    assert verdict(429, gemini(429, "RESOURCE_EXHAUSTED")).code == "resource_exhausted"
    assert verdict(400, openai(type="BadRequestError", code=400)).code == "badrequesterror"
    assert verdict(429, openai(type="rate_limited", code=1300)).code == "1300"


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (b"<HTML><TITLE lang=en>Down</TITLE>", "HTTP 500: Down"),
        (b"<title>" * 9000, "HTTP 500 without an explanation"),
        (b"<title", "HTTP 500 without an explanation"),
        (b"</title><title>Late</title>", "HTTP 500: Late"),
        (b"x" * 2_000_000, "HTTP 500: " + "x" * 200),
        (b'{"error":"' + b"x" * 2_000_000 + b'"}', 'HTTP 500: {"error":"' + "x" * 190),
    ],
)
def test_a_page_of_any_kind_is_a_short_message_and_its_beginning(page: bytes, said: str) -> None:
    error, shown = api_error(Reply(500, {}, page))
    assert error.message == said
    assert isinstance(shown, str) and len(shown) <= 65536
