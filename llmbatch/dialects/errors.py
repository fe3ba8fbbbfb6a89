"""Reads the error bodies of all servers into one shape."""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from llmbatch.codec import json
from llmbatch.codec.sse import events
from llmbatch.core.exchange import Reply
from llmbatch.dialects.error_rules import ApiError
from llmbatch.dialects.error_waits import google_details, wait_in_fields

__all__ = ["BYTE_ORDER_MARK", "LARGEST", "api_error", "beginning", "error_in"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

MESSAGE = 1000
"""Characters of a provider's message that are kept."""

LARGEST = 1024 * 1024
"""Bytes of an error body that is parsed; the beginning of a larger one is shown as text."""
EVIDENCE = 64 * 1024
PAGE = 4096
"""Bytes of a page without a title whose words are shown."""
_TAGS = re.compile(rb"(?is)<(style|script)\b[^<]*</\1>|<[^<>]*>?")
_ADDRESSES = re.compile(rb"\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}\b")

DEEPEST = 6
"""Nested objects that are searched for the words of an error."""
MOST, MOST_READ = 5, 100
"""Entries of a list of errors that are shown, and that are read."""

_HOLDERS = (
    "error",
    "errors",
    "detail",
    "message",
    "base_resp",
    "fault",
    "responsemetadata",
    "response",
    "header",
    "exception",
    "err",
    "status",
    "data",
    "output",
    "result",
)
"""Fields whose object or list holds the error itself: OpenAI and its copies, Azure and Cloudflare, FastAPI, nested
proxies, MiniMax, Apigee, Volcengine, Tencent, Spark."""

_WORDS = (
    "message",
    "msg",
    "detail",
    "error_description",
    "error_msg",
    "error_message",
    "errormessage",
    "errmsg",
    "resultmsg",
    "status_msg",
    "statusmessage",
    "statustext",
    "faultstring",
    "description",
    "reason",
    "title",
)
"""Fields that hold the words of an error, the best first."""

_NAMES = (
    "code",
    "type",
    "status",
    "error_code",
    "errorcode",
    "errcode",
    "resultcode",
    "error_type",
    "__type",
    "reason",
    "exception",
)
"""Fields that name an error."""

_STATUSES = (
    "code",
    "status",
    "status_code",
    "statuscode",
    "http_status",
    "httpstatus",
    "http_code",
    "error_code",
    "errorcode",
    "resultcode",
    "error",
)
"""Fields that may state the HTTP status of an error."""


def api_error(reply: Reply) -> tuple[ApiError, Any]:
    """Read a reply whose status is not a success; return the error and the body as JSON or text."""
    error, body = _read(reply)
    if 300 <= reply.status < 400 and (target := reply.headers.get("location")):
        # A query may hold a secret.
        error = replace(error, message=f"redirects to {target.partition('?')[0][:200]}, and is not followed")
    return error, body


def _read(reply: Reply) -> tuple[ApiError, Any]:
    if len(reply.body) > LARGEST:
        return ApiError(reply.status, _page(reply)), beginning(reply)
    content = reply.body.removeprefix(BYTE_ORDER_MARK)
    try:
        body = json.loads_shallow(content)
    except ValueError:
        text = reply.body.decode("utf-16" if content[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8", "replace")
        body = _as_json(text.lstrip())  # its words may be in another encoding
        if not isinstance(body, dict | list):
            body = _in_stream(content)
        if body is None:
            return ApiError(reply.status, _page(reply)), text
    return error_in(body, reply.status), body


def beginning(reply: Reply) -> str:
    """Return the beginning of a body, as text."""
    return reply.body[:EVIDENCE].decode("utf-8", "replace")


def error_in(body: Any, status: int) -> ApiError:
    """Read an error body of any shape. Raises nothing.

    The objects are read from the outermost to the innermost, and each text is shown once. Details are added: the
    provider's own words behind OpenRouter's, the details of Azure's and Google's errors, the fields that FastAPI found
    wrong (without their values, which come from the record).
    """
    layers, rest = _layers(body)
    texts: list[str] = []
    names: list[str] = []
    for fields in layers:
        _add_text(texts, _find_words(fields))
        names += _find_names(fields)
    if isinstance(rest, str) and _is_name(rest):
        names.append(rest)
        if not texts:
            texts.append(rest)
    else:
        listed = _listed(rest) if isinstance(rest, list) else ""
        _add_text(texts, listed or _text(rest), first=bool(layers))
    error = layers[-1] if layers else {}
    for fields in layers:
        for more in _details(fields):
            _add_text(texts, more)
    if not texts and body not in ({}, [], None, ""):
        texts.append(_text(body))
    wait, per_day, reason = google_details(error.get("details"))
    return ApiError(
        status=status,
        message=": ".join(texts)[:MESSAGE] or f"HTTP {status}",
        code=reason or _find_code(layers, status),
        type=_name(error.get("type") or error.get("status") or error.get("__type")),
        wait=wait if wait is not None else wait_in_fields(layers),
        per_day=per_day,
        names=tuple(names),
        inner_status=_find_status(layers),
    )


def _layers(body: Any) -> tuple[list[dict[str, Any]], Any]:
    """Return the nested objects of an error body, from the outermost, field names in lower case, and the rest.

    JSON within a text is parsed too. The rest is what the innermost object holds when that is not an object.
    """
    layers: list[dict[str, Any]] = []
    value = body
    while len(layers) < DEEPEST:
        if isinstance(value, str):
            value = _as_json(value)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
            continue
        if not isinstance(value, dict):
            return layers, value
        fields = {str(name).lower(): inner for name, inner in value.items()}
        layers.append(fields)
        value = next((fields[name] for name in _HOLDERS if _holds(name, fields.get(name))), None)
    return layers, value


def _holds(name: str, value: Any) -> bool:
    """Tell whether a field holds the error itself."""
    if isinstance(value, str):
        return bool(value) and (name in ("error", "errors") or value[:1] in "{[")
    return isinstance(value, dict | list) and bool(value)


def _as_json(text: str) -> Any:
    """Return the value of a text that is JSON, or the text."""
    if text[:1] in ("{", "["):
        try:
            return json.loads_shallow(text[:LARGEST].encode("utf-8", "replace"))
        except ValueError:
            pass
    return text


def _find_words(fields: Mapping[str, Any]) -> str:
    return next((text for name in _WORDS if isinstance(text := fields.get(name), str) and _is_words(text)), "")


def _is_words(text: str) -> bool:
    return bool(text.strip()) and not isinstance(_as_json(text), dict | list)


def _is_name(text: str) -> bool:
    """Tell whether a text is a name, such as `invalid_grant`."""
    return bool(text) and len(text) <= 100 and " " not in text


def _add_text(texts: list[str], more: str, *, first: bool = False) -> None:
    """Add a text unless another one contains it."""
    more = more[:MESSAGE]
    if more and not any(more in text for text in texts):
        texts.insert(0 if first else len(texts), more)


def _find_names(fields: Mapping[str, Any]) -> Iterator[str]:
    for field in _NAMES:
        if (name := _name(fields.get(field))) is not None:
            yield name
    base = fields.get("status_code")
    if "status_msg" in fields and isinstance(base, int | str):  # MiniMax's numbers, which have other meanings elsewhere
        yield f"base_resp_{base}"
    inner: Any = fields.get("innererror")
    for _ in range(3):
        if not isinstance(inner, dict):
            break
        if (name := _name(inner.get("code"))) is not None:
            yield name
        inner = inner.get("innererror")
    for holder in ("metadata", "details"):
        about = fields.get(holder)
        if isinstance(about, dict):
            for field in ("error_type", "error_code", "code"):
                if (name := _name(about.get(field))) is not None:
                    yield name
            if about.get("flagged_input") or about.get("reasons"):  # OpenRouter's moderation
                yield "flagged"


def _details(fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts of an object beside its message."""
    metadata, details = fields.get("metadata"), fields.get("details")
    if isinstance(metadata, dict):
        if raw := metadata.get("raw"):
            inner = error_in(_as_json(raw), 0) if isinstance(raw, str) else error_in(raw, 0)
            yield inner.message
        if isinstance(reasons := metadata.get("reasons"), list):
            yield ", ".join(str(reason) for reason in reasons[:MOST])
    if isinstance(details, str):
        yield details
    elif isinstance(details, list):
        yield _listed(entry for entry in details if isinstance(entry, dict))
    elif isinstance(details, dict):
        yield "; ".join(f"{field}: {text}" for field, text in details.items() if isinstance(text, str) and " " in text)
    for name in ("detail", "errors", "issues", "error_chain", "violations"):
        entries = fields.get(name)
        if isinstance(entries, list) and len(entries) > (name not in ("error_chain", "violations")):
            yield _listed(entries)
        elif name == "errors" and isinstance(entries, dict):  # ASP.NET: the messages of each field
            yield "; ".join(f"{field}: {_flat(text)}" for field, text in [*entries.items()][:MOST])
    if isinstance(where := fields.get("loc"), list):  # FastAPI, a single error
        yield "at " + ".".join(str(step) for step in where)


def _listed(entries: Iterable[Any]) -> str:
    """Join the texts of several errors, each with its location where it has one."""
    texts: list[str] = []
    for entry in islice(entries, MOST_READ):
        if isinstance(entry, str):
            texts.append(entry)
        elif isinstance(entry, dict):
            fields = {str(name).lower(): inner for name, inner in entry.items()}
            words, where = _find_words(fields), fields.get("loc") or fields.get("target") or fields.get("path")
            place = ".".join(str(step) for step in where) if isinstance(where, list) else where
            if words:
                texts.append(f"{place}: {words}" if place else words)
        if len(texts) == MOST:
            break
    return "; ".join(texts)


def _flat(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _find_code(layers: list[dict[str, Any]], status: int) -> str | None:
    """Find the most specific name: that of the innermost error which has one besides the HTTP status."""
    for fields in reversed(layers):
        about = (fields.get("details"), fields.get("metadata"), fields, fields.get("innererror"))
        for holder, names in zip(about, (("error_code",), ("error_type",), (), ("code",)), strict=True):
            own = names or ("code", "error_code", "errorcode", "errcode", "resultcode", "status_code")
            for name in own:
                code = _name(holder.get(name)) if isinstance(holder, dict) else None
                if code is not None and code != str(status):
                    return code
    return None


def _find_status(layers: list[dict[str, Any]]) -> int | None:
    """Find the HTTP status that a body states, that of the innermost error first."""
    for fields in reversed(layers):
        for name in _STATUSES:
            value = fields.get(name)
            if isinstance(value, str) and value.isdecimal() and len(value) == 3:
                value = int(value)
            if isinstance(value, int) and 400 <= value < 600:
                return value
    return None


def _name(value: Any) -> str | None:
    """Return a code or type in lower case, None for any other value."""
    named = isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    return str(value).lower()[:MESSAGE] if named else None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value[:MESSAGE]
    return json.dumps(value).decode()[:MESSAGE] if value and not isinstance(value, bool) else ""


def _in_stream(content: bytes) -> Any:
    """Return the first JSON of an error that came as an event stream, None for anything else."""
    if not content.lstrip().startswith((b"data:", b"event:")):
        return None
    for _, data in events(content):
        try:
            return json.loads_shallow(data)
        except ValueError:
            continue
    return None


def _page(reply: Reply) -> str:
    """Reduce a page that is not JSON to its title or first words: error pages contain addresses and ray ids."""
    title = _title(reply.body[:EVIDENCE])
    if title is not None:
        words = title
    elif b"<" in reply.body[:256]:
        words = _ADDRESSES.sub(b"", _TAGS.sub(b" ", reply.body[:PAGE]))
    else:
        words = reply.body[:200]
    text = " ".join(words.decode("utf-8", "replace").split())[:200]
    return f"HTTP {reply.status}: {text}" if text else f"HTTP {reply.status} without an explanation"


def _title(page: bytes) -> bytes | None:
    """Find the title of a page. Not by a pattern, which takes very long for a page of opening tags alone."""
    tags = page.lower()
    begin = tags.find(b">", tags.find(b"<title")) + 1 if b"<title" in tags else 0
    end = tags.find(b"</title", begin)
    return page[begin:end] if begin and end >= 0 else None
