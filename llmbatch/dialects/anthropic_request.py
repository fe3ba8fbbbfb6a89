"""Translates a record, in Anthropic's format or OpenAI's, to Anthropic's messages. Pure."""

from typing import Any

from llmbatch.core.prompt import RecordError
from llmbatch.dialects import openai_chat
from llmbatch.dialects.openai_messages import data_url, declared_function, read_tool_calls, requested_schema

__all__ = ["FOREIGN", "NAMES", "PARAMS", "joined_system", "marked_system", "translate", "translated_message"]

NAMES = {"max_completion_tokens": "max_tokens", "max_output_tokens": "max_tokens", "stop": "stop_sequences"}
"""OpenAI's names of parameters, and Anthropic's."""

_OWN = frozenset(
    [
        "cache_control",
        "container",
        "context_management",
        "inference_geo",
        "max_tokens",
        "mcp_servers",
        "metadata",
        "model",
        "output_config",
        "response_format",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    ]
)
"""Anthropic's own parameters, and `response_format`, which is translated."""

FOREIGN = openai_chat.PARAMS - _OWN - NAMES.keys()
"""OpenAI's parameters without a counterpart at Anthropic."""

PARAMS = openai_chat.PARAMS | _OWN | NAMES.keys()
"""Top-level fields of an API-shaped record that are sent rather than kept as meta."""


def joined_system(contents: list[Any]) -> str | list[Any]:
    """Join the contents of the system messages; blocks stay blocks, since they may mark what to cache."""
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(contents)
    blocks: list[Any] = []
    for content in contents:
        blocks += content if isinstance(content, list) else [{"type": "text", "text": content}]
    return blocks


def marked_system(system: Any, lasts: str) -> Any:
    """Mark the end of a system prompt for the prompt cache; one that has a mark is returned as it is."""
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) and system else system
    if not isinstance(blocks, list) or not blocks or not all(isinstance(block, dict) for block in blocks):
        return system
    if any("cache_control" in block for block in blocks):
        return system
    mark = {"type": "ephemeral"} if lasts == "5m" else {"type": "ephemeral", "ttl": lasts}
    return [*blocks[:-1], {**blocks[-1], "cache_control": mark}]


def translated_message(message: dict[str, Any]) -> dict[str, Any]:
    """Translate a message to Anthropic's format; one that is in it already is returned unchanged."""
    content = message.get("content")
    if message.get("role") == "tool":
        result = {"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": content}
        return {"role": "user", "content": [result]}
    blocks = [_block(part) for part in content] if isinstance(content, list) else content
    calls = read_tool_calls(message)
    if not calls:
        return {**message, "content": blocks}
    if isinstance(blocks, str):
        blocks = [{"type": "text", "text": blocks}]
    uses = [{"type": "tool_use", "id": id, "name": name, "input": arguments} for id, name, arguments in calls]
    return {"role": message.get("role"), "content": [*(blocks or ()), *uses]}


def _block(part: Any) -> Any:
    match part:
        case {"type": "image_url", "image_url": {"url": url} | str(url)}:
            return {"type": "image", "source": _source(url)}
        case {"type": "file", "file": {"file_data": url}}:
            return {"type": "document", "source": _source(url)}
        case {"type": "image_url" | "file" | "input_audio" as kind}:
            raise RecordError(f"a part of type {kind!r} has no place in a request to Anthropic as it is written")
    return part


def _source(url: Any) -> dict[str, Any]:
    inline = data_url(url)
    if inline is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": inline[0], "data": inline[1]}


def translate(body: dict[str, Any]) -> None:
    """Translate OpenAI's parameters to Anthropic's, in place."""
    if isinstance(body.get("stop_sequences"), str):
        body["stop_sequences"] = [body["stop_sequences"]]
    if isinstance(body.get("tools"), list):
        body["tools"] = [_tool(tool) for tool in body["tools"]]
    if "tool_choice" in body:
        body["tool_choice"] = _tool_choice(body["tool_choice"])
    if "response_format" in body:
        schema = requested_schema(body.pop("response_format"))
        if schema is True:
            raise RecordError("Anthropic answers in JSON only by a schema", hint="Give one with --schema FILE.")
        if schema is not None:
            config = body.get("output_config")
            format = {"type": "json_schema", "schema": schema}
            body["output_config"] = {**config, "format": format} if isinstance(config, dict) else {"format": format}


def _tool(tool: Any) -> Any:
    function = declared_function(tool)
    if function is None:
        return tool
    rest = {name: value for name, value in function.items() if name != "parameters"}
    return {**rest, "input_schema": function.get("parameters") or {"type": "object"}}


def _tool_choice(choice: Any) -> Any:
    match choice:
        case "required":
            return {"type": "any"}
        case str():
            return {"type": choice}
        case {"type": "function", "function": {"name": name}}:
            return {"type": "tool", "name": name}
    return choice
