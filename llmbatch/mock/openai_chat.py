"""Chat completions: turns a request body into an answer, by seed and body alone. Pure."""

import re
from collections.abc import Callable
from random import Random
from typing import Any

from llmbatch.codec import json
from llmbatch.mock import event_streams
from llmbatch.mock.dialect import Dialect, MalformedRequest, MockRequest, Turn, content_of, text_of
from llmbatch.mock.fake_text import fitting, formatted, sentences, shortened, tokens
from llmbatch.mock.fault_markers import without_markers

__all__ = ["CHAT"]

_TYPICAL_ANSWER = 40  # tokens that count against the limit if the request names no maximum
_PER_MESSAGE = 4
_MOST_CHOICES = 128


def read(body: dict[str, Any]) -> MockRequest:
    """Check a request body the way the API does, no further than the answer needs."""
    model, messages = body.get("model"), body.get("messages")
    if not isinstance(model, str) or not model:
        raise MalformedRequest("you must provide a model parameter", "model")
    if not isinstance(messages, list) or not messages:
        raise MalformedRequest("Missing required parameter: 'messages'.", "messages")
    prompt, counted = "", 0
    for index, message in enumerate(messages):
        text = text_of(content_of(message, f"messages[{index}]"))
        counted += tokens(text) + _PER_MESSAGE
        if message.get("role") == "user":
            prompt = text
    for name, most in (("n", _MOST_CHOICES), ("max_tokens", 2**53), ("max_completion_tokens", 2**53)):
        value = body.get(name)
        if value is not None and not (type(value) is int and 1 <= value <= most):
            raise MalformedRequest(f"Invalid '{name}': an integer from 1 to {most} was expected.", name)
    room = (_limit(body) or _TYPICAL_ANSWER) * (body.get("n") or 1)
    return MockRequest(body, model, prompt, counted, counted + room, body.get("stream") is True)


def answer(turn: Turn) -> dict[str, Any]:
    """Build the answer object."""
    asked = turn.asked
    choices = [_choice(turn, index) for index in range(asked.body.get("n") or 1)]
    answered: dict[str, Any] = {
        "id": f"chatcmpl-{turn.serial}",
        "object": "chat.completion",
        "created": turn.created,
        "model": asked.model,
        "choices": choices,
        "usage": None,
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    }
    if turn.fault and (reshape := _SHAPES.get(turn.fault.name)):
        reshape(answered, choices[0], choices[0]["message"])
    if answered["usage"] is None:
        answered["usage"] = _usage(asked.prompt_tokens, choices)
    elif not answered["usage"]:
        del answered["usage"]
    return answered


def _limit(body: dict[str, Any]) -> int | None:
    return body.get("max_completion_tokens") or body.get("max_tokens")


def _choice(turn: Turn, index: int) -> dict[str, Any]:
    body, rng = turn.asked.body, Random(f"{turn.seed}:{index}")
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    finish = "stop"
    if turn.text is None and (function := _forced_function(body)) is not None:
        arguments = json.dumps(fitting(function.get("parameters") or {"type": "object"}, rng)).decode()
        called = {"name": str(function.get("name")), "arguments": arguments}
        message["tool_calls"] = [{"id": f"call_{turn.serial}_{index}", "type": "function", "function": called}]
        finish = "tool_calls"
    else:
        text = turn.text if turn.text is not None else _words(turn, rng)
        short = shortened(text, _limit(body))
        message["content"] = text if short is None else short
        finish = finish if short is None else "length"
    logprobs = _logprobs(message["content"], rng) if body.get("logprobs") is True else None
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}


def _logprobs(content: str | None, rng: Random) -> dict[str, Any]:
    words = re.findall(r"\s*\S+", content or "")
    entries = [{"token": word, "logprob": -rng.random(), "bytes": None, "top_logprobs": []} for word in words]
    return {"content": entries, "refusal": None}


def _words(turn: Turn, rng: Random) -> str:
    text = sentences(without_markers(turn.asked.prompt), rng)
    wanted = turn.asked.body.get("response_format")
    if not isinstance(wanted, dict):
        return text
    described = wanted.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    return formatted(text, wanted.get("type"), schema, rng)


def _forced_function(body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the function that must be called, if one must."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if not isinstance(tools, list):
        return None
    functions = [
        tool["function"] for tool in tools if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    ]
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        return next((one for one in functions if one.get("name") == choice["function"].get("name")), None)
    return functions[0] if functions and choice == "required" else None


def _usage(prompt_tokens: int, choices: list[dict[str, Any]]) -> dict[str, Any]:
    reasoning = completion = 0
    for choice in choices:
        message = choice["message"]
        content = message["content"]
        reasoning += tokens(message.get("reasoning_content") or "")
        text = content if isinstance(content, str) else "".join(part["text"] for part in content or ())
        calls = "".join(call["function"]["arguments"] for call in message.get("tool_calls", ()))
        completion += tokens(text + (message["refusal"] or "") + calls)
    completion += reasoning
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0, "cache_write_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")

_Reshape = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], None]


def _refuse(_: dict[str, Any], __: dict[str, Any], message: dict[str, Any]) -> None:
    message.update(content=None, refusal="I'm sorry, but I cannot help with that.")


def _filter(_: dict[str, Any], choice: dict[str, Any], message: dict[str, Any]) -> None:
    message["content"] = ""
    choice["finish_reason"] = "content_filter"


def _shorten(_: dict[str, Any], choice: dict[str, Any], message: dict[str, Any]) -> None:
    message["content"] = (message["content"] or "")[:20]
    choice["finish_reason"] = "length"


def _part(_: dict[str, Any], __: dict[str, Any], message: dict[str, Any]) -> None:
    message["content"] = [{"type": "text", "text": message["content"] or ""}]


def _call_the_old_way(_: dict[str, Any], choice: dict[str, Any], message: dict[str, Any]) -> None:
    message.update(content=None, function_call={"name": "note", "arguments": "{}"})
    choice["finish_reason"] = "function_call"


def _cite(_: dict[str, Any], __: dict[str, Any], message: dict[str, Any]) -> None:
    source = {"url": "https://example.com/", "title": "An example", "start_index": 0, "end_index": 1}
    message["annotations"] = [{"type": "url_citation", "url_citation": source}]


_PICTURE = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="

_SHAPES: dict[str, _Reshape] = {
    "null-choices": lambda answered, *_: answered.update(choices=None),
    "empty-choices": lambda answered, *_: answered.update(choices=[]),
    "no-choices": lambda answered, *_: answered.pop("choices"),
    "no-usage": lambda answered, *_: answered.update(usage={}),
    "refusal": _refuse,
    "content-filter": _filter,
    "length": _shorten,
    "model-length": lambda _, choice, __: choice.update(finish_reason="model_length"),
    "null-content": lambda _, __, message: message.update(content=None),
    "array-content": _part,
    "reasoning": lambda _, __, message: message.update(reasoning_content="Let me think. The question is short."),
    "image": lambda _, __, message: message.update(images=[{"type": "image_url", "image_url": {"url": _PICTURE}}]),
    "audio": lambda _, __, message: message.update(audio={"id": "audio_1", "data": "AQID", "transcript": "Hello."}),
    "citations": _cite,
    "function-call": _call_the_old_way,
    "zero-usage": lambda answered, *_: answered.update(usage=dict.fromkeys(_COUNTS, 0)),
}
"""Faults that change the answer object; each gets the object, its first choice and the message of that."""

CHAT = Dialect(read, answer, event_streams.chat_events)
