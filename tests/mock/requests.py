"""Requests to the mock: a schema for answers, the bodies of chats, and their arrival at a provider."""

import json
from hashlib import sha256
from typing import Any

from llmbatch.mock.provider import Arrival, Provider, Verdict

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer", "minimum": 3, "maximum": 5},
        "score": {"type": "number"},
        "good": {"type": "boolean"},
        "colour": {"enum": ["red", "blue"]},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
    },
    "$defs": {"tag": {"type": "object", "properties": {"label": {"type": "string"}}}},
}
"""Each kind of value that the mock can make up."""


def arrive(provider: Provider, body: bytes, serial: int = 1, *, now: float = 0.0, in_flight: int = 1) -> Verdict:
    key = sha256(body).hexdigest()
    arrival = Arrival(serial, "POST", "/v1/chat/completions", {}, body, key, in_flight)
    return provider.decide(arrival, now=now, wall=1e9)


def asked(prompt: str, **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}).encode()
