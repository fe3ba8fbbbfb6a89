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

_WRAPPERS = frozenset({"data", "output", "result"})
"""Payloads that may hold an error instead of an answer."""
_HOLDERS = ("response", "header", "responsemetadata", "status", "err")
"""Fields that hold the error itself where there is no answer: Tencent, Spark, Volcengine."""
_MESSAGES = (
    "message",
    "msg",
    "error_msg",
    "error_message",
    "errormessage",
    "errmsg",
    "resultmsg",
    "statustext",
    "title",
)
_CODES = ("code", "error_code", "errorcode", "statuscode", "status_code", "__type", "errcode", "resultcode", "ret")
_SUCCESSES = ("", "0", "ok", "success", "succeeded", "successful", "completed", "true")
_CODE = re.compile(r"[\w.:-]{1,80}")
_FAILURES = ("error", "failed", "failure", "fail")


def has_error(body: Any) -> bool:
    """Tell whether an answer of status 2xx is an error: gateways send such, and providers after the model has begun."""
    if not isinstance(body, dict):
        return isinstance(body, list) and bool(body) and isinstance(body[0], dict) and has_error(body[0])
    if (error := body.get("error")) and not _is_void(error):
        return True
    for name in _PAYLOADS:  # a loop, since it runs for every answer and ends at one of the first
        if value := body.get(name):
            if name in _WRAPPERS and type(value) is dict and has_error(value):
                return True
            return bool(body.get("object") == "error")
    return "error" in (body.get("object"), body.get("type")) or _is_error_alone(body)


def _is_void(error: Any) -> bool:
    """Tell whether an error says nothing: some servers write the fields of one into each answer."""
    return type(error) is dict and not any(
        value and (type(value) is not str or value.lower() not in _SUCCESSES) for value in error.values()
    )


def embedded_error(body: Any, reply: Reply) -> Fault:
    """Read an error that came with status 2xx: classified by the status that it implies."""
    error = error_in(body, reply.status)
    error.status = implied_status(error)
    return classify(error, reply.headers)


def _is_error_alone(body: dict[str, Any]) -> bool:
    """Tell whether an object without an answer has the shape of an error. Servers differ in how they write names."""
    fields = {str(name).lower(): value for name, value in body.items()}
    if fields.get("success") is False or fields.get("ok") is False or fields.get("iserror") is True:
        return True
    status = fields.get("status")
    if isinstance(status, str) and status.lower() in _FAILURES:
        return True
    base = fields.get("base_resp")  # MiniMax sends it with answers too
    if isinstance(base, dict) and _is_failure(base.get("status_code", 0)):
        return True
    if any(isinstance(fields.get(name), str) for name in _MESSAGES):
        if any(name in fields and _is_failure(fields[name]) for name in _CODES):
            return True
        if isinstance(status, int) and _is_failure(status):
            return True
    if any(fields.get(name) for name in ("error", "errors", "detail", "error_code", "error_msg", "fault")):
        return True
    return any(isinstance(inner := fields.get(name), dict) and _is_error_alone(inner) for name in _HOLDERS)


def _is_failure(code: Any) -> bool:
    """Say whether a value is the code of a failure, not of success or no code at all."""
    if isinstance(code, str):
        return bool(_CODE.fullmatch(code)) and code.lower() not in _SUCCESSES and not code.startswith("2")
    return isinstance(code, int) and code not in (0, True) and not 200 <= code < 300
