"""The error bodies of all providers, read into one shape."""

from typing import Any

from llmbatch.codec import json
from llmbatch.core.clock import duration
from llmbatch.core.exchange import Reply
from llmbatch.dialects.error_rules import ApiError

__all__ = ["LARGEST", "api_error", "beginning", "error_in"]

MESSAGE = 1000
"""Characters of a provider's message that are kept."""

LARGEST = 1024 * 1024
"""Bytes of an error body that are read; of a larger one the beginning is shown, as text."""
EVIDENCE = 64 * 1024


def api_error(reply: Reply) -> tuple[ApiError, Any]:
    """Read a reply whose status is not a success; return the error and the body as JSON or text."""
    if len(reply.body) > LARGEST:
        return ApiError(reply.status, _page(reply)), beginning(reply)
    try:
        body = json.loads_shallow(reply.body)
    except ValueError:
        return ApiError(reply.status, _page(reply)), reply.body.decode("utf-8", "replace")
    return error_in(body, reply.status), body


def beginning(reply: Reply) -> str:
    """Return the first of a body, as text."""
    return reply.body[:EVIDENCE].decode("utf-8", "replace")


def error_in(body: Any, status: int) -> ApiError:
    """Read an error body.

    Known shapes: {"error": {...}} (OpenAI, Anthropic, Gemini), the same flat or in a list (Mistral, old vLLM, Gemini),
    {"error": "text"} (Ollama, xAI), {"message"} or {"detail"} (gateways, FastAPI). OpenRouter's own canonical name of
    the error and the words of the provider behind it stand in the metadata.
    """
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return ApiError(status, _text(body) or f"HTTP {status}")
    error = body.get("error") or body
    if not isinstance(error, dict):
        return ApiError(status, _text(error) or f"HTTP {status}", code=_code(body.get("code")))
    details = error.get("details")
    metadata = error.get("metadata")
    code = _code(error.get("code"))
    if code == str(status):  # says no more than the status: the type or Gemini's name for it says more
        code = None
    if isinstance(details, dict) and details.get("error_code"):
        code = _code(details["error_code"])
    inner = error.get("innererror")
    if isinstance(inner, dict) and inner.get("code"):
        code = code or _code(inner["code"])
    if isinstance(metadata, dict) and metadata.get("error_type"):
        code = _code(metadata["error_type"])
    message = _text(error.get("message") or error.get("detail")) or f"HTTP {status}"
    if isinstance(metadata, dict) and metadata.get("raw"):
        message = f"{message}: {_text(metadata['raw'])}"
    wait, per_day, reason = _google(details)
    return ApiError(
        status=status,
        message=message[:MESSAGE],
        code=reason or code,
        type=_code(error.get("type") or error.get("status")),
        wait=wait,
        per_day=per_day,
    )


def _google(details: Any) -> tuple[float | None, bool, str | None]:
    """Find the wait, a per-day quota and the reason in Gemini's list of details."""
    wait, per_day, reason = None, False, None
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        if isinstance(detail.get("retryDelay"), str):
            wait = duration(detail["retryDelay"])
        if isinstance(detail.get("reason"), str):
            reason = detail["reason"].lower()
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict) and "PerDay" in str(violation.get("quotaId")):
                per_day = True
    return wait, per_day, reason


def _code(value: Any) -> str | None:
    return str(value).lower() if isinstance(value, str | int) and value != "" else None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value[:MESSAGE]
    return json.dumps(value).decode()[:MESSAGE] if value else ""


def _page(reply: Reply) -> str:
    """Reduce a page that is not JSON to its title or first words: error pages hold addresses and ray ids."""
    title = _title(reply.body[:EVIDENCE])
    words = title if title is not None else b"" if b"<" in reply.body[:256] else reply.body[:200]
    text = " ".join(words.decode("utf-8", "replace").split())[:200]
    return f"HTTP {reply.status}: {text}" if text else f"HTTP {reply.status} without an explanation"


def _title(page: bytes) -> bytes | None:
    """Find the title of a page. Not by a pattern: a page of nothing but opening tags would take seconds."""
    tags = page.lower()
    begin = tags.find(b">", tags.find(b"<title")) + 1 if b"<title" in tags else 0
    end = tags.find(b"</title", begin)
    return page[begin:end] if begin and end >= 0 else None
