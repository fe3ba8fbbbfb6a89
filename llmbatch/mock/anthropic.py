"""Anthropic's messages: turns a request body into an answer, or its stream, by seed and body alone. Pure."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from llmbatch.codec import json
from llmbatch.mock.dialect import Dialect, MalformedRequest, MockRequest, Turn
from llmbatch.mock.error_formats import ANTHROPIC, Refusal
from llmbatch.mock.fake_text import cut, fitting, sentences, shortened, tokens
from llmbatch.mock.fault_markers import without_markers

__all__ = ["MESSAGES"]

_TYPICAL_ANSWER = 40  # tokens that count against the limit, since the cap does not
_PER_MESSAGE = 4
_NO_SAMPLING = "2026-10-21"
"""The version of the API that first rejects sampling parameters."""
_SAMPLING = ("temperature", "top_p", "top_k")
_THOUGHT = "Let me think. The question is short."


def read(body: dict[str, Any]) -> MockRequest:
    """Check a request body the way the API does, no further than the answer needs."""
    version = body.pop("anthropic-version", None)
    if not version:
        raise MalformedRequest("anthropic-version: header is required")
    model, messages, most = body.get("model"), body.get("messages"), body.get("max_tokens")
    if not isinstance(model, str) or not model:
        raise MalformedRequest("model: Field required")
    if type(most) is not int or most < 1:
        raise MalformedRequest(
            "max_tokens: Field required" if most is None else "max_tokens: Input should be at least 1"
        )
    if not isinstance(messages, list) or not messages:
        raise MalformedRequest("messages: at least one message is required")
    for name in _SAMPLING if version >= _NO_SAMPLING else ():
        if name in body:
            raise MalformedRequest(f"{name}: Extra inputs are not permitted")
    prompt, size = "", tokens(_text(body.get("system"), "system"))
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise MalformedRequest(f"messages.{index}: Input should be an object")
        if message.get("role") not in ("user", "assistant"):
            raise MalformedRequest(f"messages.{index}.role: Input should be 'user' or 'assistant'")
        text = _text(message.get("content"), f"messages.{index}.content")
        size += tokens(text) + _PER_MESSAGE
        if message["role"] == "user":
            prompt = text
    return MockRequest(body, model, prompt, size, size + min(most, _TYPICAL_ANSWER), body.get("stream") is True)


def answer(turn: Turn) -> dict[str, Any]:
    """Build the answer object."""
    asked, rng = turn.asked, Random(f"{turn.seed}:0")
    answered: dict[str, Any] = {
        "id": f"msg_{turn.serial}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": None,
    }
    blocks: list[dict[str, Any]] = answered["content"]
    if isinstance(asked.body.get("thinking"), dict) and asked.body["thinking"].get("type") != "disabled":
        blocks.append(_thinking())
    if turn.text is None and (tool := _forced_tool(asked.body)) is not None:
        input = fitting(tool.get("input_schema") or {"type": "object"}, rng)
        blocks.append({"type": "tool_use", "id": f"toolu_{turn.serial}", "name": str(tool.get("name")), "input": input})
        answered["stop_reason"] = "tool_use"
    else:
        text = turn.text if turn.text is not None else _words(turn, rng)
        blocks.append({"type": "text", "text": _stopped(text, asked.body, answered)})
    if turn.fault and (reshape := _SHAPES.get(turn.fault.name)):
        reshape(answered, blocks)
    if turn.fault is None or turn.fault.name != "no-usage":
        answered["usage"] = _usage(asked, blocks)
    else:
        del answered["usage"]
    return answered


def events(answered: dict[str, Any], turn: Turn) -> list[bytes]:
    """Cut an answer into events, `message_stop` last; a fault may leave out some."""
    used = answered.get("usage")
    begun = {**answered, "content": [], "stop_reason": None, "stop_details": None, "stop_sequence": None}
    if used:
        begun["usage"] = {**used, "output_tokens": 1}
    sent = [_event("message_start", message=begun), _event("ping")]
    for index, block in enumerate(answered.get("content") or ()):
        sent += _pieces(index, block)
    match turn.fault.name if turn.fault else None:
        case "stream-cut":
            return sent[: len(sent) // 2]
        case "stream-error":
            broken = ANTHROPIC.refuse(Refusal(529, "Overloaded"))
            return [*sent[: len(sent) // 2], b"event: error\ndata: " + broken.body + b"\n\n"]
        case name:
            delta = {key: answered[key] for key in ("stop_reason", "stop_sequence", "stop_details")}
            sent.append(
                _event("message_delta", delta=delta, usage={"output_tokens": (used or {}).get("output_tokens", 0)})
            )
            return sent if name == "no-done" else [*sent, _event("message_stop")]


def _text(content: Any, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list) or not all(isinstance(block, dict) and "type" in block for block in content):
        raise MalformedRequest(f"{where}: Input should be a valid string or a list of blocks")
    return "".join(block["text"] for block in content if isinstance(block.get("text"), str))


def _thinking() -> dict[str, Any]:
    return {"type": "thinking", "thinking": _THOUGHT, "signature": "mock"}


def _words(turn: Turn, rng: Random) -> str:
    config = turn.asked.body.get("output_config")
    wanted = config.get("format") if isinstance(config, dict) else None
    if isinstance(wanted, dict):
        return json.dumps(fitting(wanted.get("schema") or {"type": "object"}, rng)).decode()
    return sentences(without_markers(turn.asked.prompt), rng)


def _stopped(text: str, body: dict[str, Any], answered: dict[str, Any]) -> str:
    """Return the text up to the first stop sequence or the cap, and say so in the answer."""
    sequences = body.get("stop_sequences")
    for sequence in sequences if isinstance(sequences, list) else ():
        if isinstance(sequence, str) and sequence and sequence in text:
            text = text.partition(sequence)[0]
            answered.update(stop_reason="stop_sequence", stop_sequence=sequence)
    short = shortened(text, body["max_tokens"])
    if short is None:
        return text
    answered.update(stop_reason="max_tokens", stop_sequence=None)
    return short


def _forced_tool(body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the tool that must be used, if one must."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if not isinstance(tools, list) or not isinstance(choice, dict):
        return None
    objects = [tool for tool in tools if isinstance(tool, dict)]
    if choice.get("type") == "tool":
        return next((tool for tool in objects if tool.get("name") == choice.get("name")), None)
    return objects[0] if objects and choice.get("type") == "any" else None


def _usage(asked: MockRequest, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Count tokens; the system blocks marked for the cache count as read from it."""
    system = asked.body.get("system")
    marked = [block for block in system if "cache_control" in block] if isinstance(system, list) else []
    cached = tokens(_text(marked, "system"))
    thoughts = sum(tokens(block.get("thinking", "")) for block in blocks)
    written = sum(
        tokens(block.get("text") or (json.dumps(block["input"]).decode() if "input" in block else ""))
        for block in blocks
    )
    return {
        "input_tokens": asked.prompt_tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": thoughts + written,
        "output_tokens_details": {"thinking_tokens": thoughts},
        "server_tool_use": None,
        "service_tier": "standard",
    }


