"""Recognises errors that come with status 200, as the body or as an event of a stream. Pure."""

import re
from typing import Any

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Fault
from llmbatch.dialects.error_rules import classify, implied_status
from llmbatch.dialects.errors import error_in

__all__ = ["embedded_error", "has_error"]

_PAYLOADS = (
    "choices",
    "candidates",
    "content",
    "output",
    "data",
    "text",
    "response",
    "result",
    "results",
    "outputs",
    "predictions",
    "answer",
    "completion",
    "generated_text",
    "embedding",
    "embeddings",
)
"""Fields that hold answers. A body with one of them and a message may be an answer that says `success`."""

_SUCCESSES = ("", "0", "ok", "success", "succeeded", "successful", "completed", "true")
_CODE = re.compile(r"[\w.:-]{1,80}")
_FAILURES = ("error", "failed", "failure", "fail")


def has_error(body: Any) -> bool:
    """Tell whether an answer of status 2xx is an error: gateways send such, and providers after the model has begun."""
    if not isinstance(body, dict):
        return isinstance(body, list) and bool(body) and isinstance(body[0], dict) and has_error(body[0])
    if body.get("error"):
        return True
    for name in _PAYLOADS:  # a loop, since it runs for every answer and ends at one of the first
        if body.get(name):
            return bool(body.get("object") == "error")
    return "error" in (body.get("object"), body.get("type")) or _is_error_alone(body)


def embedded_error(body: Any, reply: Reply) -> Fault:
    """Read an error that came with status 2xx: classified by the status that it implies."""
    error = error_in(body, reply.status)
    error.status = implied_status(error)
    return classify(error, reply.headers)


def _is_error_alone(body: dict[str, Any]) -> bool:
    """Tell whether an object without an answer has the shape of an error."""
    if body.get("success") is False or body.get("ok") is False or body.get("status") in _FAILURES:
        return True
    base = body.get("base_resp")  # MiniMax sends it with answers too
    if isinstance(base, dict) and _is_failure(base.get("status_code", 0)):
        return True
    words = any(isinstance(body.get(name), str) for name in ("message", "msg", "Message", "error_msg", "title"))
    for name in ("code", "error_code", "statusCode", "status_code", "__type", "errcode"):
        if words and name in body and _is_failure(body[name]):
            return True
    if words and isinstance(body.get("status"), int) and _is_failure(body["status"]):
        return True
    return any(bool(body.get(name)) for name in ("errors", "detail", "error_code", "error_msg", "fault", "Error"))


def _is_failure(code: Any) -> bool:
    """Say whether a value is the code of a failure, not of success or no code at all."""
    if isinstance(code, str):
        return bool(_CODE.fullmatch(code)) and code.lower() not in _SUCCESSES and not code.startswith("2")
    return isinstance(code, int) and code not in (0, True) and not 200 <= code < 300
