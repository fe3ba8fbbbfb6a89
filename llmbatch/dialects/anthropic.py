"""Anthropic's messages. Records may be written its way or OpenAI's; system messages move to where it wants them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llmbatch.codec import json
from llmbatch.codec.sse import events
from llmbatch.core.exchange import Expected, Reply, Request, Verdicts
from llmbatch.core.fault import Billing, Fault
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion, Usage
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.answers import alone, count, read_answer, request_id, unparsable
from llmbatch.dialects.anthropic_request import FOREIGN, NAMES, PARAMS, system, translate, turn
from llmbatch.dialects.embedded_errors import has_error
from llmbatch.dialects.error_rules import classify
from llmbatch.dialects.errors import error_in
from llmbatch.dialects.finish_reasons import note_finish
from llmbatch.dialects.openai_messages import opened, refuse_foreign, renamed, tool_calls
from llmbatch.dialects.openai_stream import CutStream
from llmbatch.dialects.providers import ENDPOINTS
from llmbatch.dialects.request_options import Options, Routes, complete

__all__ = ["PARAMS", "PATH", "Anthropic", "fold", "read", "usage"]

PATH = ENDPOINTS["messages"].path

MOST_TOKENS = 4096
"""The longest answer where nobody says: the API wants to be told, and every model can do this much."""

_STATUSES = {
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
"""The status an error would have had if the answer had not begun."""


class Anthropic:
    """Builds Anthropic messages."""

    name = "messages"
    params = PARAMS

    def __init__(self, options: Options, *, path: str = PATH) -> None:
        self._options = options._replace(
            defaults=renamed(options.defaults, NAMES), overrides=renamed(options.overrides, NAMES)
        )
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
            said, messages = opened(prompt)
            body = {"model": None, "messages": [turn(message) for message in messages]}
            if said:
                body["system"] = system(said)
        prompt = replace(prompt, params=renamed(prompt.params, NAMES))
        complete(body, prompt, self._options, ("max_tokens",))
        refuse_foreign(body, FOREIGN, "Anthropic")
        translate(body)
        if "max_tokens" not in body:
            body["max_tokens"] = MOST_TOKENS + _thinking_budget(body.get("thinking"))
        return self._routes[body["model"]], body

    def request(self, jobs: Sequence[Job]) -> Request:
        """Build the request of one job."""
        (job,) = jobs
        body = {**job.item, "stream": True} if self._options.stream else job.item
        return Request((job,), job.route.path, json.dumps(body), alone(self.name, job.keep_body))


def read(expected: Expected, reply: Reply) -> Verdicts:
    """Read an answer: a completion, or a fault for an error in whatever shape."""
    return (read_answer(reply, _verdict, fold, keep_body=expected.keeps[0]),)


def _verdict(body: dict[str, Any], reply: Reply) -> Completion | Fault:
    if has_error(body):
        return _error(body, reply)
    content = body.get("content")
    if not isinstance(content, list):
        return unparsable(reply, "the answer has no content")
    texts, thoughts, calls = [], [], []
    for block in content:
        match block["type"]:
            case "text":
                texts.append(block["text"])
            case "thinking":
                thoughts.append(block["thinking"])
            case "tool_use":
                calls.append((block["id"], block["name"], block["input"]))
    completion = Completion(
        text="".join(texts) if texts else None,
        finish_reason=None,
        model=body.get("model"),
        usage=usage(body.get("usage")),
        request_id=request_id(reply),
    )
    stop = body.get("stop_reason")
    note_finish(completion, stop)
    if calls:
        completion.extra["tool_calls"] = tool_calls(calls)
    if stop == "refusal":
        details = body.get("stop_details") or {}
        completion.extra["refusal"] = details.get("explanation") or details.get("category") or "refused"
    reasoning = "".join(thoughts)
    if reasoning:
        completion.extra["reasoning"] = reasoning
    return completion


def _error(body: dict[str, Any], reply: Reply) -> Fault:
    """Judge an error that came with status 200. One that broke off an answer may be charged, whatever it is."""
    error = body.get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    fault = classify(error_in(body, _STATUSES.get(str(kind), 500)), reply.headers)
    message = body.get("message")
    begun = isinstance(message, dict) and message.get("content")
    return replace(fault, billing=Billing.DOUBTFUL) if begun and fault.billing is not Billing.SERVER else fault


def usage(raw: Any) -> Usage | None:
    """Normalise Anthropic's usage, whose input tokens leave out those read from and written to the cache."""
    if not isinstance(raw, dict):
        return None
    details = raw.get("output_tokens_details")
    fresh, output = count(raw.get("input_tokens")), count(raw.get("output_tokens"))
    cached, written = count(raw.get("cache_read_input_tokens")), count(raw.get("cache_creation_input_tokens"))
    return Usage(
        input_tokens=None if fresh is None else fresh + (cached or 0) + (written or 0),
        output_tokens=output,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=count(details.get("thinking_tokens")) if isinstance(details, dict) else None,
    )


