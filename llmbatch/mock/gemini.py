"""Gemini's generateContent: turns a request body into an answer, or its stream, by seed and body alone. Pure."""

import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from llmbatch.codec import json
from llmbatch.mock.dialect import Dialect, MalformedRequest, MockRequest, Turn
from llmbatch.mock.error_formats import GEMINI as GOOGLE
from llmbatch.mock.error_formats import Refusal
from llmbatch.mock.fake_text import cut, fitting, sentences, shortened, tokens
from llmbatch.mock.fault_markers import without_markers

__all__ = ["GEMINI"]

_TYPICAL_ANSWER = 40  # tokens that count against the limit if the request names no maximum
_MOST_CANDIDATES = 8
_THOUGHT = "Let me think. The question is short."
_KNOWN = frozenset(
    ["cachedContent", "contents", "generationConfig", "labels", "model", "safetySettings", "serviceTier", "store",
     "systemInstruction", "toolConfig", "tools"]
)  # fmt: skip


def read(body: dict[str, Any]) -> MockRequest:
    """Check a request body the way the API does: strictly, but no deeper than the answer needs."""
    streamed = body.pop("method") == "streamGenerateContent"
    body = _camel(body)
    for name in body:
        if name not in _KNOWN:
            raise MalformedRequest(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        raise MalformedRequest("* GenerateContentRequest.contents: contents is not specified")
    system = body.get("systemInstruction")
    prompt, size = "", tokens(_text(system, "system_instruction")) if system is not None else 0
    for index, content in enumerate(contents):
        text = _text(content, f"contents[{index}]")
        if content.get("role", "user") not in ("user", "model"):
            raise MalformedRequest("Please use a valid role: user, model.")
        size += tokens(text)
        if content.get("role", "user") == "user":
            prompt = text
    if not isinstance(body.setdefault("generationConfig", {}), dict):
        raise MalformedRequest("Invalid value at 'generation_config'")
    config = body["generationConfig"] = _camel(body["generationConfig"])
    for name, most in (("candidateCount", _MOST_CANDIDATES), ("maxOutputTokens", 2**31)):
        value = config.get(name)
        if value is not None and not (type(value) is int and 1 <= value <= most):
            raise MalformedRequest(f"Invalid value at 'generation_config.{name}': from 1 to {most}")
    room = (config.get("maxOutputTokens") or _TYPICAL_ANSWER) * (config.get("candidateCount") or 1)
    return MockRequest(body, body["model"], prompt, size, size + room, streamed)


def answer(turn: Turn) -> dict[str, Any]:
    """Build the answer object."""
    asked = turn.asked
    candidates = [_candidate(turn, index) for index in range(asked.body["generationConfig"].get("candidateCount") or 1)]
    answered: dict[str, Any] = {
        "candidates": candidates,
        "usageMetadata": None,
        "modelVersion": asked.model,
        "responseId": f"mock-{turn.serial}",
    }
    if turn.fault and (reshape := _SHAPES.get(turn.fault.name)):
        reshape(answered, candidates[0])
    if turn.fault is None or turn.fault.name != "no-usage":
        answered["usageMetadata"] = _usage(asked.prompt_tokens, answered.get("candidates") or ())
    else:
        del answered["usageMetadata"]
    return answered


def events(answered: dict[str, Any], turn: Turn) -> list[bytes]:
    """Cut an answer into chunks that are answers themselves; a fault may leave out some."""
    frame = {key: value for key, value in answered.items() if key != "candidates"}
    pieces = [piece for candidate in answered.get("candidates") or () for piece in _pieces(candidate)]
    sent = [_event({"candidates": [piece], **frame}) for piece in pieces] or [_event(frame)]
    match turn.fault.name if turn.fault else None:
        case "stream-cut" | "no-done":
            return sent[: len(sent) // 2]
        case "stream-error":
            broken = GOOGLE.refuse(Refusal(503, "The model is overloaded."))
            return [*sent[: len(sent) // 2], b"data: " + broken.body + b"\r\n\r\n"]
        case _:
            return sent


def _camel(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields in camel case; the API accepts snake case too, and the official client mixes both."""
    return {re.sub("_([a-z])", lambda letter: letter[1].upper(), name): value for name, value in fields.items()}


def _text(content: Any, where: str) -> str:
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise MalformedRequest(f"Invalid value at '{where}.parts'")
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _candidate(turn: Turn, index: int) -> dict[str, Any]:
    body, rng = turn.asked.body, Random(f"{turn.seed}:{index}")
    config, parts, finish = body["generationConfig"], [], "STOP"
    thinking = config.get("thinkingConfig")
    if isinstance(thinking, dict) and _camel(thinking).get("includeThoughts") is True:
        parts.append(_thought())
    if turn.text is None and (function := _forced_function(body)) is not None:
        schema = _camel(function).get("parametersJsonSchema") or function.get("parameters") or {"type": "object"}
        parts.append({"functionCall": {"id": f"call-{turn.serial}", "name": str(function.get("name")),
                                       "args": fitting(schema, rng)}})  # fmt: skip
    else:
        text = turn.text if turn.text is not None else _words(turn, config, rng)
        short = shortened(text, config.get("maxOutputTokens"))
        finish = "STOP" if short is None else "MAX_TOKENS"
        parts.append({"text": text if short is None else short})
    return {"index": index, "content": {"role": "model", "parts": parts}, "finishReason": finish, "safetyRatings": []}


def _thought() -> dict[str, Any]:
    return {"text": _THOUGHT, "thought": True}


def _words(turn: Turn, config: dict[str, Any], rng: Random) -> str:
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    if isinstance(schema, dict):
        return json.dumps(fitting(schema, rng)).decode()
    text = sentences(without_markers(turn.asked.prompt), rng)
    return json.dumps({"answer": text}).decode() if config.get("responseMimeType") == "application/json" else text


def _forced_function(body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the function that must be called, if one must."""
    config = body.get("toolConfig")
    calling = config.get("functionCallingConfig") if isinstance(config, dict) else None
    if not isinstance(calling, dict) or calling.get("mode") != "ANY":
        return None
    tools, allowed = body.get("tools"), calling.get("allowedFunctionNames")
    declared = (
        function
        for tool in (tools if isinstance(tools, list) else ())
        if isinstance(tool, dict) and isinstance(tool.get("functionDeclarations"), list)
        for function in tool["functionDeclarations"]
        if isinstance(function, dict)
    )
    return next((one for one in declared if not isinstance(allowed, list) or one.get("name") in allowed), None)


def _usage(prompt_tokens: int, candidates: Any) -> dict[str, Any]:
    """Count tokens, thoughts separately; a count of 0 is left out."""
    thoughts = written = 0
    for part in (part for candidate in candidates for part in candidate.get("content", {}).get("parts", ())):
        if part.get("thought"):
            thoughts += tokens(part["text"])
        else:
            written += tokens(part.get("text") or json.dumps(part.get("functionCall")).decode())
    counts = {"promptTokenCount": prompt_tokens, "candidatesTokenCount": written, "thoughtsTokenCount": thoughts}
    return {**{name: count for name, count in counts.items() if count}, "totalTokenCount": sum(counts.values())}


def _pieces(candidate: dict[str, Any]) -> Iterator[dict[str, Any]]:
    pieces = []
    for part in candidate.get("content", {}).get("parts", ()):
        pieces += [{**part, "text": words} for words in cut(part["text"])] if "text" in part else [part]
    for part in pieces[:-1]:
        yield {"index": candidate["index"], "content": {"role": "model", "parts": [part]}}
    yield {**candidate, "content": {"role": "model", "parts": pieces[-1:]}}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value) + b"\r\n\r\n"


_Reshape = Callable[[dict[str, Any], dict[str, Any]], None]


def _block(answered: dict[str, Any], _: dict[str, Any]) -> None:
    del answered["candidates"]
    answered["promptFeedback"] = {"blockReason": "SAFETY", "safetyRatings": []}


def _filter(_: dict[str, Any], candidate: dict[str, Any]) -> None:
    del candidate["content"]
    candidate["finishReason"] = "SAFETY"


def _shorten(_: dict[str, Any], candidate: dict[str, Any]) -> None:
    parts = candidate["content"]["parts"]
    parts[-1] = {"text": parts[-1].get("text", "")[:20]}
    candidate["finishReason"] = "MAX_TOKENS"


def _picture() -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/gif", "data": "R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="}}


_SHAPES: dict[str, _Reshape] = {
    "null-choices": lambda answered, _: answered.update(candidates=None),
    "empty-choices": lambda answered, _: answered.update(candidates=[]),
    "no-choices": lambda answered, _: answered.pop("candidates"),
    "refusal": _block,
    "content-filter": _filter,
    "length": _shorten,
    "null-content": lambda _, candidate: candidate.pop("content"),
    "reasoning": lambda _, candidate: candidate["content"]["parts"].insert(0, _thought()),
    "image": lambda _, candidate: candidate["content"]["parts"].append(_picture()),
}
"""Faults that change the answer object and its first candidate."""

GEMINI = Dialect(read, answer, events, GOOGLE)
