"""Renders outcomes as result lines, or in the shape of another output format."""

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from llmbatch.codec import json
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.job import Identity
from llmbatch.core.outcome import Completion, InvalidRecord, Outcome, UnusableAnswer, Usage
from llmbatch.core.redact import Redactor
from llmbatch.results.output_formats import Reshape

__all__ = ["Render", "answer_extra", "jsonl", "paid_failure", "reshaped"]

REQUEST_ID = 200
"""Characters kept of a provider's id of a request: a header may be very long."""

Render = Callable[[Outcome | InvalidRecord], bytes]
"""Returns the line of an outcome with its newline; nothing if the outcome has none."""


def jsonl(*, include: frozenset[str], redact: Redactor) -> Render:
    """Return the renderer of result lines. `include`: any of `request`, `response`, `input`."""

    def render(outcome: Outcome | InvalidRecord) -> bytes:
        fields = _fields(outcome, include, redact)
        line = json.dumps(fields)
        if redact.finds(line):  # seldom: servers echo keys that they reject
            line = json.dumps(_without_echoes(fields, redact.exact))
        return line + b"\n"

    return render


def _fields(outcome: Outcome | InvalidRecord, include: frozenset[str], redact: Redactor) -> dict[str, Any]:
    if isinstance(outcome, InvalidRecord):
        fields = _identity(outcome.identity)
        fields |= {"status": "failed", "error": _error(outcome.fault, redact), "attempts": 0}
        if "input" in include:
            fields["input"] = outcome.input
        fields |= {"record": outcome.identity.record, "key": None, "meta": outcome.meta}
        return fields
    job, verdict = outcome.job, outcome.verdict
    attempts = job.attempts
    fields = _identity(job.identity)
    if isinstance(verdict, Completion):
        fields["status"] = "ok"
        _put_answer(fields, verdict)
        answer, raw = verdict.body, None
    else:
        fields["status"] = "failed"
        fields["error"] = _error(verdict, redact)
        fields["model"] = job.route.model
        fields["attempts"] = job.prior_attempts + attempts.sent
        if verdict.billing is Billing.BILLED:
            fields["billed"] = True
        if isinstance(verdict, UnusableAnswer):
            _put_answer(fields, verdict.completion)
        answer, raw = _redacted(verdict.answer, redact), verdict.raw
    if outcome.copied is not None:
        fields[outcome.copied] = True
    if attempts.cost is not None or job.prior_cost is not None:
        # The cost of all answered attempts, including those of earlier runs whose line is replaced.
        fields["cost_usd"] = round((attempts.cost or 0.0) + (job.prior_cost or 0.0), 12)
    if raw is not None:
        fields |= _raw(redact.in_bytes(raw))
    if attempts.sent:
        fields["started_at"] = _timestamp(round(attempts.started * 1000))
        fields["latency_s"] = round(attempts.latency * 1000) / 1000  # faster than round(seconds, 3)
    fields["attempts"] = job.prior_attempts + attempts.sent
    if attempts.batch:
        fields["batch"] = attempts.batch
    if attempts.possibly_billed:
        fields["possibly_billed"] = attempts.possibly_billed
    fields["request_id"] = verdict.request_id[:REQUEST_ID] if verdict.request_id is not None else None
    if answer is not None:
        fields["response"] = answer
    if include:
        if "request" in include:
            fields["request"] = job.item
        if "input" in include:
            fields["input"] = job.input
    fields["record"] = job.identity.record
    fields["key"] = job.key
    fields["meta"] = job.meta
    return fields


def _put_answer(fields: dict[str, Any], completion: Completion) -> None:
    extra, usage = completion.extra, completion.usage
    if "embedding" not in extra:
        fields["text"] = completion.text
        fields["finish_reason"] = completion.finish_reason
    fields["model"] = completion.model
    if usage is not None:
        fields["usage"] = _usage(usage)
    if extra:
        fields |= extra


_ENVELOPE = frozenset(
    {
        *("id", "occurrence", "index", "sample", "record", "key", "meta", "request", "input", "batch"),
        *("status", "error", "billed", "possibly_billed", "attempts", "started_at", "latency_s", "cost_usd"),
        *("text", "finish_reason", "model", "usage", "request_id", "response", "deduplicated", "reused"),
    }
)
"""Fields of a line that do not stand in `Completion.extra`."""


