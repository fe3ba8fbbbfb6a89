"""Legacy completions: turns one prompt or several into as many texts, numbered by index. Pure."""

from random import Random
from typing import Any

from llmbatch.mock.dialect import Dialect, MalformedRequest, MockRequest, Turn
from llmbatch.mock.event_streams import completion_events
from llmbatch.mock.fake_text import sentences, shortened, tokens
from llmbatch.mock.fault_markers import without_markers
from llmbatch.mock.openai_embeddings import disorder, one_or_several

__all__ = ["COMPLETIONS"]

_USUAL = 16  # the longest answer, in tokens, where the request names none


def read(body: dict[str, Any]) -> MockRequest:
    """Check a request body the way the API does, no further than the answer needs."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise MalformedRequest("you must provide a model parameter", "model")
    prompts = one_or_several(body, "prompt")
    for name in ("n", "max_tokens"):
        value = body.get(name)
        if value is not None and not (type(value) is int and value >= 1):
            raise MalformedRequest(f"Invalid '{name}': a positive integer was expected.", name)
    counted = sum(map(tokens, prompts))
    room = (body.get("max_tokens") or _USUAL) * (body.get("n") or 1) * len(prompts)
    return MockRequest(body, model, "\n".join(prompts), counted, counted + room, body.get("stream") is True)


def answer(turn: Turn) -> dict[str, Any]:
    """Build the answer object."""
    body, prompts = turn.asked.body, one_or_several(turn.asked.body, "prompt")
    most, each = body.get("max_tokens") or _USUAL, body.get("n") or 1
    choices = [
        _choice(turn, prompt, index, most) for index, prompt in enumerate(p for p in prompts for _ in range(each))
    ]
    name = turn.fault.name if turn.fault else None
    counted = sum(tokens(choice["text"]) for choice in choices)
    answered: dict[str, Any] = {
        "id": f"cmpl-{turn.serial}",
        "object": "text_completion",
        "created": turn.created,
        "model": turn.asked.model,
        "choices": disorder(choices, name),
        "usage": {
            "prompt_tokens": turn.asked.prompt_tokens,
            "completion_tokens": counted,
            "total_tokens": turn.asked.prompt_tokens + counted,
        },
        "system_fingerprint": "fp_mock",
    }
    match name:
        case "no-usage":
            del answered["usage"]
        case "no-choices":
            del answered["choices"]
        case "empty-choices":
            answered["choices"] = []
        case "null-choices":
            answered["choices"] = None
        case "length" | "content-filter":
            choices[0]["finish_reason"] = name.replace("-", "_")
    return answered


def _choice(turn: Turn, prompt: str, index: int, most: int) -> dict[str, Any]:
    text = turn.text
    if text is None:
        text = sentences(without_markers(prompt), Random(f"{turn.seed}:{index}"))
    short = shortened(text, most)
    finish = "stop" if short is None else "length"
    return {"index": index, "text": text if short is None else short, "logprobs": None, "finish_reason": finish}


COMPLETIONS = Dialect(read, answer, completion_events)
