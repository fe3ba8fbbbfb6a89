"""OpenAI's Responses API: input and output are lists of items, and a 200 has a status of its own."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llmbatch.codec import json
from llmbatch.core.exchange import Expected, Reply, Request, Verdicts
from llmbatch.core.fault import Fault
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.core.usage import Usage
from llmbatch.dialects.answers import alone, broken_off, count, own_cost, read_answer, request_id, unparsable
from llmbatch.dialects.embedded_errors import embedded_error, has_error
from llmbatch.dialects.error_rules import ApiError, classify, implied_status
from llmbatch.dialects.errors import error_in
from llmbatch.dialects.finish_reasons import is_broken_off, note_finish, note_tier
from llmbatch.dialects.openai_chat_answers import image, with_thoughts, words
from llmbatch.dialects.openai_chat_answers import usage as chat_usage
from llmbatch.dialects.openai_messages import check_no_foreign_fields
from llmbatch.dialects.openai_responses_stream import fold
from llmbatch.dialects.providers import ENDPOINTS
from llmbatch.dialects.request_options import Options, Routes, complete, renamed
from llmbatch.dialects.tool_call_pieces import arguments_text

__all__ = ["PARAMS", "PATH", "Responses", "read"]

PATH = ENDPOINTS["responses"].path

PARAMS = frozenset(
    [
        "conversation",
        "include",
        "instructions",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt_cache_key",
        "prompt_cache_options",
        "reasoning",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ]
)
"""Top-level fields of an API-shaped record that are sent rather than kept as meta."""

_SERVERS = ("server", "internal", "engine", "unavailable", "overload")
"""What stands in the codes of a server's own failures."""
_PASSING = frozenset({429, 503, 504, 529})
"""Statuses of errors that are not the record's fault, whatever names them."""

NAMES = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
"""Names of chat parameters in the Responses API."""

FOREIGN = frozenset({"messages", "n"})
"""Chat parameters without a counterpart in the Responses API."""

_PARTS = {"text": "input_text", "image_url": "input_image"}


class Responses:
    """Builds responses."""

    name = "responses"
    params = PARAMS

    def __init__(self, options: Options, *, path: str = PATH) -> None:
        self._options = options.renamed(NAMES)
        self._routes = Routes(path, self.name)

    def pack(self, waiting: Sequence[Job]) -> int:
        """Return 1: a request serves one record."""
        return 1

    def item(self, prompt: Prompt) -> tuple[Route, dict[str, Any]]:
        """Build the body of one record; chat messages become items. Raises RecordError."""
        if prompt.body is not None:
            body = dict(prompt.body)
            if not any(body.get(name) for name in ("input", "prompt", "previous_response_id", "conversation")):
                raise RecordError("the body has no input")
        elif prompt.messages is not None:
            body = {"model": None, "input": [_as_item(message) for message in prompt.messages]}
        else:
            body = {"model": None, "input": prompt.text if prompt.input is None else prompt.input}
        if prompt.system is not None:
            body.setdefault("instructions", prompt.system)
        prompt = replace(prompt, params=renamed(prompt.params, NAMES))
        complete(body, prompt, self._options, ("max_output_tokens",))
        check_no_foreign_fields(body, FOREIGN, "the Responses API")
        _translate(body)
        if body.get("background"):
            raise RecordError("'background' has no place here: nobody would wait for the answer")
        return self._routes[body["model"]], body

    def request(self, jobs: Sequence[Job]) -> Request:
        """Build the request of one job."""
        (job,) = jobs
        body = job.item | {"stream": True} if self._options.stream else job.item
        return Request((job,), job.route.path, json.dumps(body), alone(self.name, job.keep_body))


def read(expected: Expected, reply: Reply) -> Verdicts:
    """Read an answer: a completion, or a fault for an error of any shape."""
    return (read_answer(reply, _verdict, fold, keep_body=expected.keeps[0]),)


def _translate(body: dict[str, Any]) -> None:
    """Translate parameters of chat, in place: the Responses API has them flat."""
    wanted = body.pop("response_format", None)
    if isinstance(wanted, dict):
        described = wanted.get("json_schema")
        form = {"type": wanted.get("type"), **(described if isinstance(described, dict) else {})}
        text = body.get("text")
        body["text"] = {**(text if isinstance(text, dict) else {}), "format": form}
    effort = body.pop("reasoning_effort", None)
    if effort is not None:
        body.setdefault("reasoning", {"effort": effort})
    tools = body.get("tools")
    if isinstance(tools, list):
        body["tools"] = [_flat(tool) for tool in tools]
    if isinstance(body.get("tool_choice"), dict):
        body["tool_choice"] = _flat(body["tool_choice"])


