"""Reads chat completions: the text, and whatever else was asked for and paid in fields of its own. Pure."""

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

from llmbatch.codec import json
from llmbatch.core.exchange import Expected, Reply, Verdicts
from llmbatch.core.fault import Fault
from llmbatch.core.outcome import Completion, Usage
from llmbatch.dialects.answers import broken_off, count, own_cost, read_answer, request_id, snake_cased, unparsable
from llmbatch.dialects.embedded_errors import embedded_error, has_error
from llmbatch.dialects.finish_reasons import is_broken_off, normalised, note_finish, note_tier
from llmbatch.dialects.openai_messages import tool_calls
from llmbatch.dialects.openai_stream import fold
from llmbatch.dialects.tool_call_pieces import arguments_text, with_function

__all__ = [
    "Choice",
    "chat_choice",
    "choice_entries",
    "first_sound",
    "image",
    "read",
    "read_choices",
    "usage",
    "usage_in",
    "with_thoughts",
    "words",
]

_PLAIN = frozenset({"role", "content"})
"""The fields that every message has, and most have no others."""

_CONTENTS = ("text", "content", "output_text", "generated_text", "response")
"""Fields with the text of a message or a choice, for copies that do not call it `content`."""

_TEXT_PARTS = ("text", "output_text", None)
_IMAGE_PARTS = frozenset({"image", "image_url", "output_image"})
_THOUGHT_PARTS = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content", "reasoning_text"})

_REASONING = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "reasoning_details", "thinking_blocks")
"""Fields of a message with its reasoning, by preference: DeepSeek, OpenRouter, vLLM, Ollama, LiteLLM."""

_WORDS = ("text", "thinking", "summary", "reasoning", "reasoning_content", "content", "value")
"""Fields of a part with its words: Mistral and Databricks put parts into parts, OpenAI's Assistants objects."""

_PART = frozenset({"type", "text", "value"})
"""Fields of which a part has at least one."""


_ABOUT = frozenset(
    {
        "content_filter_result",
        "content_filter_results",
        "finish_reason",
        "index",
        "logprobs",
        "matched_stop",
        "native_finish_reason",
        "seed",
        "stop_reason",
        "token_ids",
        "usage",
    }
)
"""Fields of a choice beside its message."""

Choice = tuple[str | None, Any, dict[str, Any]]
"""Text, finish reason, and optional fields of a result line."""


def read(expected: Expected, reply: Reply) -> Verdicts:
    """Read an answer: a completion, or a fault for an error of any shape."""
    return (read_answer(reply, _verdict, fold, keep_body=expected.keeps[0]),)


def _verdict(body: Any, reply: Reply) -> Completion | Fault:
    completion = read_choices(body, reply, chat_choice)
    if isinstance(completion, Completion):
        sources = body.get("citations") or body.get("search_results")
        if sources:
            extra = completion.extra
            extra["citations"] = [*extra.get("citations", ()), *_entries(sources)]
    return completion


def read_choices(body: Any, reply: Reply, read_choice: Callable[[Any], Choice]) -> Completion | Fault:
    """Return the completion of an answer that has a list of choices, or the fault.

    Raises TypeError, AttributeError or LookupError for an answer of another shape.
    """
    if has_error(body):
        return embedded_error(body, reply)
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices:
        return unparsable(reply, "the answer has no choices")
    first = choices[0] if len(choices) == 1 else first_sound(choices, read_choice)
    if first.get("error"):
        return embedded_error(first, reply)
    used = body.get("usage") or usage_in(body)
    text, finish, extra = read_choice(first)
    if finish != "stop" and is_broken_off(finish):
        return broken_off(reply, finish, usage(used), own_cost(used))
    # Positional, since keywords are measurably slower here.
    completion = Completion(text, None, body.get("model"), usage(used), own_cost(used), request_id(reply), extra)
    note_finish(completion, finish)
    note_tier(completion, body)
    if len(choices) > 1:
        extra["choices"] = choice_entries(choices, read_choice)
    return completion


def chat_choice(choice: dict[str, Any]) -> Choice:
    """Read one choice. Raises TypeError, AttributeError or LookupError for what is none."""
    finish = choice.get("finish_reason")
    if finish is None:
        finish = choice.get("finishReason") or choice.get("native_finish_reason")
    message = choice.get("message")
    if message is None:
        message = choice.get("delta") or _message_without(choice, finish)
    elif type(message) is str:
        message = {"content": message}
    text: Any = message.get("content")
    extra: dict[str, Any] = {}
    if text is not None and type(text) is not str:
        text = _read_parts(text, extra)
    for name in message:
        if name not in _PLAIN and message[name]:
            _read_others(message, extra)
            if text is None:
                text = next((own for name in _CONTENTS if isinstance(own := message.get(name), str)), None)
            break
    logprobs = choice.get("logprobs")
    if logprobs and (not isinstance(logprobs, dict) or any(logprobs.values())):
        extra["logprobs"] = logprobs
    return text, finish, extra