def answer_extra(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a line that its answer has beside text and usage, as `Completion.extra`."""
    return {name: value for name, value in fields.items() if name not in _ENVELOPE}


def paid_failure(fields: Mapping[str, Any]) -> Fault:
    """Return the failure of a line that was paid for, with its answer.

    Raises TypeError, ValueError or LookupError for a line that is not as `jsonl` writes it.
    """
    usage, error, response = fields.get("usage"), fields["error"], fields.get("response")
    request_id = fields.get("request_id")
    raw = response.encode() if isinstance(response, str) else None
    if "response_base64" in fields:
        raw = base64.b64decode(fields["response_base64"])
    known: dict[str, Any] = {
        "kind": Kind(error["kind"]),
        "message": error["message"],
        "code": error.get("code"),
        "billing": Billing.BILLED,
        "status": error.get("status"),
        "request_id": request_id,
        "raw": raw,
        "answer": response if raw is None else None,
        "usage": Usage(**usage) if usage is not None else None,
    }
    if "text" not in fields and "embedding" not in fields:
        return Fault(**known)
    completion = Completion(
        text=fields.get("text"),
        finish_reason=fields.get("finish_reason"),
        model=fields.get("model"),
        usage=known["usage"],
        request_id=request_id,
        extra=answer_extra(fields),
        body=response,
    )
    return UnusableAnswer(**known, completion=completion)


def reshaped(shape: Reshape, *, include: frozenset[str], redact: Redactor) -> Render:
    """Return a renderer that gives the fields of a line another shape."""

    def render(outcome: Outcome | InvalidRecord) -> bytes:
        fields = _fields(outcome, include, redact)
        line = shape(fields)[0]
        return shape(_without_echoes(fields, redact.exact))[0] if redact.finds(line) else line

    return render


def _identity(identity: Identity) -> dict[str, Any]:
    if not identity.occurrence and not identity.repeat:
        return {"id": identity.id, "index": identity.index}
    fields: dict[str, Any] = {"id": identity.id}
    if identity.occurrence:
        fields["occurrence"] = identity.occurrence
    if identity.repeat:
        fields["sample"] = identity.sample
    fields["index"] = identity.position
    return fields


def _error(fault: Fault, redact: Redactor) -> dict[str, Any]:
    code = redact(fault.code) if fault.code is not None else None
    return {"kind": fault.kind, "status": fault.status, "code": code, "message": redact(fault.message)}


_OWN_WORDS = frozenset({"content", "text", "output_text", "refusal", "reasoning", "reasoning_content", "thinking"})
"""Fields of answers whose text is the model's own."""
_OWN_VALUES = frozenset({"arguments", "args", "input", "json"})
"""Fields of answers with the model's arguments for a tool, or its answer as JSON."""
_NOT_THE_SERVERS = frozenset(
    {
        "id",
        "text",
        "json",
        "reasoning",
        "refusal",
        "embedding",
        "request",
        "input",
        "record",
        "key",
        "meta",
    }
)
"""Fields of a line with the words of the user or the model."""


def _without_echoes(fields: dict[str, Any], exact: Callable[[str], str]) -> dict[str, Any]:
    """Cut our own keys out of a server's words about an answer: its model, its reasons, its names."""
    return {name: value if name in _NOT_THE_SERVERS else _cleaned(value, exact) for name, value in fields.items()}


def _cleaned(value: Any, exact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return exact(value)
    if isinstance(value, list):
        return [_cleaned(item, exact) for item in value]
    if isinstance(value, dict):
        return {
            exact(name): item
            if name in _OWN_VALUES or (name in _OWN_WORDS and isinstance(item, str))
            else _cleaned(item, exact)
            for name, item in value.items()
        }
    return value


def _usage(usage: Usage) -> dict[str, int]:
    """Return the counts that the provider reported."""
    input_tokens, output_tokens, cached, written, reasoning = usage
    fields = {}
    if input_tokens is not None:
        fields["input_tokens"] = input_tokens
    if output_tokens is not None:
        fields["output_tokens"] = output_tokens
    if cached is not None:
        fields["cached_input_tokens"] = cached
    if written is not None:
        fields["cache_write_tokens"] = written
    if reasoning is not None:
        fields["reasoning_tokens"] = reasoning
    return fields


def _raw(body: bytes) -> dict[str, str]:
    """Return a body that could not be read, unchanged but for our own key."""
    try:
        return {"response": body.decode()}
    except UnicodeDecodeError:
        return {"response_base64": base64.b64encode(body).decode()}


def _redacted(value: Any, redact: Redactor) -> Any:
    """Cut secrets out of a provider's error body, which may quote the key."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted(item, redact) for item in value]
    if isinstance(value, dict):
        return {redact(name): _redacted(item, redact) for name, item in value.items()}
    return value


@lru_cache(maxsize=16)  # many records begin in the same millisecond
def _timestamp(millisecond: int) -> str:
    """Write milliseconds since 1970 as `2026-11-22T10:00:00.123Z`."""
    second, part = divmod(millisecond, 1000)
    return f"{_to_the_second(second)}.{part:03d}Z"


@lru_cache(maxsize=4)
def _to_the_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
