"""Reads messages in OpenAI's format for APIs with another format. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from llmbatch.codec import json
from llmbatch.core.prompt import Prompt, RecordError

__all__ = [
    "check_no_foreign_fields",
    "data_url",
    "declared_function",
    "read_tool_calls",
    "requested_schema",
    "split_system",
    "tool_calls",
]

_SYSTEM = ("system", "developer")
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[^,;]*)*;base64,", re.ASCII | re.IGNORECASE)


def split_system(prompt: Prompt) -> tuple[list[Any], list[dict[str, Any]]]:
    """Return the contents of the system messages, and the other messages.

    Without a system message the system prompt of the record or the flags is used. Raises RecordError for a prompt that
    is neither text nor messages, or has only system messages.
    """
    if prompt.text is not None:
        messages: list[Any] = [{"role": "user", "content": prompt.text}]
    elif prompt.messages is not None:
        messages = prompt.messages
    else:
        raise RecordError(
            "'input' has no place in a chat request",
            hint="Send it with --endpoint responses or --endpoint embeddings, where the provider has one.",
        )
    system = [message.get("content") for message in messages if message.get("role") in _SYSTEM]
    others = [message for message in messages if message.get("role") not in _SYSTEM]
    if not others:
        raise RecordError("there is no message but the system's")
    if not system and prompt.system is not None:
        system = [prompt.system]
    return system, others


def check_no_foreign_fields(body: Mapping[str, Any], foreign: frozenset[str], api: str) -> None:
    """Raise RecordError when the body has a parameter that the API does not support."""
    for name in body:
        if name in foreign:
            raise RecordError(
                f"{name!r} has no place in a request to {api}",
                hint=f"Leave it out, or take it out of the record with --override {name}=null.",
            )


def data_url(url: Any) -> tuple[str, str] | None:
    """Split a base64 `data:` URL into media type and data; None for any other URL. Raises RecordError for no URL."""
    if not isinstance(url, str):
        raise RecordError("an image or a file needs a URL")
    match = _DATA_URL.match(url)
    return (match[1], url[match.end() :]) if match else None


def read_tool_calls(message: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return id, name and arguments of each tool call in a message. Raises RecordError for one that cannot be read."""
    calls = message.get("tool_calls") or []
    if isinstance(calls, list):
        read = [_call(call) for call in calls]
        if None not in read:
            return [call for call in read if call is not None]
    raise RecordError("a tool call in the messages lacks an id, a name, or arguments that are a JSON object")


def _call(call: Any) -> tuple[str, str, dict[str, Any]] | None:
    match call:
        case {"id": str(id), "function": {"name": str(name), "arguments": str(written)}}:
            try:
                arguments = json.loads_shallow(written.encode() or b"{}")
            except ValueError:
                return None
            return (id, name, arguments) if isinstance(arguments, dict) else None
    return None


def declared_function(tool: Any) -> dict[str, Any] | None:
    """Return the function that a tool in OpenAI's shape declares, None for a tool in another shape."""
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    return function if isinstance(function, dict) else None


def requested_schema(response_format: Any) -> Any:
    """Return the JSON schema that a `response_format` asks for: True for any JSON, None for plain text.

    Raises RecordError for any other.
    """
    match response_format:
        case {"type": "json_schema", "json_schema": {"schema": dict() as schema}}:
            return schema
        case {"type": "json_object"}:
            return True
        case {"type": "text"}:
            return None
    raise RecordError("response_format is not one of OpenAI's: text, json_object, or json_schema with a schema")


def tool_calls(calls: list[tuple[str | None, Any, Any]]) -> list[dict[str, Any]]:
    """Return tool calls, each as (id, name, arguments), in OpenAI's format: arguments as a string of JSON."""
    return [
        {
            "id": id or f"call_{number}",
            "type": "function",
            "function": {"name": name, "arguments": text if isinstance(text, str) else json.dumps(text).decode()},
        }
        for number, (id, name, text) in enumerate(calls)
    ]
