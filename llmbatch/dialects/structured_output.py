"""Asks for JSON, and checks answers: their finish reason, their JSON, and its schema. Pure."""

import re
from typing import Any, NamedTuple

from llmbatch.codec import json
from llmbatch.codec.schema import SchemaCheck
from llmbatch.core.fault import NOT_CHECKED, Billing, Fault, Kind
from llmbatch.core.job import Route
from llmbatch.core.outcome import Completion, UnusableAnswer
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.finish_reasons import OWN
from llmbatch.dialects.providers import Preset
from llmbatch.dialects.request_options import Options
from llmbatch.dialects.router import Router

__all__ = ["AnswerChecks", "JsonRouter", "checked", "parsed", "response_format"]

_FENCED = re.compile(r"```(?:[\w-]*[ \t]*\r?\n|(?:json)?[ \t]*(?=[\[{]))(.*?)```", re.DOTALL | re.IGNORECASE)
_OPENED = re.compile(r"\s*```(?:json)?\s*([\[{].*)", re.DOTALL | re.IGNORECASE)
"""A code fence that nothing closes around an object or a list: complete if it is JSON."""
_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_TALKS = frozenset({"chat", "messages", "gemini", "responses", "passthrough"})
_ASKED = frozenset({"response_format", "responseMimeType", "responseSchema", "responseJsonSchema"})


class AnswerChecks(NamedTuple):
    """The checks that make a paid answer a failure. With `again` such an answer is asked for again.

    `finish` are finish reasons, ours or a provider's, or `refusal`; `json` requires JSON, `check` validates it.
    """

    finish: frozenset[str] = frozenset()
    json: bool = False
    check: SchemaCheck | None = None
    again: bool = False


def response_format(schema: Any) -> dict[str, Any]:
    """Return OpenAI's `response_format` for JSON, with a schema if there is one; the dialects translate it."""
    if schema is None:
        return {"type": "json_object"}
    title = schema.get("title") if isinstance(schema, dict) else None
    name = _NAME.sub("_", title)[:64] if isinstance(title, str) else ""
    described: dict[str, Any] = {"name": name or "answer", "schema": schema}
    if _is_strict(schema):
        described["strict"] = True  # strict mode rejects other schemas
    return {"type": "json_schema", "json_schema": described}


class JsonRouter(Router):
    """Asks for JSON in each dialect's own way; `format` is OpenAI's `response_format`."""

    def __init__(self, options: Options, preset: Preset, endpoint: str, format: dict[str, Any]) -> None:
        super().__init__(options, preset, endpoint)
        self._format = format

    def item(self, prompt: Prompt) -> tuple[Route, dict[str, Any]]:
        """Build the body fields of one record. Raises RecordError for an endpoint that does not answer with text."""
        if not _asks(prompt.params) and not _asks(prompt.body or {}):
            prompt.params = {**prompt.params, "response_format": self._format}
        route, body = super().item(prompt)
        if route.dialect not in _TALKS:
            raise RecordError(
                f"{route.path} knows no answer in JSON", hint="Leave --json and --schema out for this endpoint."
            )
        return route, body


def checked(checks: AnswerChecks, answer: Completion, *, given_up: str | None = None) -> Completion | Fault:
    """Return the answer, with its JSON, if it passes; else the fault.

    `given_up` says why it is not compared with the schema: then it fails, and is not asked for again, since it may fit.
    """
    ends = (answer.finish_reason, answer.extra.get(OWN), "refusal" if "refusal" in answer.extra else None)
    end = next((end for end in ends if isinstance(end, str) and end in checks.finish), None)
    if end is not None:
        return _rejected(answer, Kind.FINISH_REASON, f"the answer ended with {end!r}", code=end)
    if not checks.json:
        return answer
    if not isinstance(answer.text, str):
        return _rejected(answer, Kind.NOT_JSON, f"the answer has no text{_how(answer)}", again=checks.again)
    try:
        answer.extra["json"] = value = parsed(answer.text)
    except ValueError as error:
        message = f"the answer is not JSON{_how(answer)}: {error}"
        return _rejected(answer, Kind.NOT_JSON, message, again=checks.again)
    if given_up is not None:
        message = f"the answer was not checked against the schema: {given_up}"
        return _rejected(answer, Kind.SCHEMA, message, code=NOT_CHECKED)
    flaw = checks.check(value) if checks.check is not None else None
    if flaw is None:
        return answer
    message = f"the answer does not fit the schema{_how(answer)}: {flaw}"
    return _rejected(answer, Kind.SCHEMA, message, again=checks.again)


