"""The shapes that a record may have, and the prompt that each becomes. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from llmbatch.core.prompt import Prompt, RecordError

__all__ = [
    "ANTHROPIC_LINE",
    "BATCH_LINE",
    "BODY_LINE",
    "OWN",
    "anthropic_line",
    "batch_line",
    "body_line",
    "cookbook_line",
    "is_anthropic_line",
    "is_batch_line",
    "is_body_line",
    "is_shaped",
    "other_delimiter",
    "plain",
    "shaped",
]

OWN = frozenset({"prompt", "messages", "input", "system", "model", "params"})
"""Fields that have a meaning; an `input` beside a `prompt` has none."""

BATCH_LINE = frozenset({"method", "url", "body"})
"""Fields of an OpenAI Batch line, without its id."""

ANTHROPIC_LINE = frozenset({"params"})
"""Fields of a line of Anthropic's batch API, without its id."""

BODY_LINE = frozenset({"body", "model", "params"})
"""Fields of a record that brings its own body."""

_QUESTIONS = frozenset({"prompt", "messages", "input"})
_BESIDE = frozenset({"system", "model", "params"})
"""Fields that may stand beside a prompt."""

_PATH = re.compile(r"(?:/[A-Za-z0-9._~:@-]+)+")
_KINDS = {
    str: "a string",
    dict: "an object",
    list: "an array",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


def is_batch_line(fields: dict[str, Any]) -> bool:
    """Tell whether a record is an OpenAI Batch line, which has no prompt of its own."""
    return (
        "url" in fields
        and "body" in fields
        and ("custom_id" in fields or isinstance(fields["body"], dict))
        and _QUESTIONS.isdisjoint(fields)
    )


def is_anthropic_line(fields: dict[str, Any]) -> bool:
    """Tell whether a record is a request of Anthropic's batch API: an id, and all the rest in `params`."""
    params = fields.get("params")
    return "custom_id" in fields and isinstance(params, dict) and "messages" in params and _QUESTIONS.isdisjoint(fields)


def is_body_line(fields: dict[str, Any]) -> bool:
    """Tell whether a record holds a body that is sent as it is."""
    return "prompt" not in fields and isinstance(fields.get("body"), dict)


def is_shaped(fields: dict[str, Any]) -> bool:
    """Tell whether a record is shaped like the body of an API."""
    return fields.get("prompt") is None and (fields.get("messages") is not None or fields.get("input") is not None)


def plain(fields: dict[str, Any]) -> Prompt:
    """Read `prompt` and the fields that may stand beside it. Raises RecordError."""
    text = fields.get("prompt")
    if text is None:
        raise _no_prompt(fields)
    if fields.get("messages") is not None:
        raise RecordError("the record has both prompt and messages")
    if not isinstance(text, str):
        raise RecordError(f"prompt must be a string, not {_kind(text)}")
    if not text:
        raise RecordError("prompt is empty")
    prompt = Prompt(text)
    if not _BESIDE.isdisjoint(fields):  # one call, where most records have none of them
        prompt.system, prompt.model, prompt.params = _system(fields), _model(fields), _params(fields)
    return prompt


def shaped(fields: dict[str, Any], moved: Iterable[str]) -> Prompt:
    """Read `messages` or `input`, with the body parameters named in `moved`. Raises RecordError."""
    messages, input = fields.get("messages"), fields.get("input")
    if messages is not None and input is not None:
        raise RecordError("the record has both messages and input")
    if messages is not None:
        if not isinstance(messages, list):
            raise RecordError(f"messages must be an array, not {_kind(messages)}")
        if not messages:
            raise RecordError("messages is empty")
        for number, message in enumerate(messages, 1):
            if not isinstance(message, dict):
                raise RecordError(f"message {number} must be an object, not {_kind(message)}")
    elif not isinstance(input, (str, list)):
        raise RecordError(f"input must be a string or an array, not {_kind(input)}")
    elif not input:
        raise RecordError("input is empty")
    params = {name: fields[name] for name in moved} | _params(fields)
    return Prompt(messages=messages, input=input, system=_system(fields), model=_model(fields), params=params)


def batch_line(fields: dict[str, Any]) -> Prompt:
    """Read an OpenAI Batch line. Raises RecordError."""
    body, url, method = fields.get("body"), fields.get("url"), fields.get("method")
    if not isinstance(body, dict):
        raise RecordError(f"an OpenAI Batch line needs a body that is an object, not {_kind(body)}")
    if method is not None and method != "POST":
        raise RecordError("method must be POST")
    if not isinstance(url, str):
        raise RecordError(f"an OpenAI Batch line needs a url that is a string, not {_kind(url)}")
    path = url[3:] if f"{url}/".startswith("/v1/") else url
    if not _PATH.fullmatch(path) or ".." in path:
        raise RecordError(f"url must be a plain path such as /v1/chat/completions, not {url[:100]!r}")
    return Prompt(body=body, path=path)


def anthropic_line(fields: dict[str, Any]) -> Prompt:
    """Read a request of Anthropic's batch API, as the messages and parameters that it has. Raises RecordError."""
    params = _params(fields)
    system = params.pop("system", None)
    prompt = shaped({"messages": params.pop("messages", None), "model": params.pop("model", None)}, ())
    if system is not None and prompt.messages is not None:
        prompt.messages = [{"role": "system", "content": system}, *prompt.messages]
    prompt.params = params
    return prompt


def cookbook_line(fields: dict[str, Any], body: Iterable[str]) -> Prompt:
    """Read a line as the OpenAI cookbook's script takes it: a body, with `metadata` that is not sent.

    `body` names the fields that are sent. Raises RecordError for a body without a prompt.
    """
    sent = {name: fields[name] for name in fields if name in body}
    if not any(sent.get(name) for name in ("messages", "input", "prompt")):
        raise RecordError("a cookbook line needs messages, input or prompt: it is the body of a request")
    return Prompt(body=sent)


def body_line(fields: dict[str, Any]) -> Prompt:
    """Read a record that brings its own body. Raises RecordError."""
    return Prompt(body=fields["body"], model=_model(fields), params=_params(fields))


def other_delimiter(fields: Mapping[str, Any]) -> str | None:
    """Return what --delimiter should have been, as a shell takes it, where the only field is a whole row of CSV."""
    (only,) = fields if len(fields) == 1 else ("",)
    mark = next((mark for mark in ";\t|" if mark in only), None)
    return "tab" if mark == "\t" else repr(mark) if mark is not None else None


def _no_prompt(fields: dict[str, Any]) -> RecordError:
    delimiter = other_delimiter(fields)
    if delimiter is not None:
        only = next(iter(fields))[:100]
        return RecordError(f"the record has no prompt, only a field {only!r}: --delimiter {delimiter} may be missing")
    near = next((name for name in fields if name.strip().lower() in _QUESTIONS and name not in _QUESTIONS), None)
    named = f"the record has no prompt, but a field {near!r}" if near is not None else "the record has no prompt"
    return RecordError(
        f"{named}; --template makes one of its fields",
        hint="a record needs a prompt, messages or input; any other field goes into --template '{{ field }}'",
    )


def _system(fields: dict[str, Any]) -> str | None:
    system = fields.get("system")
    if system is not None and not isinstance(system, str):
        raise RecordError(f"system must be a string, not {_kind(system)}")
    return system


def _model(fields: dict[str, Any]) -> str | None:
    model = fields.get("model")
    if model is None:
        return None
    if not isinstance(model, str):
        raise RecordError(f"model must be a string, not {_kind(model)}")
    if not model:
        raise RecordError("model is empty")
    return model


def _params(fields: dict[str, Any]) -> dict[str, Any]:
    params = fields.get("params")
    if params is None:
        return {}
    if not isinstance(params, dict):
        raise RecordError(f"params must be an object, not {_kind(params)}")
    return dict(params)


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "null")
