"""Reads what answers of all dialects have in common: errors, JSON or a stream, counts. Pure."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

from llmbatch.codec import json
from llmbatch.codec.sse import CutStream, events, looks_like_events
from llmbatch.core.exchange import Expected, Reply
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.outcome import Completion
from llmbatch.core.usage import Usage
from llmbatch.dialects.embedded_errors import embedded_error, has_error
from llmbatch.dialects.error_rules import classify
from llmbatch.dialects.errors import LARGEST, api_error, beginning
from llmbatch.dialects.response_headers import quoted_headers

__all__ = [
    "Fold",
    "Verdict",
    "alone",
    "broken_off",
    "count",
    "own_cost",
    "parsed",
    "read_answer",
    "read_body",
    "request_id",
    "snake_cased",
    "unparsable",
]

_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
Verdict = Callable[[Any, Reply], Completion | Fault]
"""Reads a parsed answer of status 2xx; raises TypeError, AttributeError, LookupError, ValueError for another shape."""

Fold = Callable[[bytes], Any]
"""Joins a stream into the answer that it would have been without streaming; raises CutStream, ValueError."""


@cache  # pickle sends one object to the transport process once for a batch of requests
def alone(dialect: str, keep_body: bool, *, entries: int = 1) -> Expected:
    """Return what is expected of the answer to a single job."""
    return Expected(dialect, (keep_body,), entries)


def read_answer(reply: Reply, verdict: Verdict, fold: Fold, *, keep_body: bool) -> Completion | Fault:
    """Read an answer: a completion, or a fault for an error of any shape. Never raises for what a server sends.

    With `keep_body` the verdict has the provider's own body.
    """
    body = parsed(reply, fold, keep_body=keep_body)
    return body if isinstance(body, Fault) else read_body(body, reply, verdict, keep_body=keep_body)


def parsed(reply: Reply, fold: Fold, *, keep_body: bool = False) -> Any | Fault:
    """Return the parsed body, for a stream the body it would have had without streaming; or the fault."""
    if not 200 <= reply.status < 300:
        error, shown = api_error(reply)
        for name, value in quoted_headers(shown).items():
            reply.headers.setdefault(name, value)
        fault = classify(error, reply.headers)
        return replace(fault, answer=shown) if keep_body else fault
    body = reply.body
    try:
        if body[:1] == b"{":  # the content type is often wrong
            try:
                return json.loads_shallow(body)
            except ValueError as error:
                return _parsed_beginning(reply, body, fold, error)
        body = body.removeprefix(_BYTE_ORDER_MARK)
        if looks_like_events(body) or (_is_called_stream(reply) and body.lstrip()[:1] not in _JSON_OR_PAGE):
            return _folded(body, fold)
        try:
            read = json.loads_shallow(body)
        except ValueError as error:
            read = _parsed_beginning(reply, body, fold, error)
        if reply.cut and isinstance(read, int | float):
            raise CutStream("a number may go on")
        return _events_in_a_list(read, fold) if isinstance(read, list) and len(read) > 1 else read
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        if reply.cut or isinstance(error, CutStream):
            return Fault.cut_off(reply.status)
        return unparsable(reply, f"the answer is not JSON: {error}")


def _events_in_a_list(read: list[Any], fold: Fold) -> Any:
    """Fold the events of a stream that came as one list; return any other list as it is."""
    if not has_error(read) and all(map(_is_event, read)):
        with suppress(ValueError, TypeError, AttributeError, LookupError):
            return fold(b"data: " + json.dumps(read) + b"\n\ndata: [DONE]\n\n")
    return read


def _is_event(value: Any) -> bool:
    return isinstance(value, dict) and ("choices" in value or str(value.get("type")).startswith(_EVENTS))


_EVENTS = ("response.", "message_", "content_block_", "ping")


def _folded(body: bytes, fold: Fold) -> Any:
    answer = fold(body)
    return json.with_pairs(answer) if b"\\ud" in body or b"\\uD" in body else answer


_JSON_OR_PAGE = (b"{", b"[", b'"', b"<")


def _is_called_stream(reply: Reply) -> bool:
    return reply.headers.get("content-type", "").startswith("text/event-stream")


def _parsed_beginning(reply: Reply, body: bytes, fold: Fold, error: ValueError) -> Any:
    """Parse JSON that something follows: the end of a stream, or the rest of one whose events have no field names.

    Or JSON with control characters, or in another encoding. Raises the error for anything else.
    """
    try:
        value, rest = json.first_value(body)
    except ValueError:
        value, rest = None, b""
    if value is not None and rest and not rest.strip(b" \t\r\n\0"):
        return value  # a server that sends the NUL at the end of its text
    if not rest.strip():
        try:
            return json.loads_lenient(body, _charset(reply))
        except ValueError:
            raise error from None
    ends = all(data.startswith(b"[DONE]") for _, data in events(rest))
    return value if ends and looks_like_events(rest) else _folded(body, fold)


def _charset(reply: Reply) -> str:
    declared = _CHARSET.search(reply.headers.get("content-type", ""))
    return declared[1] if declared is not None else "utf-8"


def read_body(body: Any, reply: Reply, verdict: Verdict, *, keep_body: bool) -> Completion | Fault:
    """Read a parsed body. One of an unexpected shape is a paid answer that cannot be read."""
    read = _verdict(body, reply, verdict)
    if isinstance(read, Fault) and read.kind is Kind.UNPARSABLE:
        for inner in _wrapped(body):
            inner_read = _verdict(inner, reply, verdict)
            if isinstance(inner_read, Completion):
                read = inner_read
                break
    if keep_body:
        if isinstance(read, Completion):
            read.body = body
        elif read.raw is None:
            return replace(read, answer=body if len(reply.body) <= LARGEST else beginning(reply))
    return read


def _verdict(body: Any, reply: Reply, verdict: Verdict) -> Completion | Fault:
    try:
        return verdict(body, reply)
    except (TypeError, AttributeError, LookupError, ValueError) as error:
        if has_error(body):
            return embedded_error(body, reply)
        why = f"{type(error).__name__}: {error}"
        return unparsable(reply, f"the answer has another shape than was asked for: {why}")


def _wrapped(body: Any) -> Iterator[Any]:
    """Yield what may be an answer that a gateway wrapped: into a list of one, a field, or a text of JSON.

    The usage may stand beside it.
    """
    if isinstance(body, dict):
        inner, beside = list(body.values()), {"usage": body["usage"]} if "usage" in body else {}
    else:
        inner, beside = body if isinstance(body, list) and len(body) == 1 else [body], {}
    for one in inner:
        if isinstance(one, str) and one.lstrip()[:1] == "{":
            with suppress(ValueError):
                yield beside | json.loads_shallow(one.encode())
        elif isinstance(one, dict):
            yield beside | one


def unparsable(reply: Reply, message: str) -> Fault:
    """Return the fault for a paid answer that cannot be read; its body is kept.

    A web page means a wrong address, so it counts for the whole route.
    """
    page = reply.body[:256].lstrip()[:1] == b"<"
    return Fault(
        kind=Kind.UNPARSABLE,
        message=f"{message} but a page" if page else message,
        scope=Scope.ROUTE if page else Scope.RECORD,
        billing=Billing.BILLED,
        status=reply.status,
        request_id=request_id(reply),
        raw=reply.body,
    )


def broken_off(reply: Reply, finish: str, usage: Usage | None, cost: float | None) -> Fault:
    """Return the fault for an answer that the provider broke off, as it says."""
    return Fault(
        kind=Kind.SERVER_ERROR,
        message=f"the provider broke the answer off (finish_reason {finish!r})",
        billing=Billing.SERVER,
        retry=True,
        status=reply.status,
        request_id=request_id(reply),
        usage=usage,
        cost=cost,
    )


def own_cost(usage: Any) -> float | None:
    """Return the provider's own price (OpenRouter's `usage.cost`, in US dollars); a zero counts only beside tokens."""
    cost = usage.get("cost") if isinstance(usage, dict) else None
    if cost is None or isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost < 1e6:
        return None
    return float(cost) if cost or any(map(usage.get, _COUNTS)) else None


_COUNTS = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens")


def request_id(reply: Reply) -> str | None:
    """Return the provider's name for the request."""
    return reply.headers.get("x-request-id") or reply.headers.get("request-id")


def snake_cased(raw: dict[str, Any]) -> dict[str, Any]:
    """Return counts under the usual names where they have names like `promptTokens`; else the same object."""
    names = {name: _CAPITAL.sub(r"_\g<0>", str(name)).lower().lstrip("_") for name in raw}
    if all(name == own for own, name in names.items()):
        return raw
    return {names[own]: snake_cased(value) if isinstance(value, dict) else value for own, value in raw.items()}


_CAPITAL = re.compile(r"(?<![A-Z])[A-Z]")


def count(value: Any) -> int | None:
    """Return a number of tokens, None for anything else."""
    if value is None:
        return None
    if type(value) is int:
        return value if 0 <= value < 2**53 else None
    if isinstance(value, str) and len(value) < 20 and value.isascii() and value.isdecimal():
        value = int(value)
    countable = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if countable and 0 <= value < 2**53 else None
