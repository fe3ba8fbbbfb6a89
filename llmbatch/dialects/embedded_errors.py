"""Errors that come with status 200, whole or as an event of a stream. Pure."""

from typing import Any

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Fault
from llmbatch.dialects.error_rules import classify
from llmbatch.dialects.errors import error_in

__all__ = ["embedded_error", "has_error"]

_PAYLOADS = ("choices", "candidates", "content", "output", "data")
"""Where answers are. What has one of them and a message beside it may be an answer that says `success`."""


def has_error(body: Any) -> bool:
    """Tell whether an answer of status 2xx is an error: gateways send such, providers too once the model has begun."""
    if not isinstance(body, dict):
        return False
    if body.get("error") or "error" in (body.get("object"), body.get("type")):
        return True
    return isinstance(body.get("message"), str) and bool(body.get("code")) and not any(map(body.get, _PAYLOADS))


def embedded_error(body: dict[str, Any], reply: Reply) -> Fault:
    """Read an error that came with status 2xx."""
    return classify(error_in(body, _status_in(body.get("error") or body)), reply.headers)


def _status_in(error: Any) -> int:
    """Find the HTTP status that a gateway hid in a 200; 500 when it says none."""
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and code.isdecimal():
        code = int(code[:4])
    return code if isinstance(code, int) and 400 <= code < 600 else 500