def _flat(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    return {"type": "function", **function} if isinstance(function, dict) else tool


def _as_item(message: dict[str, Any]) -> dict[str, Any]:
    """Translate a chat message to an item: the parts of its content have other names."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    spoken = message.get("role") == "assistant"
    return {**message, "content": [_as_part(part, spoken=spoken) for part in content]}


def _as_part(part: Any, *, spoken: bool) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "file" and isinstance(part.get("file"), dict):
        return {"type": "input_file", **part["file"]}
    if kind not in _PARTS:
        return part
    if kind == "text":
        return {**part, "type": "output_text" if spoken else "input_text"}
    image = part["image_url"] if isinstance(part.get("image_url"), dict) else {"url": part.get("image_url")}
    detail = {"detail": image["detail"]} if "detail" in image else {}
    return {"type": _PARTS[kind], "image_url": image.get("url"), **detail}


def _verdict(body: Any, reply: Reply) -> Completion | Fault:
    used = body.get("usage") if isinstance(body, dict) else None
    counted, cost = _usage(used), own_cost(used)
    status = body.get("status")
    if status == "failed":
        return replace(classify(_failure(body.get("error")), reply.headers), usage=counted, cost=cost)
    if has_error(body):
        return embedded_error(body, reply)
    if status == "cancelled":
        return broken_off(reply, status, counted, cost)
    output = body.get("output")
    if not output and isinstance(body.get("output_text"), str):
        output = body["output_text"]
    if isinstance(output, str):
        output = [{"content": output}]
    elif isinstance(output, dict):
        output = [output]
    if status in ("queued", "in_progress") or not isinstance(output, list):
        return unparsable(reply, f"the response is {status}, and nothing more will come of it")
    details = body.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    if is_broken_off(reason):
        return broken_off(reply, str(reason), counted, cost)
    text, calls, extra = _read_items(output)
    completion = Completion(
        text=text,
        finish_reason=None,
        model=body.get("model"),
        usage=counted,
        cost=cost,
        request_id=request_id(reply),
        extra=extra,
    )
    note_finish(completion, reason or ("function_call" if calls else status))
    note_tier(completion, body)
    return completion


def _failure(given: Any) -> ApiError:
    """Read why a response failed: the codes of the API are the record's fault, but for those of the server."""
    error = error_in({"error": given or {"message": "the response failed without a reason"}}, 400)
    status = implied_status(error)
    code = error.code
    named = code is not None and not code.isdecimal() and not any(word in error.labels for word in _SERVERS)
    error.status = status if status in _PASSING or (given and not named) else 400
    return error


def _read_items(output: list[Any]) -> tuple[str | None, bool, dict[str, Any]]:
    """Return the text of all items or None, whether a tool is called, and the optional fields."""
    texts: list[str] = []
    refusals: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    for item in output:
        kind = item.get("type", "message")
        if kind == "message":
            content = item["content"]
            for part in [{"text": content}] if isinstance(content, str) else content or ():
                form = part.get("type", "output_text")
                if form in ("output_text", "text"):
                    texts.append(part["text"] or "")
                    if part.get("annotations"):
                        extra.setdefault("citations", []).extend(part["annotations"])
                    if part.get("logprobs"):
                        extra.setdefault("logprobs", {"content": []})["content"].extend(part["logprobs"])
                elif form == "refusal":
                    refusals.append(part["refusal"])
        elif kind in ("function_call", "custom_tool_call"):
            calls.append(_call(item))
        elif kind == "reasoning":
            parts = (*_parts(item.get("summary")), *_parts(item.get("content")))
            thoughts += [text for part in parts if (text := words(part))]
        elif kind == "image_generation_call" and isinstance(item.get("result"), str):
            picture = f"data:image/{item.get('output_format') or 'png'};base64,{item['result']}"
            extra.setdefault("images", []).append(image(picture))
    if calls:
        extra["tool_calls"] = calls
    if refusals:
        extra["refusal"] = "".join(refusals)
    if thoughts:
        extra["reasoning"] = "\n\n".join(thoughts)
    return "".join(texts) if texts else None, bool(calls), extra


def _call(item: dict[str, Any]) -> dict[str, Any]:
    """Return a call in the format of chat messages."""
    id, name = item.get("call_id"), item.get("name")
    if item["type"] == "custom_tool_call":
        return {"id": id, "type": "custom", "custom": {"name": name, "input": item.get("input")}}
    arguments = item.get("arguments")
    arguments = None if arguments is None else arguments_text(arguments)
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _parts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _usage(raw: Any) -> Usage | None:
    if not isinstance(raw, dict):
        return None
    into, out = raw.get("input_tokens_details"), raw.get("output_tokens_details")
    into, out = into if isinstance(into, dict) else {}, out if isinstance(out, dict) else {}
    tokens_in, tokens_out = count(raw.get("input_tokens")), count(raw.get("output_tokens"))
    if not tokens_in and not tokens_out:
        return chat_usage(raw)  # some copies count as in a chat; zeros alone are no counts
    cached, reasoning, total = into.get("cached_tokens"), out.get("reasoning_tokens"), count(raw.get("total_tokens"))
    if tokens_in and tokens_out is not None and total is not None and total > tokens_in + tokens_out:
        tokens_out = with_thoughts(tokens_in, tokens_out, total, reasoning, cached)
    return Usage(tokens_in, tokens_out, count(cached), count(into.get("cache_write_tokens")), count(reasoning))