def _message_without(choice: dict[str, Any], finish: Any) -> dict[str, Any]:
    """Return a message for a choice without one: filtered choices have only a reason, legacy ones a text.

    Of several messages (Azure's with data of one's own, GigaChat's) the last one of the assistant is the answer. Raises
    LookupError where the answer may stand in a field of another name.
    """
    messages = choice.get("messages")
    for message in reversed(messages) if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role", "assistant") == "assistant":
            return message
    for name in _CONTENTS:
        if isinstance(choice.get(name), str | list):
            return {"content": choice[name]}
    if finish is None:
        raise LookupError("a choice has neither a message nor a reason why")
    if finish == "stop" and (others := [name for name, value in choice.items() if name not in _ABOUT and value]):
        raise LookupError(f"a choice has no message but {others[0]!r}")
    return {}


def _read_parts(content: Any, extra: dict[str, Any]) -> str | None:
    """Join the texts of content in parts; put reasoning, images and the rest into their fields of `extra`."""
    if not isinstance(content, list) and not (isinstance(content, dict) and _PART & content.keys()):
        return json.dumps(content).decode()  # a server that decodes the JSON of an answer, or of each piece of it
    parts = content if isinstance(content, list) else [content]
    texts: list[str] = []
    thoughts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type")
        if kind in _TEXT_PARTS:
            texts.append(words(part["text"] if "text" in part else part["value"]))
        elif kind in _THOUGHT_PARTS:
            thoughts.append(words(part))
        elif kind in _IMAGE_PARTS:
            extra.setdefault("images", []).append(part)
        elif kind == "reference":
            extra.setdefault("citations", []).append(part)
        elif kind == "refusal":
            extra["refusal"] = extra.get("refusal", "") + str(part["refusal"])
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
        _add_all(extra, "citations", part.get("annotations"))
    if reasoning := "".join(thoughts):
        extra["reasoning"] = reasoning
    return "".join(texts) if texts else None


def _read_others(message: dict[str, Any], extra: dict[str, Any]) -> None:
    """Put what a message has beside its content into `extra`."""
    calls, call = message.get("tool_calls"), message.get("function_call")
    if calls:
        extra["tool_calls"] = [_call(one) for one in _entries(calls)]
    elif isinstance(call, dict):
        extra["tool_calls"] = tool_calls([(None, call.get("name"), arguments_text(call.get("arguments")))])
    if message.get("refusal"):
        extra["refusal"] = message["refusal"]
    reasoning = next((found for name in _REASONING if (found := words(message.get(name)))), "")
    if reasoning:
        extra["reasoning"] = reasoning
    images = message.get("images")
    if isinstance(images, list) and images:
        extra["images"] = [*extra.get("images", ()), *(image(one) if isinstance(one, str) else one for one in images)]
    if isinstance(message.get("audio"), dict) and message["audio"]:
        extra["audio"] = message["audio"]
    context = message.get("context")
    _add_all(extra, "citations", message.get("annotations"))
    _add_all(extra, "citations", message.get("citations"))
    _add_all(extra, "citations", context.get("citations") if isinstance(context, dict) else None)


def _call(call: Any) -> Any:
    """Return a tool call with its function in an object of its own, and the arguments as text."""
    if not isinstance(call, dict):
        return call
    call = with_function(call)
    function = call.get("function")
    if not isinstance(function, dict) or isinstance(function.get("arguments"), str | None):
        return call
    return {**call, "function": {**function, "arguments": arguments_text(function["arguments"])}}


def _add_all(extra: dict[str, Any], name: str, entries: Any) -> None:
    if entries:
        extra[name] = [*extra.get(name, ()), *_entries(entries)]


