"""Estimates whether the check of a JSON Schema takes few steps for each part of a value. Pure.

For most schemas it does. For schemas that apply to themselves, or many times to the same part, the time may double with
each level of the value; for patterns with look-around or back-references it may double with each character.
"""

import re
from typing import Any

__all__ = ["takes_few_steps"]

FEW = 1_000
"""Subschemas that may apply at one place of a value, each as often as it is tried."""
DEEPEST = 50
"""Levels of a schema that are searched."""

_NONE = 10**9
"""The count of a schema that takes too many steps."""
_TRIED_AGAIN = 2
"""An alternative may be tried once to choose it, and once to say what is wrong."""

_ALL = ("allOf", "prefixItems", "items", "additionalItems", "additionalProperties", "contains", "propertyNames", "then",
        "else", "contentSchema")  # fmt: skip
_ALTERNATIVES = ("anyOf", "oneOf", "not", "if", "unevaluatedItems", "unevaluatedProperties")
_BY_NAME = ("properties", "patternProperties", "dependentSchemas", "dependencies")
_BACKTRACKS = re.compile(r"\(\?(?:<?[=!]|>|P=|\()|\\[1-9kg]|[*+?}]\+")
"""Parts that a regular expression with linear time cannot have: look-around, back-references and the like."""


def takes_few_steps(schema: Any) -> bool:
    """Say whether the steps of a check grow only with the size of the value, and are few for each part of it.

    A schema with references that it does not contain, or that depend on where they are used, counts as slow.
    """
    return _Count(schema).steps(schema, DEEPEST) <= FEW


class _Count:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._of_reference: dict[str, int] = {}
        """The steps of each reference; too many while they are being counted, so that a cycle counts as slow."""

    def steps(self, schema: Any, levels: int) -> int:
        """Count the subschemas, alternatives more than once."""
        if not isinstance(schema, dict):
            return 1
        if not levels or "$dynamicRef" in schema or "$recursiveRef" in schema:
            return _NONE
        count = 1
        for name, value in schema.items():
            if name in _ALL or name in _ALTERNATIVES:
                each = sum(self.steps(one, levels - 1) for one in (value if isinstance(value, list) else (value,)))
                count += each * _TRIED_AGAIN if name in _ALTERNATIVES else each
            elif name in _BY_NAME and isinstance(value, dict):
                count += sum(self.steps(one, levels - 1) for one in value.values())
                if name == "patternProperties":
                    count += sum(map(_pattern_steps, value))
            elif name == "$ref":
                count += self._referenced(value, levels - 1)
            elif name == "pattern":
                count += _pattern_steps(value)
            elif name == "enum" and isinstance(value, list):
                count += len(value)
        return min(count, _NONE)

    def _referenced(self, reference: Any, levels: int) -> int:
        if not isinstance(reference, str):
            return _NONE
        if reference not in self._of_reference:
            self._of_reference[reference] = _NONE
            found, target = _follow(self._root, reference)
            if found:
                self._of_reference[reference] = self.steps(target, levels)
        return self._of_reference[reference]


def _pattern_steps(pattern: Any) -> int:
    return _NONE if not isinstance(pattern, str) or _BACKTRACKS.search(pattern) else 1


def _follow(root: Any, reference: str) -> tuple[bool, Any]:
    """Follow a JSON Pointer from the root of the schema."""
    if reference != "#" and not reference.startswith("#/"):
        return False, None
    target = root
    for part in reference.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(target, dict) and name in target:
            target = target[name]
        elif isinstance(target, list) and name.isdigit() and int(name) < len(target):
            target = target[int(name)]
        else:
            return False, None
    return True, target
