"""Embeddings: inputs to vectors that depend on nothing but model and text. Pure."""

import base64
import struct
from random import Random
from typing import Any

from llmbatch.mock.dialect import Asked, Dialect, Malformed, Turn
from llmbatch.mock.inputs import disorder, one_or_several
from llmbatch.mock.wording import tokens

__all__ = ["EMBEDDINGS"]

_DIMENSIONS = 8


def read(body: dict[str, Any]) -> Asked:
    """Check a request body the way the API does, no further than the answer needs."""
    model, dimensions = body.get("model"), body.get("dimensions")
    if not isinstance(model, str) or not model:
        raise Malformed("you must provide a model parameter", "model")
    if dimensions is not None and not (type(dimensions) is int and 1 <= dimensions <= 4096):
        raise Malformed("Invalid 'dimensions': an integer from 1 to 4096 was expected.", "dimensions")
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise Malformed("Invalid 'encoding_format': 'float' or 'base64' was expected.", "encoding_format")
    inputs = one_or_several(body, "input")
    counted = sum(map(tokens, inputs))
    return Asked(body, model, "\n".join(inputs), counted, counted, stream=False)


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


def _vector(asked: Asked, text: str) -> list[float] | str:
    rng, size = Random(f"{asked.model}:{text}"), asked.body.get("dimensions") or _DIMENSIONS
    packed = struct.pack(f"<{size}f", *(rng.uniform(-1, 1) for _ in range(size)))
    if asked.body.get("encoding_format") == "base64":
        return base64.b64encode(packed).decode()
    return list(struct.unpack(f"<{size}f", packed))


EMBEDDINGS = Dialect(read, answer, None)
