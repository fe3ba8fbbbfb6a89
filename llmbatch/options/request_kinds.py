"""The kinds of values for the request: servers, headers, body fields, schemas."""

import json
import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from llmbatch.core.errors import UsageError
from llmbatch.core.loopback import is_loopback
from llmbatch.dialects.presets import PRESETS, PROVIDER_ALIASES
from llmbatch.dialects.providers import ENDPOINTS, checked_endpoint
from llmbatch.options.kinds import several
from llmbatch.options.option import Kind, spelled

__all__ = ["ENDPOINT", "HEADERS", "HEADER_NAME", "MODELS", "PAIRS", "PRICE", "PROVIDER", "REASONS", "SCHEMA", "SERVERS"]

_AS_TEXT = "A value is JSON if it parses; text that looks like JSON goes into double quotes: '\"…\"'."
_RESERVED = ("host", "content-length", "transfer-encoding", "connection")
_OF_KEYS = ("authorization", "api-key", "x-api-key", "x-goog-api-key")


_PATHS = ("/chat/completions", "/completions", "/responses", "/embeddings", "/messages")
"""Ends of addresses that people copy from examples; they belong to `--endpoint`."""


def _provider(name: str, value: Any) -> str:
    """Read a provider's name, in any case and by the names that people use for it."""
    spelled = str(value).strip().lower()
    return PROVIDER_ALIASES.get(spelled, spelled)


def _models(name: str, value: Any) -> tuple[str, ...]:
    models = tuple(several(value))
    if not models or not all(isinstance(model, str) and model for model in models):
        raise UsageError(f"{name} names no model", f"Example: {name} gpt-5-mini")
    return models


def _servers(name: str, value: Any) -> tuple[str, ...]:
    """Read addresses; one that is named twice would get two shares of the records."""
    urls = tuple(several(value))
    if not urls:
        raise UsageError(f"{name} is an empty list", "Name a server, or leave it out.")
    for place, url in enumerate(urls):
        if re.match(r"[\w.-]+(:\d+)?(/|$)", url):
            scheme = "http" if is_loopback(url.partition("/")[0].partition(":")[0]) else "https"
            raise UsageError(f"{name} {url} is not an http(s) address", f"Write {name} {scheme}://{url}")
        if ending := next((path for path in _PATHS if url.rstrip("/").endswith(path)), None):
            base = url.rstrip("/").removesuffix(ending)
            raise UsageError(f"{name} {url} is the address of an endpoint", f"The base URL ends before it: {base}")
        if url.rstrip("/") in (other.rstrip("/") for other in urls[:place]):
            raise UsageError(f"{name} {url} is given twice", "Name each server once.")
    return urls


def _endpoint(name: str, value: Any) -> str | None:
    return checked_endpoint(value)


def _pairs(name: str, value: Any) -> dict[str, Any]:
    """Read body fields: a mapping, or K=V with V as JSON if it parses, else as text."""
    if isinstance(value, Mapping):
        _check_json(name, value, "Give what JSON can carry.")
        return dict(value)
    pairs = {}
    for item in value:
        field, equals, text = item.partition("=")
        if not field or not equals:
            raise UsageError(f"{name} {item!r} is not K=V", f"Example: {name} top_p=0.9")
        pairs[field] = _json_or_text(f"{name} {field}", text)
    return pairs


def _json_or_text(name: str, text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    except (ValueError, RecursionError) as error:  # JSON with thousands of digits or levels
        raise UsageError(f"{name}: {error}", _AS_TEXT) from None
    _check_json(name, value, _AS_TEXT)
    return value


def _check_json(name: str, value: Any, hint: str) -> None:
    from llmbatch.codec.json import unwritable

    flaw = unwritable(value)
    if flaw is not None:
        raise UsageError(f"{name} holds {flaw}", hint)


def _schema(name: str, value: Any) -> Any:
    """Read a JSON schema: the file that holds it, or the schema itself."""
    if not isinstance(value, Path):
        _check_json(name, value, "Give what JSON can carry.")
        return value
    from llmbatch.codec.json import unwritable
    from llmbatch.codec.text import decode_text

    try:
        schema = json.loads(decode_text(value.read_bytes()))
        flaw = unwritable(schema)
    except (OSError, ValueError, RecursionError) as error:
        flaw = getattr(error, "strerror", None) or str(error)
    if flaw is not None:
        raise UsageError(f"{name} {value}: {flaw}", "Name a file in UTF-8 that holds one JSON schema.")
    return schema


def _reasons(name: str, value: Any) -> frozenset[str]:
    """Read reasons. Words of providers are allowed; a word that is similar to one of ours is a typing error."""
    from llmbatch.dialects.finish_reasons import REASONS as OURS

    all_reasons = (*OURS, "refusal")
    reasons = frozenset(value.split(",") if isinstance(value, str) else value)
    for reason in reasons - set(all_reasons):
        similar = get_close_matches(reason, all_reasons, n=1, cutoff=0.75)
        if similar or not reason:
            raise UsageError(
                f"{spelled(name, reason)} is no reason to end",
                f"Did you mean {similar[0]}?"
                if similar
                else f"There are: {', '.join(all_reasons)}, and providers' own words.",
            )
    return reasons


def _headers(name: str, value: Any) -> dict[str, str]:
    """Read headers: a mapping, or NAME:VALUE, which other processes can see."""
    if isinstance(value, Mapping):
        return dict(value)
    headers = {}
    for item in value:
        header, colon, text = item.partition(":")
        header, text = header.strip(), text.strip()
        if not colon or not header or not item.isascii() or not item.isprintable() or " " in header:
            raise UsageError(f"{name} is not NAME:VALUE", f"Example: {name} 'X-Title: my run'")
        if header.lower() in _RESERVED:
            raise UsageError(f"{name} {header} is not yours to set", "Leave it out.")
        if header.lower() in _OF_KEYS:
            raise UsageError(
                f"{name} {header} would show the key to everybody who lists processes",
                "Put the key into a variable and name it with --key-env.",
            )
        headers[header] = text
    return headers


def _header_name(name: str, value: Any) -> str:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", value):
        raise UsageError(f"{spelled(name, value)} is not a header name", f"Example: {name} api-key")
    if value.lower() in _RESERVED:
        raise UsageError(f"{name} {value} is not yours to set", f"Example: {name} api-key")
    header: str = value
    return header


def _price(name: str, value: Any) -> tuple[float, float]:
    try:
        input, output = map(float, value.split(",") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        input = output = math.nan
    if not (0 <= input < math.inf and 0 <= output < math.inf):
        raise UsageError(
            f"{spelled(name, value)} is not IN,OUT", f"US dollars per million tokens in and out: {name} 0.15,0.60"
        )
    return input, output


PROVIDER = Kind(str, "NAME", _provider, choices=tuple(PRESETS))
MODELS = Kind(list[str], "MODEL", _models)
SERVERS = Kind(list[str], "URL", _servers)
ENDPOINT = Kind(str, "NAME|/PATH", _endpoint, choices=tuple(ENDPOINTS))
PAIRS = Kind(list[str], "K=V", _pairs)
SCHEMA = Kind(Path, "FILE", _schema, names_file="always")
REASONS = Kind(str, "REASON,...", _reasons, choices=("length", "content_filter", "refusal"))
HEADERS = Kind(list[str], "NAME:VALUE", _headers)
HEADER_NAME = Kind(str, "NAME", _header_name)
PRICE = Kind(str, "IN,OUT", _price)