def _thinking_budget(thinking: Any) -> int:
    """Return the tokens of the answer that are for thinking: the cap must lie above."""
    return (count(thinking.get("budget_tokens")) or 0) if isinstance(thinking, dict) else 0


_PIECES = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
"""What each kind of delta adds text to."""


def fold(stream: bytes) -> dict[str, Any]:
    """Join the events of a finished stream into one message.

    An error among them is the answer, with what there was of the message beside it. A stream that told why the answer
    ended has told everything. Raises CutStream for one that did not, or ValueError, TypeError, KeyError or
    AttributeError for events of another shape.
    """
    message: dict[str, Any] = {}
    blocks: dict[int, _Block] = {}
    done = False
    for event in events(stream):
        said = json.loads_shallow(event.data)
        match said["type"]:
            case "message_start":
                message = dict(said["message"])
            case "content_block_start":
                blocks[said["index"]] = _Block(said["content_block"])
            case "content_block_delta":
                blocks[said["index"]].add(said["delta"])
            case "message_delta":
                message.update(said["delta"])
                message["usage"] = {**(message.get("usage") or {}), **_known(said.get("usage"))}
            case "message_stop":
                done = True
                break
            case "error":
                return {**said, "message": {**message, "content": _joined(blocks)}}
    if not done and not message.get("stop_reason"):
        raise CutStream("the stream ended in the middle")
    if not message:
        raise ValueError("the stream holds no message")
    return {**message, "content": _joined(blocks)}


class _Block:
    """One block of the content: as it began, and the pieces that follow."""

    def __init__(self, began: dict[str, Any]) -> None:
        self._began = dict(began)
        self._pieces: dict[str, list[str]] = {}

    def add(self, delta: dict[str, Any]) -> None:
        """Add a piece; one of an unknown kind says nothing that a result line has a place for."""
        name = _PIECES.get(delta["type"])
        if name is not None:
            self._pieces.setdefault(name, []).append(delta[name])

    def joined(self) -> dict[str, Any]:
        """Return the whole block. The input of a tool that was cut off stays the text it is."""
        block = self._began
        for name, pieces in self._pieces.items():
            if name != "partial_json":
                block[name] = (block.get(name) or "") + "".join(pieces)
        written = "".join(self._pieces.get("partial_json", ()))
        if written:
            try:
                block["input"] = json.loads_shallow(written.encode())
            except ValueError:
                block["input"] = written
        return block


def _joined(blocks: dict[int, _Block]) -> list[dict[str, Any]]:
    return [blocks[index].joined() for index in sorted(blocks)]


def _known(usage: Any) -> dict[str, Any]:
    """Return the counts of a usage that were said: they are cumulative, and null is no news."""
    return {name: value for name, value in (usage or {}).items() if value is not None}