def _pieces(index: int, block: dict[str, Any]) -> Iterator[bytes]:
    began: dict[str, Any]
    match block["type"]:
        case "text":
            began, deltas = {"text": ""}, [{"type": "text_delta", "text": part} for part in cut(block["text"])]
        case "thinking":
            began = {"thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": part} for part in cut(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case _:
            began = {"input": {}}
            written = json.dumps(block["input"]).decode()
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", *cut(written))]
    yield _event("content_block_start", index=index, content_block={**block, **began})
    for delta in deltas:
        yield _event("content_block_delta", index=index, delta=delta)
    yield _event("content_block_stop", index=index)


def _event(name: str, **fields: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + json.dumps({"type": name, **fields}) + b"\n\n"


_Reshape = Callable[[dict[str, Any], list[dict[str, Any]]], None]


def _refuse(answered: dict[str, Any], blocks: list[dict[str, Any]]) -> None:
    blocks.clear()
    details = {"type": "refusal", "category": None, "explanation": "I'm sorry, but I cannot help with that."}
    answered.update(stop_reason="refusal", stop_details=details)


def _filter(answered: dict[str, Any], blocks: list[dict[str, Any]]) -> None:
    blocks.clear()
    answered.update(stop_reason="refusal", stop_details={"type": "refusal", "category": "bio", "explanation": None})


def _shorten(answered: dict[str, Any], blocks: list[dict[str, Any]]) -> None:
    blocks[:] = [{**block, "text": block["text"][:20]} if block["type"] == "text" else block for block in blocks]
    answered["stop_reason"] = "max_tokens"


_SHAPES: dict[str, _Reshape] = {
    "null-choices": lambda answered, _: answered.update(content=None),
    "empty-choices": lambda answered, _: answered.update(content=[]),
    "no-choices": lambda answered, _: answered.pop("content"),
    "refusal": _refuse,
    "content-filter": _filter,
    "length": _shorten,
    "null-content": lambda _, blocks: blocks.clear(),
    "reasoning": lambda _, blocks: blocks.insert(0, _thinking()),
}
"""Faults that change the answer object and the blocks in it."""

MESSAGES = Dialect(read, answer, events, ANTHROPIC, ("anthropic-version",))
