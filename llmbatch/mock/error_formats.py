"""Error bodies and rate-limit headers in each provider's format. Pure."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from llmbatch.codec import json
from llmbatch.mock.limits import Level, duration
from llmbatch.mock.reply import Headers, Reply

__all__ = ["ANTHROPIC", "ERROR_FORMATS", "GEMINI", "OPENAI", "ErrorFormat", "Refusal"]


class Refusal(NamedTuple):
    """Why a request is not answered, before it is written in a provider's format.

    Without `type` and `code` they are the usual ones for the status. The waits, in seconds and milliseconds, are text,
    because a fault may write them in any form.
    """

    status: int
    message: str
    type: str | None = None
    param: str | None = None
    code: str | None = None
    wait: str = ""
    wait_ms: str = ""


class ErrorFormat(NamedTuple):
    """One provider's format: `refuse` makes the error reply, `limits` the headers for bucket levels at a wall time.

    `request_id` is the header that names the request, None where the body does.
    """

    refuse: Callable[[Refusal], Reply]
    limits: Callable[[Sequence[Level], float], Headers]
    request_id: bytes | None


_OPENAI: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    503: ("service_unavailable_error", "server_is_overloaded"),
}
_ANTHROPIC = {401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
              409: "conflict_error", 413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error",
              529: "overloaded_error"}  # fmt: skip
_GRPC = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "RESOURCE_EXHAUSTED", 403: "PERMISSION_DENIED",
         404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE",
         504: "DEADLINE_EXCEEDED"}  # fmt: skip
_BUCKETS = ("requests", "tokens")
"""OpenAI's error types that only name the limit."""


def _openai(refusal: Refusal) -> Reply:
    usual_type = "server_error" if refusal.status >= 500 else "invalid_request_error"
    kind, name = _OPENAI.get(refusal.status, (usual_type, None))
    kind = "insufficient_quota" if refusal.code == "insufficient_quota" else kind
    error = {
        "message": refusal.message,
        "type": refusal.type or kind,
        "param": refusal.param,
        "code": refusal.code or name,
    }
    return Reply(refusal.status, json.dumps({"error": error}), headers=_waits(refusal))


def _anthropic(refusal: Refusal) -> Reply:
    kind = _ANTHROPIC.get(refusal.status, "api_error" if refusal.status >= 500 else "invalid_request_error")
    error: dict[str, Any] = {
        "type": refusal.type if refusal.type and refusal.type not in _BUCKETS else kind,
        "message": refusal.message,
    }
    if refusal.code:
        error["details"] = {"error_code": refusal.code}
    body = {"type": "error", "error": error, "request_id": "req_mock"}
    return Reply(refusal.status, json.dumps(body), headers=_waits(refusal._replace(wait_ms="")))


def _gemini(refusal: Refusal) -> Reply:
    """Write the wait into the body, not a header. A code is a status, the name of a quota, or else a reason."""
    status, code, details = _GRPC.get(refusal.status, "UNKNOWN"), refusal.code or "", []
    if code.startswith("Generate"):
        details.append({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": code}]})
    elif code.isupper() and code not in (*_GRPC.values(), "FAILED_PRECONDITION"):
        details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code})
    elif code.isupper():
        status = code
    if refusal.wait:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{refusal.wait}s"})
    error = {"code": refusal.status, "message": refusal.message, "status": status, "details": details}
    return Reply(refusal.status, json.dumps({"error": error}))


def _waits(refusal: Refusal) -> Headers:
    waits = ((b"retry-after", refusal.wait), (b"retry-after-ms", refusal.wait_ms))
    return [(name, value.encode("latin-1", "replace")) for name, value in waits if value]


def _openai_limits(levels: Sequence[Level], _: float) -> Headers:
    return [
        (f"x-ratelimit-{what}-{level.name}".encode(), value.encode())
        for level in levels
        for what, value in (
            ("limit", str(level.limit)),
            ("remaining", str(level.left)),
            ("reset", duration(level.reset)),
        )
    ]


def _anthropic_limits(levels: Sequence[Level], wall: float) -> Headers:
    return [
        (f"anthropic-ratelimit-{level.name}-{what}".encode(), value.encode())
        for level in levels
        for what, value in (
            ("limit", str(level.limit)),
            ("remaining", str(level.left)),
            ("reset", datetime.fromtimestamp(wall + level.reset, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
        )
    ]


OPENAI = ErrorFormat(_openai, _openai_limits, b"x-request-id")
ANTHROPIC = ErrorFormat(_anthropic, _anthropic_limits, b"request-id")
GEMINI = ErrorFormat(_gemini, lambda levels, wall: [], None)

ERROR_FORMATS = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": GEMINI}
"""By the name that a fault marker uses for them."""
