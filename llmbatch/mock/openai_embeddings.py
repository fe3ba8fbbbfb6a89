"""Embeddings: turns inputs into vectors that depend on model and text alone. Pure."""

import base64
import struct
from collections.abc import Callable
from random import Random
from typing import Any

from llmbatch.mock.dialect import Dialect, MalformedRequest, MockRequest, Turn
from llmbatch.mock.fake_text import tokens

__all__ = ["DISORDERS", "EMBEDDINGS", "disorder", "one_or_several"]

_DIMENSIONS = 8


def read(body: dict[str, Any]) -> MockRequest:
    """Check a request body the way the API does, no further than the answer needs."""
    model, dimensions = body.get("model"), body.get("dimensions")
    if not isinstance(model, str) or not model:
        raise MalformedRequest("you must provide a model parameter", "model")
    if dimensions is not None and not (type(dimensions) is int and 1 <= dimensions <= 4096):
        raise MalformedRequest("Invalid 'dimensions': an integer from 1 to 4096 was expected.", "dimensions")
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise MalformedRequest("Invalid 'encoding_format': 'float' or 'base64' was expected.", "encoding_format")
    inputs = one_or_several(body, "input")
    counted = sum(map(tokens, inputs))
    return MockRequest(body, model, "\n".join(inputs), counted, counted, stream=False)


def answer(turn: Turn) -> dict[str, Any]:
    """Build the answer object."""
    asked = turn.asked
    data = [
        {"object": "embedding", "index": place, "embedding": _vector(asked, text)}
        for place, text in enumerate(one_or_several(asked.body, "input"))
    ]
    name = turn.fault.name if turn.fault else None
    usage = {"prompt_tokens": asked.prompt_tokens, "total_tokens": asked.prompt_tokens}
    answered = {"object": "list", "model": asked.model, "data": disorder(data, name), "usage": usage}
    if name == "no-usage":
        del answered["usage"]
    return answered


def _vector(asked: MockRequest, text: str) -> list[float] | str:
    rng, size = Random(f"{asked.model}:{text}"), asked.body.get("dimensions") or _DIMENSIONS
    packed = struct.pack(f"<{size}f", *(rng.uniform(-1, 1) for _ in range(size)))
    if asked.body.get("encoding_format") == "base64":
        return base64.b64encode(packed).decode()
    return list(struct.unpack(f"<{size}f", packed))


EMBEDDINGS = Dialect(read, answer, None)

_MOST = 2048


def one_or_several(body: dict[str, Any], name: str) -> list[str]:
    """Return the inputs of a request as texts; token numbers stand for themselves. Raises MalformedRequest."""
    input = body.get(name)
    if isinstance(input, list) and input and all(type(one) is int for one in input):
        input = [input]
    inputs = input if isinstance(input, list) else [input]
    if not inputs or len(inputs) > _MOST:
        raise MalformedRequest(f"'{name}' takes from 1 to {_MOST} inputs.", name)
    texts = []
    for place, one in enumerate(inputs):
        if isinstance(one, list) and one and all(type(token) is int for token in one):
            one = " ".join(map(str, one))
        if not isinstance(one, str) or not one:
            raise MalformedRequest(
                f"Invalid '{name}[{place}]': a non-empty string or array of tokens was expected.", name
            )
        texts.append(one)
    return texts


Entries = list[dict[str, Any]]

DISORDERS: dict[str, Callable[[Entries], Entries]] = {
    "one-missing": lambda entries: entries[:-1],
    "one-twice": lambda entries: [*entries[:-1], entries[0]],
    "backwards": lambda entries: entries[::-1],
    "no-index": lambda entries: [{name: value for name, value in one.items() if name != "index"} for one in entries],
}
"""Faults that make it unclear which answer belongs to which input."""


def disorder(entries: Entries, fault: str | None) -> Entries:
    """Return the entries of an answer as the fault wants them."""
    return DISORDERS[fault](entries) if fault in DISORDERS else entries
