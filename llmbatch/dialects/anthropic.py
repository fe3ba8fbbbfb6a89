"""Anthropic's messages. Records may be in its format or OpenAI's; system messages move to the field `system`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llmbatch.codec import json
from llmbatch.core.exchange import Expected, Reply, Request, Verdicts
from llmbatch.core.fault import Billing, Fault
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion, Usage
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.answers import alone, broken_off, count, read_answer, request_id, snake_cased, unparsable
from llmbatch.dialects.anthropic_request import (
    FOREIGN,
    NAMES,
    PARAMS,
    joined_system,
    marked_system,
    translate,
    translated_message,
)
from llmbatch.dialects.anthropic_stream import fold
from llmbatch.dialects.embedded_errors import embedded_error, has_error
from llmbatch.dialects.error_rules import classify
from llmbatch.dialects.errors import error_in
from llmbatch.dialects.finish_reasons import is_broken_off, note_finish, note_tier
from llmbatch.dialects.openai_chat_answers import image, words
from llmbatch.dialects.openai_chat_answers import usage as chat_usage
from llmbatch.dialects.openai_messages import check_no_foreign_fields, split_system, tool_calls
from llmbatch.dialects.providers import ENDPOINTS
from llmbatch.dialects.request_options import Options, Routes, complete, renamed

__all__ = ["PARAMS", "PATH", "STATUSES", "Anthropic", "read", "usage"]

PATH = ENDPOINTS["messages"].path

MOST_TOKENS = 4096
"""The token cap where none is set: the API requires one, and every model allows this much."""

STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The HTTP status of each type of error, for errors that come after the answer began."""


class Anthropic:
    """Builds Anthropic messages."""

    name = "messages"
    params = PARAMS

    def __init__(self, options: Options, *, path: str = PATH) -> None:
        self._options = options.renamed(NAMES)
        self._routes = Routes(path, self.name)

    def pack(self, waiting: Sequence[Job]) -> int:
        """Return 1: a request serves one record."""
        return 1

    def item(self, prompt: Prompt) -> tuple[Route, dict[str, Any]]:
        """Build the body of one record. Raises RecordError for what Anthropic has no place for."""
        if prompt.body is not None:
            body = dict(prompt.body)
            if not isinstance(body.get("messages"), list) or not body["messages"]:
                raise RecordError("the body has no messages")
            if prompt.system is not None:
                body.setdefault("system", prompt.system)
        else:
            contents, messages = split_system(prompt)
            body = {"model": None, "messages": [translated_message(message) for message in messages]}
            if contents:
                body["system"] = joined_system(contents)
        prompt = replace(prompt, params=renamed(prompt.params, NAMES))
        complete(body, prompt, self._options, ("max_tokens",))
        check_no_foreign_fields(body, FOREIGN, "Anthropic")
        translate(body)
        if "max_tokens" not in body:
            body["max_tokens"] = MOST_TOKENS + _thinking_budget(body.get("thinking"))
        return self._routes[body["model"]], body

    def request(self, jobs: Sequence[Job]) -> Request:
        """Build the request of one job."""
        (job,) = jobs
        body = {**job.item, "stream": True} if self._options.stream else job.item
        if self._options.cache_system is not None and "system" in body:
            body = {**body, "system": marked_system(body["system"], self._options.cache_system)}
        return Request((job,), job.route.path, json.dumps(body), alone(self.name, job.keep_body))


def read(expected: Expected, reply: Reply) -> Verdicts:
    """Read an answer: a completion, or a fault for an error of any shape."""
    return (read_answer(reply, _verdict, fold, keep_body=expected.keeps[0]),)


def _verdict(body: dict[str, Any], reply: Reply) -> Completion | Fault:
    if has_error(body):
        return _error(body, reply)
    content, stop = body.get("content"), body.get("stop_reason")
    if content is None and isinstance(body.get("completion"), str):
        content = body["completion"]  # of the API before this one
    if content is None and stop:
        content = []  # a refusal may have no content
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return unparsable(reply, "the answer has no content")
    if stop != "end_turn" and is_broken_off(stop):
        return broken_off(reply, str(stop), usage(body.get("usage")), None)
    texts, thoughts, calls = [], [], []
    completion = Completion(
        text=None,
        finish_reason=None,
        model=body.get("model"),
        usage=usage(body.get("usage")),
        request_id=request_id(reply),
    )
    if isinstance(body.get("usage"), dict):
        note_tier(completion, body["usage"])
    extra = completion.extra
    for block in content:
        match block.get("type", "text"):
            case "text":
                texts.append(block["text"] or "")
                if block.get("citations"):
                    extra.setdefault("citations", []).extend(block["citations"])
            case "thinking" | "reasoning":
                thoughts.append(words(block))
            case "tool_use":
                calls.append((block.get("id"), block["name"], block.get("input") or {}))
            case "image":
                extra.setdefault("images", []).append(_image(block.get("source")))
    if texts:
        completion.text = "".join(texts)
    note_finish(completion, stop)
    if calls:
        extra["tool_calls"] = tool_calls(calls)
    if stop == "refusal":
        details = body.get("stop_details") or {}
        extra["refusal"] = details.get("explanation") or details.get("category") or "refused"
    reasoning = "".join(thoughts)
    if reasoning:
        extra["reasoning"] = reasoning
    return completion


def _image(source: Any) -> Any:
    """Return an image as a part of a chat message."""
    match source:
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            return image(f"data:{kind};base64,{data}")
        case {"url": str(url)}:
            return image(url)
    return source


def _error(body: dict[str, Any], reply: Reply) -> Fault:
    """Classify an error that came with status 200. If the answer had begun, it may be charged."""
    error = body.get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    status = STATUSES.get(str(kind))
    fault = embedded_error(body, reply) if status is None else classify(error_in(body, status), reply.headers)
    message = body.get("message")
    begun = isinstance(message, dict) and message.get("content")
    return replace(fault, billing=Billing.DOUBTFUL) if begun and fault.billing is not Billing.SERVER else fault


def usage(raw: Any) -> Usage | None:
    """Normalise Anthropic's usage: its input tokens exclude those read from and written to the cache."""
    if not isinstance(raw, dict):
        return None
    details = raw.get("output_tokens_details")
    fresh, output = count(raw.get("input_tokens")), count(raw.get("output_tokens"))
    cached, written = count(raw.get("cache_read_input_tokens")), count(raw.get("cache_creation_input_tokens"))
    if not (fresh or output or cached or written):  # zeros alone mean that tokens were not counted
        renamed = snake_cased(raw)
        return usage(renamed) if renamed is not raw else chat_usage(raw)
    return Usage(
        input_tokens=None if fresh is None else fresh + (cached or 0) + (written or 0),
        output_tokens=output,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=count(details.get("thinking_tokens")) if isinstance(details, dict) else None,
    )


def _thinking_budget(thinking: Any) -> int:
    """Return the tokens reserved for thinking; the cap must be higher."""
    return (count(thinking.get("budget_tokens")) or 0) if isinstance(thinking, dict) else 0