def _rejected(
    answer: Completion, kind: Kind, message: str, *, code: str | None = None, again: bool = False
) -> UnusableAnswer:
    return UnusableAnswer(
        kind=kind,
        message=message,
        code=code,
        billing=Billing.BILLED,
        retry=again,
        status=200,
        request_id=answer.request_id,
        answer=answer.body,
        cost=answer.cost,
        usage=answer.usage,
        completion=answer,
    )


def parsed(text: str) -> Any:
    """Parse an answer as JSON, also in a code fence; thoughts at its beginning are skipped. Raises ValueError."""
    try:
        return _loads(text)
    except ValueError:
        answer = _without_thoughts(text)
        fenced = _FENCED.findall(answer) or _OPENED.findall(answer)
        if len(fenced) != 1 and answer is text:
            raise
    try:
        return _loads(fenced[0] if len(fenced) == 1 else answer)
    except ValueError:
        fenced = _FENCED.findall(text)
        if answer is text or len(fenced) != 1 or not any(mark in fenced[0] for mark in _THOUGHTS.values()):
            raise
    return _loads(fenced[0])  # the mark stands in a value


def _loads(text: str) -> Any:
    return json.loads_shallow(text.removeprefix("\ufeff").encode("utf-8", "surrogatepass"))


_THOUGHTS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
}
"""The marks around thoughts: those of DeepSeek, Qwen and many others, of Magistral, of Kimi."""


def _without_thoughts(text: str) -> str:
    """Return an answer without the thoughts at its beginning; the same object if there are none.

    Some chat templates write the opening mark themselves, so that the answer has only the closing one.
    """
    rest = text
    while opening := next((mark for mark in _THOUGHTS if rest.lstrip().startswith(mark)), None):
        _, _, rest = rest.partition(_THOUGHTS[opening])
    if rest is text:
        for opening, closing in _THOUGHTS.items():
            before, found, after = text.partition(closing)
            if found and opening not in before and before.count("```") % 2 == 0:  # in a fence it is part of the JSON
                return after
    return rest


def _how(answer: Completion) -> str:
    return f" (finish_reason {answer.finish_reason!r})" if answer.finish_reason not in ("stop", None) else ""


def _asks(fields: dict[str, Any]) -> bool:
    """Tell whether a record asks for a response format itself, in the format of any API."""
    config = fields.get("generationConfig")
    return bool(
        _ASKED & fields.keys()
        or any(isinstance(fields.get(name), dict) and "format" in fields[name] for name in ("text", "output_config"))
        or (isinstance(config, dict) and _ASKED & config.keys())
    )


def _is_strict(schema: Any) -> bool:
    """Tell whether OpenAI's strict mode accepts a schema: objects require all their properties and allow no others."""
    if isinstance(schema, list):
        return all(_is_strict(each) for each in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties")
        if not isinstance(properties, dict) or schema.get("additionalProperties") is not False:
            return False
        if set(schema.get("required") or ()) != properties.keys() or not all(map(_is_strict, properties.values())):
            return False
    return all(_is_strict(value) for name, value in schema.items() if name not in _LITERAL)


_LITERAL = ("properties", "enum", "const", "default", "examples", "required")
