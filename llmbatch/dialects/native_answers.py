"""Finds text, finish reason and counts in the answers of APIs that have no dialect of their own. Pure."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from llmbatch.codec import json
from llmbatch.core.usage import Usage
from llmbatch.dialects.openai_chat_answers import usage, usage_in

__all__ = ["counts", "reason", "text"]

_HOLDERS = (
    "choices",
    "candidates",
    "message",
    "delta",
    "content",
    "parts",
    "text",
    "output",
    "output_text",
    "outputText",
    "generated_text",
    "text_output",
    "generation",
    "generations",
    "completion",
    "completions",
    "response",
    "chatResponse",
    "result",
    "results",
    "outputs",
    "alternatives",
    "predictions",
)
"""Fields with the text, or with what holds it, by preference: those of the dialects, of Ollama, TGI, llama.cpp, Cohere,
Bedrock's models, watsonx, DashScope, Workers AI, YandexGPT, Triton, OCI, Vertex and KoboldAI."""

_ALL = frozenset({"content", "parts", "output"})
"""Fields whose list is one answer in parts. Any other list has several answers, of which the first counts."""

_ABOUT = ("details", "meta_info", "meta")
"""Fields with what is said about a text: TGI's, SGLang's, Cohere's."""

_REASONS = (
    "finish_reason",
    "finishReason",
    "done_reason",
    "stop_reason",
    "stopReason",
    "completionReason",
    "stop_type",
)

_INPUTS = (
    "prompt_eval_count",  # Ollama
    "tokens_evaluated",  # llama.cpp
    "prompt_token_count",  # Llama on Bedrock
    "input_token_count",  # watsonx
    "inputTextTokenCount",  # Titan
    "prompt_tokens",  # SGLang
)
_OUTPUTS = (
    "eval_count",
    "tokens_predicted",
    "generation_token_count",
    "generated_token_count",
    "generated_tokens",  # TGI
    "tokenCount",
    "completion_tokens",
)
_DEEPEST = 8
_MOST = 64
"""Objects that are searched for a reason and for counts."""


def text(body: Any) -> str | None:
    """Return the text of an answer; of the events of a stream, the texts of all."""
    return _text(body, _DEEPEST)


def _text(value: Any, levels: int) -> str | None:
    if isinstance(value, str):
        return value
    if not levels or not isinstance(value, dict | list):
        return None
    if isinstance(value, list):
        texts = [found for one in value if (found := _text(one, levels - 1)) is not None]
        return "".join(texts) if texts else None
    if value.get("type") in ("reasoning", "thinking") or value.get("thought") is True:
        return None
    for name in _HOLDERS:
        inner = value.get(name)
        if isinstance(inner, list) and name not in _ALL:
            inner = inner[0] if inner else None
        if isinstance(inner, str | dict | list):
            return _text(inner, levels - 1)
        if name == "response" and inner is not None:
            return json.dumps(inner).decode()  # Workers AI writes a token that looks like a number as one
    return None


def reason(body: Any) -> str | None:
    """Return the provider's word for why the answer ended."""
    for fields in _objects(body):
        for name in _REASONS:
            own = fields.get(name)
            if isinstance(own, dict):
                own = own.get("type")  # SGLang's
            if own and isinstance(own, str):
                return own
        if str(fields.get("status")).startswith("ALTERNATIVE_STATUS_"):  # YandexGPT's
            return str(fields["status"])
    return None


def counts(body: Any) -> Usage | None:
    """Return what an answer says was used."""
    for fields in _objects(body):
        used = usage(fields.get("usage") or usage_in(fields)) or usage(fields if "tokens" in fields else None)
        if used is not None:
            return used
    named = {
        ours: next((fields[name] for fields in _objects(body) for name in names if fields.get(name)), None)
        for ours, names in (("prompt_tokens", _INPUTS), ("completion_tokens", _OUTPUTS))
    }
    return usage(named)


def _objects(body: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of an answer, the outermost first; of the events of a stream those of the last."""
    return islice(_breadth_first(body), _MOST)


def _breadth_first(body: Any) -> Iterator[dict[str, Any]]:
    level: list[Any] = body[-1:] if isinstance(body, list) else [body]
    for _ in range(_DEEPEST):
        found, level = level, []
        for value in found:
            fields = value[0] if isinstance(value, list) and value else value
            if isinstance(fields, dict):
                yield fields
                level += [fields[name] for name in (*_HOLDERS, *_ABOUT) if name in fields]
