"""Schemas whose check takes few steps for each part of a value, and those that may double with each level."""

from typing import Any

import pytest

from llmbatch.codec.schema import compiled
from llmbatch.codec.schema_cost import takes_few_steps

ADDRESS = {"type": "object", "properties": {"street": {"type": "string"}, "zip": {"pattern": "^[0-9]{5}(-[0-9]{4})?$"}}}


def chain(links: int, word: str) -> dict[str, Any]:
    """Make a schema without a cycle that applies twice as many subschemas with each link."""
    links_of = {f"d{n}": {word: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(links)}
    return {"$ref": "#/$defs/d0", "$defs": {**links_of, f"d{links}": {"type": "integer"}}}


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": "object", "properties": {"stars": {"type": "integer"}}, "required": ["stars"]},
        {"enum": list(range(500))},
        {"pattern": "(a+)+$"},
        {"items": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "uniqueItems": True},
        {"properties": {"home": {"$ref": "#/$defs/address"}, "work": {"$ref": "#/$defs/address"}},
         "$defs": {"address": ADDRESS, "unused": {"$ref": "#"}}},
        {"properties": {"a~b/c": {"$ref": "#/properties/first"}, "first": {"$ref": "#/$defs/a~1b"}},
         "$defs": {"a/b": {"type": "string"}}},
        chain(3, "oneOf"),
    ],
)  # fmt: skip
def test_ordinary_schemas_are_quick(schema: Any) -> None:
    assert takes_few_steps(schema) and compiled(schema).is_quick


@pytest.mark.parametrize(
    "schema",
    [
        {"items": {"$ref": "#"}},
        {"$ref": "#/$defs/a",
         "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"properties": {"x": {"$ref": "#/$defs/a"}}}}},
        {"oneOf": [{"items": {"$ref": "#"}}, {"additionalProperties": {"$ref": "#"}}]},
        {"$id": "urn:a", "items": {"$ref": "urn:a"}},
        {"$anchor": "a", "not": {"items": {"$ref": "#a"}}},
        {"$dynamicAnchor": "a", "items": {"$dynamicRef": "#a"}},
        {"$schema": "https://json-schema.org/draft/2019-09/schema", "items": {"$recursiveRef": "#"}},
        {"items": {"pattern": "^(?=(a|aa)+$)"}},
        {"patternProperties": {r"^((a|aa)+)\1$": True}},
        {"items": {"enum": list(range(2000))}},
        chain(10, "allOf"), chain(10, "anyOf"), chain(6, "oneOf"),
    ],
)  # fmt: skip
def test_schemas_that_may_take_many_steps_are_told(schema: Any) -> None:
    assert not takes_few_steps(schema) and not compiled(schema).is_quick


def test_schemas_of_any_depth_and_with_references_to_nowhere_are_told_too() -> None:
    deep: Any = {}
    for _ in range(5000):
        deep = {"items": deep}
    assert not takes_few_steps(deep)
    assert not takes_few_steps({"$ref": "#/$defs/none"})
    assert not takes_few_steps({"$ref": 7})
    assert not takes_few_steps({"items": [{"$ref": "#/items/1"}]})
