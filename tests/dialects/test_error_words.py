"""What servers say, and how they wrap it: each wording is the kind it means, and a mere mention is none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.dialects.embedded_errors import embedded_error, has_error
from llmbatch.dialects.error_rules import classify
from llmbatch.dialects.errors import api_error


def verdict(status: int, body: Any, **headers: str) -> Fault:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    error, _ = api_error(Reply(status, named, content))
    return classify(error, named)


def in_200(body: Any) -> Fault:
    assert has_error(body)
    return embedded_error(body, Reply(200, {}, json.dumps(body).encode()))


def says(message: str, *, type: str | None = None, code: Any = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": None, "code": code}}


TOO_LONG = [
    "The decoder prompt (length 21535) is longer than the maximum model length of 16384.",
    "The encoder prompt (length 600) is longer than the maximum model length of 512. Consider a larger one.",
    "You passed 5000 input tokens and requested 100. However, the model's context length is only 4096 tokens",
    "This model's maximum context length is 4096 tokens. However, your prompt contains at least 5000 input tokens.",
    "'max_tokens' is too large: 2000. This model's maximum context length is 4096 tokens and yours has 2104 input",
    "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 5000.",
    "The input (61709 tokens) is longer than the model's context length (40960 tokens).",
    "Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens).",
    "Prompt contains 33000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 `inputs` tokens and 100",
    "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000",
    "the request exceeds the available context size, try increasing it",
    "request (5212 tokens) exceeds the available context size (4096 tokens), try increasing it",
    "input is too large to process. increase the physical batch size",
    "The number of tokens to keep from the initial prompt is greater than the context length. Try a larger context.",
    "Trying to keep the first 9000 tokens when context the overflows. The model is loaded with one of only 4096.",
    "However, the model is loaded with context length of only 4096 tokens, which is not enough.",
    "the input length exceeds the context length",
    "Context size has been exceeded.",
    "Input is too long for requested model.",
    "Malformed input request: expected maxLength: 2048, actual: 3000, please reformat your input and try again.",
    "Too many input tokens",
    "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]",
    "Invalid request: Your request exceeded model token limit: 8192 (requested: 9001)",
    "Input token length too long",
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "invalid params, context window exceeds limit (2013)",
    "Please reduce the length of the messages or completion. Current length is 12000 while limit is 8192",
    "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
    "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000.",
    "prompt token count of 130000 exceeds the limit of 128000",
    "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.",
    "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "litellm.ContextWindowExceededError: litellm.BadRequestError: the prompt did not fit",
    "Prompt 超长",
    "输入内容过长，请缩短后重试",
]


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize("words", TOO_LONG)
def test_a_prompt_that_is_too_long_is_known_by_what_is_said_of_it(words: str, status: int) -> None:
    fault = verdict(status, says(words, code=status))
    assert (fault.kind, fault.scope, fault.retry) == (Kind.CONTEXT_LENGTH, Scope.RECORD, False)
    assert fault.message == words


NO_CREDIT: list[tuple[int, Any]] = [
    (429, says("Your account org-1 is suspended due to insufficient balance", type="exceeded_current_quota_error")),
    (429, says("Insufficient balance or no resource package. Please recharge.", code="1113")),
    (429, says("您的账户已欠费，请充值后重试", code="1113")),
    (429, says("Budget has been exceeded! Current cost: 10.51, Max budget: 10.00", type="budget_exceeded", code="429")),
    (400, says("ExceededBudget: User=u over budget. Spend=0.1, Budget=0.05", code="400")),
    (400, says("Access denied, please make sure your account is in good standing.", type="Arrearage")),
    (
        403,
        {
            "error": {
                "code": "AccountOverdueError",
                "message": "The request failed because your account has an overdue balance.",
            }
        },
    ),
    (403, says("The free tier of the model has been exhausted.", code="AllocationQuota.FreeTierOnly")),
    (500, {"type": "error", "error": {"type": "insufficient_balance_error", "message": "insufficient balance (1008)"}}),
    (403, says("user quota is not enough (request id: 2024)", type="new_api_error", code="insufficient_user_quota")),
    (403, says("token quota is not enough, token remain quota: $0.1", code="pre_consume_token_quota_failed")),
    (403, says("用户额度不足, 剩余额度: ¥0.00")),
    (403, {"code": "permission-denied", "error": "Your newly created team doesn't have any credits yet."}),
    (403, says("Key limit exceeded (monthly limit). Manage it in the settings", code=403)),
    (429, says("You exceeded your current quota, please check your plan and billing details.")),
    (401, says("You have insufficient credits to make this request")),
    (402, says("Insufficient USD or Diem balance to complete request.")),
    (400, says("There is not enough credit left: your spending limit has been reached")),
    (429, says("Insufficient balance", type="rate_limit_error", code="rate_limit_exceeded")),
    (503, {"detail": "Your account has run out of funds: the balance is negative"}),
]


@pytest.mark.parametrize(("status", "body"), NO_CREDIT)
def test_an_account_without_money_is_known_by_any_of_its_signs(status: int, body: Any) -> None:
    fault = verdict(status, body)
    assert (fault.kind, fault.scope, fault.retry, fault.billing) == (Kind.NO_CREDIT, Scope.RUN, False, Billing.UNBILLED)


@pytest.mark.parametrize("words", ["Insufficient balance", "Please recharge your account", "Your credits are used up"])
def test_no_wait_of_a_proxy_makes_an_empty_account_a_matter_of_time(words: str) -> None:
    assert verdict(429, says(words), retry_after="60").kind is Kind.NO_CREDIT


PACE: list[Any] = [
    says(
        "Rate limit reached for m in organization org-x on tokens per min. Please add a payment method to your account."
    ),
    says("Allocated quota exceeded, please increase your quota limit.", type="insufficient_quota"),
    {
        "error": {
            "code": 429,
            "status": "RESOURCE_EXHAUSTED",
            "message": "You exceeded your current quota, please check your plan and billing details.",
        }
    },
    says("You exceeded your current quota: 3 requests per minute. Please retry in 20s."),
]


@pytest.mark.parametrize("body", PACE)
def test_a_matter_of_pace_is_no_matter_of_money(body: Any) -> None:
    fault = verdict(429, body)
    assert (fault.kind, fault.billing, fault.retry) == (Kind.RATE_LIMITED, Billing.THROTTLED, True)


HOURS: list[Any] = [
    says("Usage limit reached for 5 hour. Your limit will reset at 2026-11-27 10:00:00", code="1308"),
    says("Weekly/Monthly Limit Exhausted. Your limit will reset at 2026-12-01 00:00:00", code="1310"),
    says("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"),
    says("You've hit your daily limit of messages, see the dashboard."),
    says("5-hour limit reached, resets 3pm"),
    says("You have used up your daily free allocation of 10,000 units, please upgrade."),
    says("You are using a Trial key, which is limited to 1000 API calls / month."),
]


@pytest.mark.parametrize("body", HOURS)
def test_a_limit_of_hours_ends_the_route_unless_it_says_how_long(body: Any) -> None:
    fault = verdict(429, body)
    assert (fault.kind, fault.scope, fault.billing, fault.retry) == (
        Kind.RATE_LIMITED,
        Scope.ROUTE,
        Billing.UNBILLED,
        False,
    )
    waits = verdict(429, body, retry_after="90")
    assert (waits.kind, waits.billing, waits.retry, waits.wait) == (Kind.RATE_LIMITED, Billing.THROTTLED, True, 90)


def test_seconds_until_a_limit_resets_are_a_wait() -> None:
    body = {"error": {"message": "Too many messages for now", "type": "plan_limit", "resets_in_seconds": 7200}}
    fault = verdict(429, body)
    assert (fault.billing, fault.wait) == (Billing.THROTTLED, 7200)


FILTERED: list[tuple[int, Any]] = [
    (400, says("Input data may contain inappropriate content.", code="data_inspection_failed")),
    (400, {"code": "DataInspectionFailed", "message": "Output data may be off.", "request_id": "r"}),
    (
        400,
        says(
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.", code="invalid_prompt"
        ),
    ),
    (400, says("Your request was rejected as a result of our safety system.")),
    (400, says("The response was filtered due to the prompt triggering Azure OpenAI's content management policy.")),
    (400, says("Output blocked by content filtering policy", type="invalid_request_error")),
    (400, says("系统检测到输入或生成内容可能包含不安全或敏感内容", code="1301")),
    (400, says("The request failed because the input text may contain it", code="InputTextSensitiveContentDetected")),
    (400, says("The request could not be processed", code="OutputTextRiskDetection")),
    (400, says("The request was rejected because it was considered high risk", type="content_filter")),
    (
        403,
        {
            "code": "no permission",
            "error": "Content violates usage guidelines. Team: t, API key ID: k, Failed check: C",
        },
    ),
    (403, {"error": {"code": 403, "message": "Your chosen model requires it", "metadata": {"reasons": ["violence"]}}}),
    (403, {"error": "Your generation was blocked due to the model provider's content policies."}),
    (403, says("Request blocked by guardrail", code=403)),
    (500, {"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}),
    (422, {"detail": "This text goes against our content guidelines"}),
    (451, {"code": 50505, "message": "not here", "data": None}),
    (403, {"errors": [{"code": "model_output_moderated", "message": "detected"}]}),
    (446, {"error": {"message": "The guardrail checks of the config failed.", "type": "hooks_failed"}}),
]


@pytest.mark.parametrize(("status", "body"), FILTERED)
def test_a_filter_speaks_of_one_record(status: int, body: Any) -> None:
    fault = verdict(status, body)
    assert (fault.kind, fault.scope, fault.retry) == (Kind.CONTENT_FILTER, Scope.RECORD, False)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "Your organization has been disabled for violating our usage policies."),
        (403, "Access to your account was suspended: it violates the content policy"),
    ],
)
def test_an_account_that_was_locked_is_no_filter(status: int, words: str) -> None:
    assert verdict(status, says(words)).kind is Kind.FORBIDDEN


MENTIONS: list[tuple[int, Any, Kind]] = [
    (404, says("The model `my context length exceeded model` does not exist"), Kind.NOT_FOUND),
    (
        400,
        says("Invalid value: 'the prompt is too long, isn't it'. Supported values are: 'low' and 'high'."),
        Kind.BAD_REQUEST,
    ),
    (400, says('Unknown parameter: "insufficient balance of content policy".'), Kind.BAD_REQUEST),
    (400, says("Could not find the tool “what is the maximum context length of 4096 tokens”"), Kind.BAD_REQUEST),
    (
        400,
        says("max_tokens is too large: 50000. This model supports at most 16384 completion tokens."),
        Kind.BAD_REQUEST,
    ),
    (
        400,
        says("max_tokens: 50000 > 8192, which is the maximum allowed number of output tokens for m"),
        Kind.BAD_REQUEST,
    ),
    (400, says("Input validation error: `max_new_tokens` must be <= 512. Given: 1024"), Kind.BAD_REQUEST),
    (400, says("Invalid 'user': string too long. Expected a string with maximum length 64"), Kind.BAD_REQUEST),
    (404, says("No endpoints found for m-context-length"), Kind.NOT_FOUND),
    (422, {"detail": [{"loc": ["body", "n"], "msg": "not a number", "input": "prompt is too long"}]}, Kind.BAD_REQUEST),
    (429, says("Request too large for m on tokens per min: Limit 30000, Requested 40000."), Kind.TOO_LARGE),
]


@pytest.mark.parametrize(("status", "body", "kind"), MENTIONS)
def test_what_is_only_mentioned_means_nothing(status: int, body: Any, kind: Kind) -> None:
    assert verdict(status, body).kind is kind


IN_OTHER_WORDS: list[tuple[int, Any, Kind]] = [
    (429, says("You have exceeded your monthly spending cap for this project."), Kind.NO_CREDIT),
    (412, {"detail": "Insufficient credits"}, Kind.NO_CREDIT),
    (403, says("Your organization has run out of funds."), Kind.NO_CREDIT),
    (403, says("Your API key was reported as leaked. Please use another API key."), Kind.UNAUTHORIZED),
    (403, {"message": "The security token included in the request is expired"}, Kind.UNAUTHORIZED),
    (400, {"message": "Guardrail intervened: the request was blocked"}, Kind.CONTENT_FILTER),
    (422, {"detail": "Prompt was rejected by the moderation model"}, Kind.CONTENT_FILTER),
    (422, {"detail": "Requested input length 9000 exceeds maximum input length 8192"}, Kind.CONTEXT_LENGTH),
    (500, says("Input prompt contains 5012 tokens which is more than the limit of 4096"), Kind.CONTEXT_LENGTH),
]


@pytest.mark.parametrize(("status", "body", "kind"), IN_OTHER_WORDS)
def test_a_kind_is_found_in_other_words(status: int, body: Any, kind: Kind) -> None:
    assert verdict(status, body).kind is kind


THIS_RECORD = [
    (404, "No endpoints found that support image input"),
    (404, "No endpoints found that support input audio"),
    (403, "This model does not support file attachments"),
    (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
    (500, "Failed to load image or audio file"),
    (400, "Invalid content type. image_url is only supported by certain models."),
    (400, "At most 0 image(s) may be provided in one request."),
    (400, "m-7b is not a multimodal model"),
    (400, "messages[1]: unknown variant `image_url`, expected `text` at line 1 column 812"),
    (400, "Error while downloading https://img.example/1.png."),
    (400, "The image data you provided does not represent a valid image."),
    (400, "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum: 7340032 bytes > 5242880 bytes"),
    (400, "Unsupported MIME type: image/heic"),
    (400, "Image input modality is not enabled for models/m"),
    (415, "Unsupported image format"),
    (422, "could not decode image"),
]


@pytest.mark.parametrize(("status", "words"), THIS_RECORD)
def test_what_this_record_holds_stops_no_other_and_is_not_asked_again(status: int, words: str) -> None:
    fault = verdict(status, says(words))
    assert (fault.kind, fault.scope, fault.retry) == (Kind.BAD_REQUEST, Scope.CONTENT, False)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "Conversation roles must alternate user/assistant/user/assistant/..."),
        (500, "Failed to parse grammar"),
        (500, "Invalid request: tool_choice is not supported"),
        (424, "unsupported content type for this model"),
        (400, "Unsupported parameter: 'max_tokens' is not supported with this model."),
    ],
)
def test_what_a_request_asks_may_be_what_all_ask(status: int, words: str) -> None:
    fault = verdict(status, says(words))
    assert (fault.kind, fault.scope, fault.retry) == (Kind.BAD_REQUEST, Scope.RECORD, False)


@pytest.mark.parametrize(("status", "billing"), [(499, Billing.DOUBTFUL), (424, Billing.SERVER), (500, Billing.SERVER)])
def test_a_server_that_gave_up_is_asked_again(status: int, billing: Billing) -> None:
    fault = verdict(
        status, says("The operation was cancelled.", type="invalid_request_error" if status < 500 else None)
    )
    assert (fault.retry, fault.billing) == (True, billing)


SPOKEN: list[tuple[Any, str]] = [
    (
        {
            "success": False,
            "errors": [{"code": 7003, "message": "Could not route to that"}],
            "messages": [],
            "result": None,
        },
        "Could not route",
    ),
    ({"errors": [{"message": "first"}, {"message": "second"}]}, "first; second"),
    ({"Message": "User is not authorized", "__type": "AccessDenied"}, "not authorized"),
    ({"detail": "Not enough"}, "Not enough"),
    (
        {"detail": [{"loc": ["body", "messages", 0], "msg": "field required", "type": "missing"}]},
        "field required: at body.messages.0",
    ),
    ({"detail": [{"loc": ["body", "a"], "msg": "x1"}, {"loc": ["body", "b"], "msg": "x2"}]}, "body.a: x1; body.b: x2"),
    ({"detail": {"error": "nested", "code": 5}}, "nested"),
    ({"title": "One or more errors", "status": 400, "errors": {"Messages": ["is required"]}}, "Messages: is required"),
    (
        {
            "error": {
                "code": "BadArgument",
                "message": "Multiple errors",
                "details": [{"target": "top_p", "message": "too high"}],
            }
        },
        "top_p: too high",
    ),
    ({"error": "Bad Request", "message": "the real words", "status": 400}, "the real words"),
    ({"fault": {"faultstring": "Quota violated", "detail": {"errorcode": "policies.Quota"}}}, "Quota violated"),
    ({"ResponseMetadata": {"Error": {"Code": "X", "Message": "volc words"}}}, "volc words"),
    ({"Response": {"Error": {"Code": "X", "Message": "tencent words"}}}, "tencent words"),
    ({"error_code": 336, "error_msg": "baidu words"}, "baidu words"),
    ({"header": {"code": 11200, "message": "spark words"}}, "spark words"),
    (
        {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error":{"message":"its words"}}'}}},
        "its words",
    ),
    ({"message": '{"error":{"message":"wrapped words"}}'}, "wrapped words"),
    ({"error": {"type": "invalid_request_error"}}, "invalid_request_error"),
    ({"whatever": {"it": "says"}}, "says"),
    (["plain words"], "plain words"),
    ({"error": {"message": "Invalid", "details": {"n": "field words here"}}}, "n: field words here"),
    ({"title": "Constraint Violation", "violations": [{"field": "a", "message": "violated words"}]}, "violated words"),
    ({"errors": [{"message": "Bad", "error_chain": [{"code": 1, "message": "chained words"}]}]}, "chained words"),
    ('{"detail":"wide words"}'.encode("utf-16"), "wide words"),
    (b"\xef\xbb\xbf" + b'{"error":{"message":"after a mark"}}', "after a mark"),
    (b'event: error\ndata: {"error":{"message":"as an event"}}\n\n', "as an event"),
    ({"errcode": 7, "errmsg": "weixin words"}, "weixin words"),
    ('{"error":{"message":"caf\u00e9 words"}}'.encode("latin-1"), " words"),
    (b"<?xml version='1.0'?><Error><Code>Throttled</Code><Message>xml words</Message></Error>", "xml words"),
    (b"<html><style>a{b:c}</style><body><h1>Blocked</h1><p>page words</p></body></html>", "page words"),
]


@pytest.mark.parametrize(("body", "words"), SPOKEN)
def test_the_words_of_a_server_reach_the_line(body: Any, words: str) -> None:
    fault = verdict(400, body)
    assert words in fault.message
    assert fault.message.count(words) == 1


INSIDE: list[tuple[Any, Kind, Scope, Billing]] = [
    (
        {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
        Kind.RATE_LIMITED,
        Scope.ROUTE,
        Billing.THROTTLED,
    ),
    ({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, Kind.UNAUTHORIZED, Scope.RUN, Billing.UNBILLED),
    ({"base_resp": {"status_code": 1008, "status_msg": "x"}}, Kind.NO_CREDIT, Scope.RUN, Billing.UNBILLED),
    ({"base_resp": {"status_code": 1027, "status_msg": "x"}}, Kind.CONTENT_FILTER, Scope.RECORD, Billing.UNBILLED),
    ({"code": 429, "message": "slow"}, Kind.RATE_LIMITED, Scope.ROUTE, Billing.THROTTLED),
    ({"code": "401", "msg": "who"}, Kind.UNAUTHORIZED, Scope.RUN, Billing.UNBILLED),
    (says("x", type="rate_limit_error", code="rate_limit_exceeded"), Kind.RATE_LIMITED, Scope.ROUTE, Billing.THROTTLED),
    (says("Too many requests, please slow down"), Kind.RATE_LIMITED, Scope.ROUTE, Billing.THROTTLED),
    (says("x", type="authentication_error"), Kind.UNAUTHORIZED, Scope.RUN, Billing.UNBILLED),
    (says("The prompt is too long"), Kind.CONTEXT_LENGTH, Scope.RECORD, Billing.UNBILLED),
    (says("flagged by moderation"), Kind.CONTENT_FILTER, Scope.RECORD, Billing.UNBILLED),
    (
        says("tool failed", type="invalid_request_error", code="tool_use_failed"),
        Kind.BAD_REQUEST,
        Scope.RECORD,
        Billing.UNBILLED,
    ),
    ({"error": 429, "message": "x"}, Kind.RATE_LIMITED, Scope.ROUTE, Billing.THROTTLED),
    ({"error": "401", "message": "x"}, Kind.UNAUTHORIZED, Scope.RUN, Billing.UNBILLED),
    ({"error": {"message": "x", "status_code": 400}}, Kind.BAD_REQUEST, Scope.RECORD, Billing.UNBILLED),
    ({"error": "model is overloaded"}, Kind.OVERLOADED, Scope.ROUTE, Billing.THROTTLED),
    ({"success": False, "message": "no"}, Kind.SERVER_ERROR, Scope.RECORD, Billing.SERVER),
    ({"detail": "Not authenticated"}, Kind.UNAUTHORIZED, Scope.RUN, Billing.UNBILLED),
    ({"status": "error", "message": "insufficient balance"}, Kind.NO_CREDIT, Scope.RUN, Billing.UNBILLED),
    ([{"error": {"code": 503, "message": "x"}}], Kind.OVERLOADED, Scope.ROUTE, Billing.THROTTLED),
    ({"title": "Forbidden", "status": 403, "detail": "x"}, Kind.FORBIDDEN, Scope.ROUTE, Billing.UNBILLED),
    ({"Code": "Throttling.User", "Message": "flow control"}, Kind.RATE_LIMITED, Scope.ROUTE, Billing.THROTTLED),
    ({"ErrorCode": "Throttling", "ErrorMessage": "x"}, Kind.RATE_LIMITED, Scope.ROUTE, Billing.THROTTLED),
    ({"Response": {"Error": {"Code": "AuthFailure", "Message": "x"}}}, Kind.UNAUTHORIZED, Scope.RUN, Billing.UNBILLED),
    (
        {"header": {"code": 7, "message": "content audit failed"}},
        Kind.CONTENT_FILTER,
        Scope.RECORD,
        Billing.UNBILLED,
    ),
    ({"errcode": 40001, "errmsg": "invalid credential"}, Kind.UNAUTHORIZED, Scope.RUN, Billing.UNBILLED),
    ({"status": {"code": 3, "msg": "rate limited"}}, Kind.RATE_LIMITED, Scope.ROUTE, Billing.THROTTLED),
    ({"data": {"error": {"code": 503, "message": "x"}}}, Kind.OVERLOADED, Scope.ROUTE, Billing.THROTTLED),
    ({"result": {"error": "No credits"}}, Kind.NO_CREDIT, Scope.RUN, Billing.UNBILLED),
    ({"resultCode": "401", "resultMsg": "x"}, Kind.UNAUTHORIZED, Scope.RUN, Billing.UNBILLED),
    ({"ret": -1, "msg": "token expired"}, Kind.UNAUTHORIZED, Scope.RUN, Billing.UNBILLED),
    ({"error_code": 17, "error_msg": "daily request limit reached"}, Kind.RATE_LIMITED, Scope.ROUTE, Billing.UNBILLED),
]


@pytest.mark.parametrize(("body", "kind", "scope", "billing"), INSIDE)
def test_an_error_inside_a_200_is_what_it_says_of_itself(body: Any, kind: Kind, scope: Scope, billing: Billing) -> None:
    fault = in_200(body)
    assert (fault.kind, fault.scope, fault.billing) == (kind, scope, billing)


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": "x"}}], "base_resp": {"status_code": 0, "status_msg": ""}},
        {"choices": [{}], "error": None, "code": 0, "message": "success"},
        {"code": 200, "message": "ok"},
        {"title": "A story", "status": "published", "body": "…"},
        {"message": "here it is", "code": "def f(x):\n    return x"},
        {"code": 7, "message": "x", "results": [1]},
        {"code": "Success", "msg": "fine", "data": {"text": "x"}},
        {"success": True, "errors": [], "result": {"response": "x"}},
        {"message": {"role": "assistant", "content": "x"}, "done": True},
        {"id": "m", "type": "message", "content": [], "stop_reason": "end_turn"},
        {"object": "list", "data": []},
        {"status": "completed", "output": []},
        {"header": {"code": 0, "message": "Success"}, "payload": {}},
        {"Response": {"Choices": [{}], "Note": "x"}},
        {"data": {"text": "x", "error": None}, "ret": 0, "msg": "ok"},
        {"status": "incomplete", "output": [], "error": None},
        [{"generated_text": "x"}],
        [],
        {},
        "text",
        None,
    ],
)
def test_an_answer_is_no_error(body: Any) -> None:
    assert not has_error(body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=6),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "error",
                        "errors",
                        "detail",
                        "message",
                        "code",
                        "base_resp",
                        "status_code",
                        "status_msg",
                        "header",
                        "metadata",
                        "raw",
                        "loc",
                        "success",
                        "status",
                        "fault",
                        "innererror",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=14,
    )
)
def test_no_body_inside_a_200_is_too_odd(body: Any) -> None:
    has_error(body)
    assert embedded_error(body, Reply(200, {}, b"")).message


@pytest.mark.parametrize(
    "piece", ["a ", "'", '"', "“", "`", "prompt ", "exceeds ", "insufficient a ", "input is not ", "( ", "余额", "max "]
)
def test_words_are_judged_in_a_moment_whatever_repeats_in_them(piece: str) -> None:
    import time

    began = time.process_time()
    for status in (400, 403, 429, 500):
        verdict(status, says(piece * 5000))
    assert time.process_time() - began < 0.5


# The same in yet other words, made up here, so that rows are of a kind and not of a server.

LONGER = [
    "This model supports at most 8192 tokens, but you sent 9000.",
    "Requested tokens (5000) exceed context window of 4096",
    "Prompt exceeds max length",
    "context length exceeded",
    "The total number of tokens (9000) is greater than the maximum allowed (8192)",
    "Your prompt has 9000 tokens, which is over the 8192 limit",
    "Input tokens limit exceeded",
    "maximum tokens exceeded",
    "request too large for the model's context",
    "prompt tokens (9000) + max_tokens (500) > n_ctx (8192)",
    "the sequence length 5000 is over the model limit 4096",
    "messages too long",
    "Text is too long: 9000 tokens, maximum 512",
    "Input text exceeds maximum length of 8192 tokens",
    "The example at index 0 has too many tokens and does not fit into the model's context window of 4000 tokens.",
    "prompt too long; exceeded max context length by 4 tokens",
    "The prompt is too long: 9000, model maximum context length: 8191",
    "prompt token count (9000) cannot exceed 8192",
    "Prompt has 9000 tokens, exceeding the limit",
    "the number of input tokens 9000 cannot exceed the total tokens limit 8192 for this model",
    "Input length 9000 exceeds maximum allowed token size 8192",
    "The conversation no longer fits in the context window.",
    "Total tokens of image and text exceed max message tokens",
    "prompt contains 9000 tokens; maximum is 8192",
    "Token count of 9000 exceeds the model's limit of 8192",
    "your messages resulted in 9000 tokens, but this endpoint allows 8192",
    "maximum sequence length exceeded",
    "Input is longer than the maximum number of tokens the model accepts",
    "Exceeded maximum context",
    "request payload exceeds the model's context",
    "invalid request: total message token length exceed model limit",
    "context_length: 9000 > 8192",
    "The input is too large for this model (9000 tokens)",
    "Prompt length 9000 is greater than max_seq_len 8192",
    "number of input tokens must be no more than 32768, got 40000",
    "length of prompt_tokens (9000) must be less than max_seq_len (8192).",
    "max tokens of 8192 exceeded",
    "the max input characters is 11200",
    "Invalid 'messages[0].content': string too long. Expected a string with maximum length 1048576",
    "input must have less than 512 tokens",
]
POORER = [
    "Payment required",
    "Please add a payment method",
    "Your credits have run out",
    "You've run out of credits",
    "You have run out of credits. Please purchase more.",
    "Account balance too low",
    "Balance is not sufficient",
    "Insufficient funds",
    "Billing hard limit has been reached",
    "Your trial has expired, please upgrade your plan to continue",
    "A payment method is required to use this model",
    "Your prepaid credits are depleted",
    "Monthly quota exhausted, please top up",
    "You have used up your free quota",
    "Your account balance is insufficient, please recharge",
    "账户余额不足，请充值",
    "Budget limit exceeded for key",
    "This key has exceeded its spend limit",
    "Max budget reached",
    "Spending cap reached",
    "No credits remaining",
    "account in debt",
    "unpaid invoice",
    "Your project has exceeded its spending cap. Manage your project spend cap in the studio.",
]
FILTERED_TOO = [
    "This request was flagged",
    "This violates our Terms of Service",
    "unsafe content detected",
    "Content moderation failed",
    "Your message contains prohibited words",
    "The prompt was blocked due to PROHIBITED_CONTENT",
    "Your request cannot be processed due to safety concerns",
    "Rejected by content safety",
    "The content contains sensitive words",
    "Input rejected: it may violate our acceptable use policy",
    "The generated text has been blocked by our content filters",
    "The request is not compliant with our usage policies",
    "prompt injection or jailbreak detected",
    "Your input was found to be harmful",
    "NSFW content detected",
    "The response may infringe on copyright",
    "Your prompt contains content that is not allowed",
    "内容违规，请修改后重试",
    "输入包含违禁词",
    "Content Exists Risk",
    "content blocked",
    "The content you provided or machine outputted is blocked.",
    "Prompt blocked due to security configurations",
    "the input content contains illegal content",
    "input content audit failed, suspected violation",
    "Sorry, the response was filtered by the Responsible AI Service",
    "Keyword banned. Keyword=flood",
    "The guardrail checks defined in the config failed.",
]
PLAIN = [
    "Invalid value for temperature",
    "Unknown parameter: 'messages[0].contents'",
    "'messages' must contain the word 'json' in some form",
    "Invalid schema for response_format 'x': context is not allowed",
    "Missing required parameter: 'messages[0].content'",
    "Unsupported value: 'temperature' does not support 0.5 with this model.",
    "max_tokens must be at most 8192",
    "n must be 1 for this model",
    "max_completion_tokens is too large: 99999",
    "top_logprobs cannot exceed 20",
    "The model m does not support the tool choice",
    "Invalid type for 'input': expected text",
    "string too long. Expected a string with maximum length 512, but got a string with length 600 instead.",
    "Number of inputs exceeds the maximum batch size of 64",
    "system prompt is not supported by this model",
    "reasoning_effort is not supported",
    "The requested max_tokens exceeds the model's maximum output tokens",
    "user balance parameter missing",
    "function name exceeds maximum length of 64",
    "stop sequences exceed the limit of 4",
    "Tools: maximum number of tools is 128, input contains 200",
    "metadata value exceeds maximum length of 512",
    "max_new_tokens must be less than 4096",
    "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024",
    "Invalid token at position 12",
]
SLOW = [
    "Rate limit exceeded",
    "You have exceeded your quota of 10 requests per minute",
    "Too many tokens per minute: limit 30000",
    "Quota exceeded for aiplatform.googleapis.com/generate_content_requests_per_minute_per_project_per_base_model",
    "Request was rejected due to request rate limiting",
    "Your request exceeded the token rate limit of your current tier",
    "The engine is currently overloaded",
    "Concurrency limit reached",
    "You've exceeded the rate limit, please slow down",
    "当前请求过多",
    "max organization concurrency: 3",
    "This request would exceed your account's rate limit. Please try again later.",
    "Number of request tokens has exceeded your daily rate limit",
    "requests limit reached, try again later",
    "Resource has been exhausted (e.g. check quota).",
    "Upstream load is saturated, please try again later",
    "You have reached your usage limit for this hour",
]
ROUTES = [
    (500, Kind.SERVER_ERROR, "internal error"),
    (500, Kind.SERVER_ERROR, "CUDA out of memory"),
    (500, Kind.SERVER_ERROR, "invalid response from upstream"),
    (500, Kind.SERVER_ERROR, "context canceled"),
    (500, Kind.SERVER_ERROR, "failed to process request, please try again"),
    (404, Kind.NOT_FOUND, "The requested image model does not exist"),
    (404, Kind.NOT_FOUND, "No endpoints found matching your data policy"),
    (403, Kind.FORBIDDEN, "Country, region, or territory not supported"),
    (403, Kind.FORBIDDEN, "Your account is not allowed to use this model"),
    (403, Kind.FORBIDDEN, "Request blocked by WAF"),
]


@pytest.mark.parametrize("words", LONGER)
def test_a_prompt_that_is_too_long_is_known_in_other_words(words: str) -> None:
    assert verdict(400, says(words)).kind is Kind.CONTEXT_LENGTH


@pytest.mark.parametrize("status", [400, 403, 429])
@pytest.mark.parametrize("words", POORER)
def test_an_account_without_money_is_known_in_other_words(words: str, status: int) -> None:
    assert verdict(status, says(words)).kind is Kind.NO_CREDIT


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize("words", FILTERED_TOO)
def test_a_filter_is_known_in_other_words(words: str, status: int) -> None:
    assert verdict(status, says(words)).kind is Kind.CONTENT_FILTER


@pytest.mark.parametrize("words", PLAIN)
def test_a_parameter_that_is_wrong_is_none_of_these(words: str) -> None:
    assert verdict(400, says(words)).kind is Kind.BAD_REQUEST


@pytest.mark.parametrize("words", SLOW)
def test_a_refusal_for_pace_is_none_of_these(words: str) -> None:
    assert verdict(429, says(words)).kind is Kind.RATE_LIMITED


@pytest.mark.parametrize(("status", "kind", "words"), ROUTES)
def test_what_every_record_would_meet_is_none_of_these(status: int, kind: Kind, words: str) -> None:
    assert verdict(status, says(words)).kind is kind


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"__type": "ThrottlingException", "message": "Rate exceeded"}),
        (403, {"error": {"code": 403, "message": "Slow", "errors": [{"reason": "userRateLimitExceeded"}]}}),
    ],
)
def test_a_limit_of_time_may_have_any_status(status: int, body: Any) -> None:
    fault = verdict(status, body)
    assert (fault.kind, fault.billing, fault.scope) == (Kind.RATE_LIMITED, Billing.THROTTLED, Scope.ROUTE)


@pytest.mark.parametrize("status", [407, 511])
def test_a_proxy_that_wants_a_login_ends_the_run(status: int) -> None:
    assert verdict(status, b"").scope is Scope.RUN


def test_a_redirect_names_where_it_leads_without_its_query() -> None:
    fault = verdict(302, b"", location="https://elsewhere.example/v1/files?api_key=secret")
    assert fault.kind is Kind.REDIRECT
    assert "https://elsewhere.example/v1/files" in fault.message and "secret" not in fault.message