def _entries(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else (value,)


def words(value: Any) -> str:
    """Join the words of reasoning in any shape: a text, a part, parts within parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(words, value))
    if isinstance(value, dict):
        return next((found for name in _WORDS if (found := words(value.get(name)))), "")
    return ""


def image(url: str) -> dict[str, Any]:
    """Return an image as a part of a chat message."""
    return {"type": "image_url", "image_url": {"url": url}}


def _in_order(choices: list[Any]) -> list[Any]:
    """Return choices by their index, where each has one."""
    indexes = [choice.get("index") if isinstance(choice, dict) else None for choice in choices]
    if not all(type(index) is int for index in indexes):
        return choices
    return [choice for _, choice in sorted(zip(indexes, choices, strict=True), key=itemgetter(0))]


def first_sound(choices: list[Any], read_choice: Callable[[Any], Choice]) -> Any:
    """Return the first choice by index that can be read and was not broken off; without one, the first of all."""
    choices = _in_order(choices)
    return next((one for one in choices if _is_sound(one, read_choice)), choices[0])


def _is_sound(choice: Any, read_choice: Callable[[Any], Choice]) -> bool:
    try:
        return not choice.get("error") and not is_broken_off(read_choice(choice)[1])
    except (TypeError, AttributeError, LookupError, ValueError):
        return False


def choice_entries(choices: list[Any], read_choice: Callable[[Any], Choice]) -> list[dict[str, Any]]:
    """Return an entry for each of several choices; one that cannot be read has no text, and its own error."""
    entries: list[dict[str, Any]] = []
    for place, choice in enumerate(choices):
        try:
            text, finish, extra = read_choice(choice)
        except (TypeError, AttributeError, LookupError, ValueError):
            text, finish, extra = None, "error", {}
        own = choice if isinstance(choice, dict) else {}
        if own.get("error"):
            finish, extra = finish or "error", {**extra, "error": own["error"]}
        entry = {"index": own.get("index", place), "text": text, "finish_reason": normalised(finish)}
        entries.append(entry | extra)
    return entries


def usage_in(body: dict[str, Any]) -> Any:
    """Find usage in an unusual place: in a choice (Moonshot) or in a field of its own (Groq)."""
    for holder in ("x_groq", "meta", "metadata"):
        own = body.get(holder)
        if isinstance(own, dict) and own.get("usage"):
            return own["usage"]
    for name in ("usageMetadata", "token_usage", "tokenUsage", "Usage"):
        if body.get(name):
            return body[name]
    choices = body.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("usage"):
            return choice["usage"]
    return None


def usage(raw: Any) -> Usage | None:
    """Normalise chat usage; None where nothing was counted, which zeros alone mean too.

    Where a part is missing it is taken from the total: embeddings often have nothing else.
    """
    if not isinstance(raw, dict):
        return None
    cached, written = raw.get("prompt_cache_hit_tokens", raw.get("cached_tokens")), None  # DeepSeek, Moonshot
    reasoning = raw.get("reasoning_tokens")
    prompt, output = raw.get("prompt_tokens_details"), raw.get("completion_tokens_details")
    if isinstance(prompt, dict):
        cached, written = prompt.get("cached_tokens", cached), prompt.get("cache_write_tokens")
    if isinstance(output, dict):
        reasoning = output.get("reasoning_tokens", reasoning)
    tokens_in, tokens_out = count(raw.get("prompt_tokens")), count(raw.get("completion_tokens"))
    if not tokens_in or tokens_out is None:
        tokens_in, tokens_out = _from_total(raw, tokens_in, tokens_out)
        if not tokens_in and not tokens_out:
            renamed = snake_cased(raw)
            return usage(raw.get("tokens") if renamed is raw else renamed)  # Cohere's have a level more
    total = raw.get("total_tokens")
    if type(total) is int and tokens_in and tokens_out is not None and total > tokens_in + tokens_out:
        tokens_out = with_thoughts(tokens_in, tokens_out, total, reasoning, cached)
    return Usage(
        tokens_in,
        tokens_out,
        None if cached is None else count(cached),  # the usual case, without a call
        None if written is None else count(written),
        None if reasoning is None else count(reasoning),
    )


def with_thoughts(tokens_in: int, tokens_out: int, total: int, reasoning: Any, cached: Any) -> int:
    """Return the output where the total is larger than both: xAI, Gemini and many gateways leave out what was thought.

    The rest is that if it is as much as was thought, or if nothing else is said that it might be.
    """
    rest = total - tokens_in - tokens_out
    return total - tokens_in if count(reasoning) == rest or not (reasoning or cached) else tokens_out


def _from_total(raw: dict[str, Any], tokens_in: int | None, tokens_out: int | None) -> tuple[int | None, int | None]:
    """Return input and output tokens; a missing count is read under other APIs' names or from the total."""
    tokens_in = tokens_in or _first_count(raw, _INPUTS) or tokens_in
    tokens_out = _first_count(raw, _OUTPUTS) if tokens_out is None else tokens_out
    rest = (count(raw.get("total_tokens")) or 0) - (tokens_in or 0) - (tokens_out or 0)
    if rest > 0:
        return (tokens_in, rest) if tokens_in else (rest, tokens_out)
    return tokens_in, tokens_out


_INPUTS = ("input_tokens", "prompt_token_count", "input_token_count")
_OUTPUTS = ("output_tokens", "candidates_token_count", "output_token_count", "generated_tokens")


def _first_count(raw: dict[str, Any], names: Iterable[str]) -> int | None:
    return next((number for name in names if (number := count(raw.get(name))) is not None), None)
