"""Makes up texts of answers from a seed: sentences, or JSON that fits a simple schema. Counts and cuts tokens."""

import re
from math import ceil, floor
from random import Random
from typing import Any

from llmbatch.codec import json

__all__ = ["cut", "fitting", "formatted", "sentences", "shortened", "tokens"]

_SUBJECTS = (
    "A quiet harbour", "The old library", "Every careful plan", "The morning train", "A patient gardener",
    "This small answer", "The northern wind", "A good question", "The last lantern", "An honest map",
)  # fmt: skip
_VERBS = ("follows", "remembers", "repairs", "explains", "crosses", "carries", "measures", "invites", "keeps")
_OBJECTS = (
    "the long river", "a simple rule", "the missing page", "a warm light", "the other side", "blue stones",
    "the shortest way", "a bowl of apples", "the same sky", "an open door",
)  # fmt: skip

_DEEPEST = 16
_MOST_PIECES = 12


def sentences(prompt: str, rng: Random, count: int = 3) -> str:
    """Return sentences after a quotation of the prompt's beginning, so that people see which prompt is answered."""
    quoted = " ".join(prompt[:240].split())
    if len(quoted) > 60:
        quoted = quoted[:59] + "…"
    words = (f"{rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_OBJECTS)}." for _ in range(count))
    return " ".join((f"You asked: '{quoted}'", *words))


def formatted(text: str, kind: Any, schema: Any, rng: Random) -> str:
    """Return a text as a response format of OpenAI asks for it: as it is, as JSON, or a value that fits a schema."""
    if kind == "json_object":
        return json.dumps({"answer": text}).decode()
    if kind == "json_schema":
        return json.dumps(fitting(schema or {"type": "object"}, rng)).decode()
    return text


def fitting(schema: Any, rng: Random, *, root: Any = None, depth: int = 0) -> Any:
    """Return a value that fits a simple schema: objects, arrays, scalars, enums, references, alternatives."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return None

    def inner(part: Any) -> Any:
        return fitting(part, rng, root=root, depth=depth + 1)

    if isinstance(reference := schema.get("$ref"), str):
        return inner(_target(root, reference))
    if "const" in schema:
        return schema["const"]
    if isinstance(choices := schema.get("enum"), list) and choices:
        return rng.choice(choices)
    for word in ("anyOf", "oneOf", "allOf"):
        if isinstance(options := schema.get(word), list) and options:
            return inner(options[0])
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            properties = schema.get("properties")
            return {name: inner(part) for name, part in (properties if isinstance(properties, dict) else {}).items()}
        case "array":
            length = min(max(1, ceil(_bound(schema, "minItems", 1))), 100)
            return [inner(schema.get("items")) for _ in range(length)]
        case "integer":
            low = ceil(_bound(schema, "minimum", min(0, _bound(schema, "maximum", 0))))
            return rng.randint(low, max(low, floor(_bound(schema, "maximum", low + 100))))
        case "number":
            low = _bound(schema, "minimum", min(0, _bound(schema, "maximum", 0)))
            return round(rng.uniform(low, max(low, _bound(schema, "maximum", low + 100))), 3)
        case "boolean":
            return rng.random() < 0.5
        case "null":
            return None
        case _:
            return f"{rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_OBJECTS)}."


def _bound(schema: dict[str, Any], name: str, default: Any) -> Any:
    value = schema.get(name)
    return value if isinstance(value, int | float) and abs(value) < 1e15 else default


def _target(root: Any, reference: str) -> Any:
    for part in reference.removeprefix("#").strip("/").split("/"):
        root = root.get(part) if isinstance(root, dict) and part else root
    return root


def tokens(text: str) -> int:
    """Count the tokens of a text, which may hold what UTF-8 cannot: four bytes each."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def shortened(text: str, most: int | None) -> str | None:
    """Return the first `most` tokens of a text, None when it has no more."""
    if most is None or len(text) <= most or tokens(text) <= most:
        return None
    return text.encode("utf-8", "surrogatepass")[: most * 4].decode("utf-8", "ignore")


def cut(text: str) -> list[str]:
    """Cut a text after words, into a dozen pieces or so."""
    words = re.findall(r"\s*\S+|\s+", text)
    size = max(2, -(-len(words) // _MOST_PIECES))
    return ["".join(words[start : start + size]) for start in range(0, len(words), size)]
