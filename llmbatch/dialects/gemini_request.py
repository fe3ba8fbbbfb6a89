"""Translates a record, in Gemini's format or OpenAI's, to Gemini's generateContent. Pure."""

from collections.abc import Mapping
from typing import Any

from llmbatch.core.prompt import RecordError
from llmbatch.dialects import openai_chat
from llmbatch.dialects.openai_messages import data_url, declared_function, read_tool_calls, requested_schema
from llmbatch.dialects.request_options import renamed

__all__ = ["FOREIGN", "PARAMS", "flattened", "nested", "parts", "translate", "translated_contents"]

_CONFIG = frozenset(
    [
        "audioTimestamp",
        "candidateCount",
        "enableEnhancedCivicAnswers",
        "frequencyPenalty",
        "imageConfig",
        "logprobs",
        "maxOutputTokens",
        "mediaResolution",
        "presencePenalty",
        "responseJsonSchema",
        "responseLogprobs",
        "responseMimeType",
        "responseModalities",
        "responseSchema",
        "seed",
        "speechConfig",
        "stopSequences",
        "temperature",
        "thinkingConfig",
        "topK",
        "topP",
    ]
)
"""Parameters inside `generationConfig`."""

_TOP = frozenset(
    [
        "cachedContent",
        "generationConfig",
        "labels",
        "safetySettings",
        "serviceTier",
        "store",
        "systemInstruction",
        "toolConfig",
        "tools",
    ]
)
"""Parameters beside `generationConfig`."""


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


_NAMES = {_snake(name): name for name in _CONFIG | _TOP if _snake(name) != name} | {
    "max_completion_tokens": "maxOutputTokens",
    "max_tokens": "maxOutputTokens",
    "n": "candidateCount",
    "stop": "stopSequences",
}
"""Other names of the parameters: those of Google's own libraries, and OpenAI's."""

_OWN = _CONFIG | _TOP | _NAMES.keys() | {"model", "response_format", "stream", "tool_choice"}
"""Gemini's parameters under any of their names, and those that are translated."""

FOREIGN = openai_chat.PARAMS - _OWN
"""OpenAI's parameters without a counterpart at Gemini."""

PARAMS = openai_chat.PARAMS | _OWN
"""Top-level fields of an API-shaped record that are sent rather than kept as meta."""

_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def flattened(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Lift the parameters out of `generationConfig`, under Gemini's names, so that they merge one by one."""
    flattened = renamed(fields, _NAMES)
    if not isinstance(flattened.get("generationConfig"), dict):
        return flattened
    named = renamed(flattened.pop("generationConfig"), _NAMES)
    lifted = {name: value for name, value in named.items() if name in _CONFIG}
    rest = {name: value for name, value in named.items() if name not in _CONFIG}
    return {**lifted, **flattened, "generationConfig": rest} if rest else {**lifted, **flattened}


def nested(flattened: dict[str, Any]) -> dict[str, Any]:
    """Move the parameters back into `generationConfig`. Raises RecordError when it is not an object."""
    config = flattened.pop("generationConfig", {})
    if not isinstance(config, dict):
        raise RecordError("generationConfig must be an object")
    config = {**config, **{name: flattened.pop(name) for name in _CONFIG & flattened.keys()}}
    return {**flattened, "generationConfig": config} if config else flattened


def translated_contents(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Translate messages to Gemini's contents; one that already has `parts` is returned unchanged."""
    contents: list[dict[str, Any]] = []
    called: dict[str, str] = {}
    results: list[Any] | None = None
    for message in messages:
        role = message.get("role")
        if role == "tool":
            if results is None:  # the results of one turn's calls share one turn
                results = []
                contents.append({"role": "user", "parts": results})
            results.append({"functionResponse": _result(message, called)})
            continue
        results = None
        if "parts" in message:
            contents.append(message)
            continue
        own_parts = parts(message.get("content"))
        for id, name, arguments in read_tool_calls(message):
            called[id] = name
            own_parts.append({"functionCall": {"id": id, "name": name, "args": arguments}})
        contents.append({"role": "model" if role == "assistant" else role, "parts": own_parts})
    return contents


def _result(message: dict[str, Any], called: dict[str, str]) -> dict[str, Any]:
    id = message.get("tool_call_id")
    if not isinstance(id, str) or id not in called:
        raise RecordError("a tool message answers no tool call of the messages before it")
    return {"id": id, "name": called[id], "response": {"result": message.get("content")}}


def parts(content: Any) -> list[Any]:
    """Translate the content of a message to parts. Raises RecordError for what Gemini does not support."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"text": content}]
    if not isinstance(content, list):
        raise RecordError("the content of a message is neither text nor parts")
    return [_part(part) for part in content]


def _part(part: Any) -> Any:
    match part:
        case {"type": "text", "text": text}:
            return {"text": text}
        case {"type": "image_url", "image_url": {"url": url} | str(url)} | {"type": "file", "file": {"file_data": url}}:
            inline = data_url(url)
            if inline is None:
                return {"fileData": {"fileUri": url}}
            return {"inlineData": {"mimeType": inline[0], "data": inline[1]}}
        case {"type": "input_audio", "input_audio": {"data": data, "format": format}}:
            return {"inlineData": {"mimeType": f"audio/{format}", "data": data}}
        case {"type": kind}:
            raise RecordError(f"a part of type {kind!r} has no place in a request to Gemini as it is written")
    return part


def translate(flattened: dict[str, Any]) -> None:
    """Translate OpenAI's parameters to Gemini's, in place."""
    if isinstance(flattened.get("stopSequences"), str):
        flattened["stopSequences"] = [flattened["stopSequences"]]
    if isinstance(flattened.get("tools"), list):
        flattened["tools"] = _tools(flattened["tools"])
    if "tool_choice" in flattened:
        flattened["toolConfig"] = {"functionCallingConfig": _calling(flattened.pop("tool_choice"))}
    if "response_format" in flattened:
        schema = requested_schema(flattened.pop("response_format"))
        if schema is not None:
            flattened["responseMimeType"] = "application/json"
        if isinstance(schema, dict):
            flattened["responseJsonSchema"] = schema


def _tools(tools: list[Any]) -> list[Any]:
    functions = [function for tool in tools if (function := declared_function(tool)) is not None]
    declared = [
        {"parametersJsonSchema" if name == "parameters" else name: value for name, value in function.items()}
        for function in functions
    ]
    others = [tool for tool in tools if declared_function(tool) is None]
    return [*others, {"functionDeclarations": declared}] if declared else others


def _calling(choice: Any) -> dict[str, Any]:
    match choice:
        case "auto" | "none" | "required":
            return {"mode": _MODES[choice]}
        case {"type": "function", "function": {"name": name}}:
            return {"mode": "ANY", "allowedFunctionNames": [name]}
    raise RecordError("tool_choice is not one of auto, none, required, or a function; Gemini's own is toolConfig")
