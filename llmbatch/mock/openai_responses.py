"""Responses: turns input items into output items, with a status of its own inside the 200. Pure."""

from random import Random
from typing import Any

from llmbatch.codec import json
from llmbatch.mock.dialect import Dialect, MalformedRequest, MockRequest, Turn, content_of, text_of
from llmbatch.mock.event_streams import response_events
from llmbatch.mock.fake_text import fitting, formatted, sentences, tokens
from llmbatch.mock.fault_markers import without_markers

__all__ = ["RESPONSES", "STATUSES"]

_TYPICAL_ANSWER = 40
_PER_ITEM = 4
STATUSES = {"failed": "failed", "unfinished": "in_progress"}
"""Faults that are a status inside the answer."""

_THOUGHT = "Let me think. The question is short."


def read(body: dict[str, Any]) -> MockRequest:
    """Check a request body the way the API does, no further than the answer needs."""
    model, input = body.get("model"), body.get("input")
    if not isinstance(model, str) or not model:
        raise MalformedRequest("Missing required parameter: 'model'.", "model")
    items = [{"role": "user", "content": input}] if isinstance(input, str) else input
    if not isinstance(items, list) or not items:
        raise MalformedRequest("Missing required parameter: 'input'.", "input")
    most = body.get("max_output_tokens")
    if most is not None and not (type(most) is int and most >= 1):
        raise MalformedRequest("Invalid 'max_output_tokens': a positive integer was expected.", "max_output_tokens")
    prompt, counted = "", tokens(body.get("instructions") or "")
    for place, item in enumerate(items):
        text = _text(item, f"input[{place}]")
        counted += tokens(text) + _PER_ITEM
        if item.get("role") == "user":
            prompt = text
    return MockRequest(body, model, prompt, counted, counted + (most or _TYPICAL_ANSWER), body.get("stream") is True)


def answer(turn: Turn) -> dict[str, Any]:
    """Build the answer object."""
    body, name = turn.asked.body, turn.fault.name if turn.fault else None
    output, reason = _output(turn, name)
    counted = sum(tokens(json.dumps(item).decode()) for item in output)
    thought = tokens(_THOUGHT) if name == "reasoning" else 0
    answered: dict[str, Any] = {
        "id": f"resp_{turn.serial}",
        "object": "response",
        "created_at": turn.created,
        "status": "incomplete" if reason else "completed",
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": body.get("instructions"),
        "model": turn.asked.model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "usage": {
            "input_tokens": turn.asked.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": counted,
            "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": turn.asked.prompt_tokens + counted,
        },
        "store": body.get("store", True),
        "metadata": body.get("metadata") or {},
    }
    if turn.fault and name in STATUSES:
        answered |= {"status": STATUSES[name], "output": []}
        if name == "failed":
            answered["error"] = {"code": turn.fault.options["code-name"], "message": "The mock was told to fail."}
    if name in ("no-usage", "unfinished"):
        answered["usage"] = None
    return answered


def _output(turn: Turn, fault: str | None) -> tuple[list[dict[str, Any]], str | None]:
    """Return the output items, and why they are incomplete, if they are."""
    body, rng, serial = turn.asked.body, Random(f"{turn.seed}:0"), turn.serial
    items: list[dict[str, Any]] = []
    if fault == "reasoning":
        items.append(
            {"type": "reasoning", "id": f"rs_{serial}", "summary": [{"type": "summary_text", "text": _THOUGHT}]}
        )
    tool = _forced(body) if turn.text is None else None
    if tool is not None:
        arguments = json.dumps(fitting(tool.get("parameters") or {"type": "object"}, rng)).decode()
        call = {"type": "function_call", "id": f"fc_{serial}", "call_id": f"call_{serial}", "status": "completed"}
        return [*items, call | {"name": str(tool.get("name")), "arguments": arguments}], None
    text = turn.text if turn.text is not None else _words(turn, rng)
    most, reason = body.get("max_output_tokens"), None
    if (most is not None and tokens(text) > most) or fault == "length":
        text = text.encode("utf-8", "surrogatepass")[: (most or 4) * 4].decode("utf-8", "ignore")
        reason = "max_output_tokens"
    if fault == "content-filter":
        reason = "content_filter"
    part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
    if fault == "refusal":
        part = {"type": "refusal", "refusal": "I cannot help with that."}
    status = "incomplete" if reason else "completed"
    message = {"type": "message", "id": f"msg_{serial}", "role": "assistant", "status": status, "content": [part]}
    return [*items, message], reason


def _words(turn: Turn, rng: Random) -> str:
    text = sentences(without_markers(turn.asked.prompt), rng)
    settings = turn.asked.body.get("text")
    wanted = settings.get("format") if isinstance(settings, dict) else None
    if not isinstance(wanted, dict):
        return text
    return formatted(text, wanted.get("type"), wanted.get("schema"), rng)


def _forced(body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the function that must be called, if one must."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    functions = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    if isinstance(choice, dict):
        return next((one for one in functions if one.get("name") == choice.get("name")), None)
    return functions[0] if functions and choice == "required" else None


def _text(item: Any, where: str) -> str:
    content = content_of(item, where)
    for part in content if isinstance(content, list) else ():
        if part.get("type") not in ("input_text", "input_image", "input_file", "output_text", "refusal"):
            raise MalformedRequest(f"Invalid value: '{part.get('type')}' at '{where}.content'.", where)
    return text_of(content)


RESPONSES = Dialect(read, answer, response_events)
