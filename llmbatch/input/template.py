"""Prompt templates: Jinja, sandboxed and strict, imported only for a text with markers."""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmbatch.codec.json import dumps, is_unicode
from llmbatch.codec.text import decode_text
from llmbatch.core.errors import UsageError
from llmbatch.core.prompt import RecordError
from llmbatch.input.record_shapes import other_delimiter

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

__all__ = ["Template", "TemplateError"]

_MARKERS = ("{{", "{%", "{#")
_ONE_NAME = re.compile(r"\{\{-? *([^{}|\"\[\]\n]+?) *(?:\|[^{}]*)?-?\}\}")
"""What stands alone in double braces, or before a filter."""
_SINGLE_BRACES = re.compile(r"\{ *([^{}\n]+?) *\}")


class TemplateError(RecordError):
    """A template does not work for a record."""


class Template:
    """A text with or without fields in it.

    Fields are there by name. For names that are no identifiers all of them are in `row`, too, unless the record has a
    field of that name. What is not a string or a number is written as JSON.
    """

    def __init__(self, text: str, render: Callable[[dict[str, Any]], str] | None, option: str) -> None:
        self.text = text
        self.has_fields = render is not None
        self._render = render
        self._option = option
        self._in_single_braces = frozenset(_SINGLE_BRACES.findall(text)) if render is None else frozenset()
        """What other tools would take for fields."""

    @classmethod
    def parse(cls, text: str, option: str = "--template") -> "Template":
        """Read a text or, after "@", a file; `option` is the name in error messages. Raises UsageError."""
        if text.startswith("@"):
            text = _read(text[1:], option)
        elif not is_unicode(text):
            raise UsageError(f"{option} is not Unicode text", "Put it into a file in UTF-8 and write @FILE.")
        elif os.path.isfile(text.strip()):
            raise UsageError(
                f"{option} {text.strip()} is the name of a file, and would be sent as it is",
                f"{option} @{text.strip()} reads it.",
            )
        if option == "--template" and not text.strip():
            raise UsageError("--template is empty", "Write the prompt, as in 'Sentiment of: {{ review }}'.")
        if not any(marker in text for marker in _MARKERS):
            return cls(text.removesuffix("\n").removesuffix("\r"), None, option)
        from jinja2 import TemplateSyntaxError

        try:
            return cls(text, _environment().from_string(text).render, option)
        except TemplateSyntaxError as error:
            raise UsageError(f"{option}, line {error.lineno}: {error.message}", hint=_meant(text)) from error

    def render(self, fields: dict[str, Any], flaws: Mapping[str, str] | None = None) -> str:
        """Fill in the fields of a record that have no flaws. Raises TemplateError."""
        if self._render is None:
            if self._in_single_braces and (meant := self._in_single_braces.intersection(fields)):
                name = min(meant)
                raise TemplateError(
                    f"{self._option}: a field in single braces would be sent as it is: {{{name}}}",
                    hint=f"Write {{{{ {name} }}}} for the field, and {{{{ '{{{name}}}' }}}} for these very characters.",
                )
            return self.text
        if flaws is not None:
            fields = fields | _unusable(flaws)
        try:
            return self._render({"row": fields, **fields})
        except Exception as error:  # the template is a program: any error of it is a failure of the record
            odd = next((name for name in fields if not name.isidentifier() and name in self.text), None)
            hint = _names(fields) + (f"; {_by_row(odd)} is the field {odd!r}" if odd else "")
            raise TemplateError(f"{self._option}: {_reason(error)}", hint=hint) from error


def _read(path: str, option: str) -> str:
    try:
        return decode_text(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{option}: cannot read {path!r}: {reason}") from error


def _meant(text: str) -> str:
    """Say how to write what Jinja does not understand: mostly a name with a space in it, as columns of tables have."""
    for name in _ONE_NAME.findall(text):
        if not name.isidentifier():
            return f"Write {_by_row(name)} for a field whose name is more than a word."
    return "it is a Jinja template; write {{ '{{' }} for two braces that are meant literally"


def _by_row(name: str) -> str:
    return f"{{{{ row[{name!r}] }}}}"


def _reason(error: Exception) -> str:
    # Jinja says "'name' is undefined" and "'dict object' has no attribute 'name'".
    message = str(error) or type(error).__name__
    quoted = message.split("'")
    if message.endswith(" is undefined") and len(quoted) == 3:
        return f"the record has no field {quoted[1]!r}"
    return message


def _unusable(flaws: Mapping[str, str]) -> dict[str, Any]:
    """Return values for fields that cannot be read: to use one is an error that says why."""
    from jinja2 import StrictUndefined

    return {name: StrictUndefined(hint=f"column {name!r} {flaw}", name=name) for name, flaw in flaws.items()}


def _names(fields: Mapping[str, Any]) -> str:
    names = [name if len(name) <= 40 else f"{name[:39]}…" for name in fields]
    if not names:
        return "the record has no fields"
    delimiter = other_delimiter(fields)
    missing = f"; --delimiter {delimiter} may be missing" if delimiter is not None else ""
    return f"its fields are: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}{missing}"


def _environment() -> "SandboxedEnvironment":
    from jinja2 import StrictUndefined, Undefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        """A sandbox in which `a.b` is the field b of an object even when dict has a method b."""

        def getattr(self, obj: Any, attribute: str) -> Any:
            if isinstance(obj, dict) and attribute in obj:
                return obj[attribute]
            return super().getattr(obj, attribute)

    def written(value: Any) -> Any:
        if isinstance(value, (str, int, float, Undefined)) and not isinstance(value, bool):
            return value
        return dumps(value).decode()  # nothing else that JSON cannot write is worth sending

    def to_json(value: Any, indent: int | None = None) -> str:
        return dumps(value).decode() if indent is None else json.dumps(value, indent=indent, ensure_ascii=False)

    environment = Environment(undefined=StrictUndefined, autoescape=False, finalize=written)
    environment.filters["tojson"] = to_json  # Jinja's own is for HTML: it escapes < and &
    for name in ("cycler", "dict", "joiner", "lipsum"):  # a missing field must not be taken for one of these
        del environment.globals[name]
    return environment
