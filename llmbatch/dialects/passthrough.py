"""Any other API: sends bodies unchanged, keeps complete answers, and looks for their text."""

from collections.abc import Sequence
from typing import Any

from llmbatch.codec import json
from llmbatch.codec.sse import CutStream
from llmbatch.core.exchange import Expected, Reply, Request, Verdicts
from llmbatch.core.fault import Fault
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion
from llmbatch.core.prompt import Prompt
from llmbatch.dialects import anthropic_stream, gemini_stream, openai_responses_stream, openai_stream
from llmbatch.dialects.answers import alone, read_answer, request_id
from llmbatch.dialects.embedded_errors import embedded_error, has_error
from llmbatch.dialects.openai_chat import PARAMS, TOKEN_CAPS
from llmbatch.dialects.openai_chat_answers import usage, usage_in
from llmbatch.dialects.request_options import Options, Routes, complete
from llmbatch.dialects.stream_events import DONE, ERROR, stream_events

__all__ = ["Passthrough", "read"]


class Passthrough:
    """Sends a `body` unchanged, and anything else as a chat would; the result is the complete answer."""

    name = "passthrough"
    params = PARAMS

    def __init__(self, options: Options, *, path: str) -> None:
        self._options = options
        self._routes = Routes(path, self.name)

    def pack(self, waiting: Sequence[Job]) -> int:
        """Return 1: a request serves one record."""
        return 1

    def item(self, prompt: Prompt) -> tuple[Route, dict[str, Any]]:
        """Build the body of one record; it may do without a model."""
        if prompt.body is not None:
            body = dict(prompt.body)
        elif prompt.input is not None:
            body = {"input": prompt.input}
        else:
            body = {"messages": prompt.messages or [{"role": "user", "content": prompt.text}]}
        if prompt.system is not None and isinstance(body.get("messages"), list):
            body["messages"] = [{"role": "system", "content": prompt.system}, *body["messages"]]
        complete(body, prompt, self._options, tuple(reversed(TOKEN_CAPS)), needs_model=False)
        return self._routes[body.get("model") or ""], body

    def request(self, jobs: Sequence[Job]) -> Request:
        """Build the request of one job."""
        (job,) = jobs
        return Request((job,), job.route.path, json.dumps(job.item), alone(self.name, True))


def read(expected: Expected, reply: Reply) -> Verdicts:
    """Read an answer: any JSON except an error."""
    return (read_answer(reply, _verdict, _fold, keep_body=expected.keeps[0]),)


_ENDS = ("done", "generated_text", "is_finished", "finish_reason", "stop")
"""Fields of the last event of a stream in the native APIs of Ollama, TGI, Cohere and llama.cpp."""


def _fold(stream: bytes) -> Any:
    """Fold a stream by the rules of its dialect; join Ollama's texts; keep the events of any other as a list.

    Raises CutStream, ValueError.
    """
    events = list(stream_events(stream))
    name, first = events[0] if events else ("", {})
    kind = str(first.get("type") or name)
    if kind.startswith("response."):
        return openai_responses_stream.fold(stream)
    if kind == "message_start":
        return anthropic_stream.fold(stream)
    if "candidates" in first or "promptFeedback" in first:
        return gemini_stream.fold(stream)
    values = [value for name, value in events if name != DONE]
    last = events[-1][0] if events else ""
    if any("choices" in value for value in values) or not values or last == ERROR:
        return openai_stream.fold(stream)
    if last != DONE and not any(values[-1].get(name) for name in _ENDS):
        raise CutStream("the stream ended in the middle")
    return _joined(values) if "done" in values[-1] else values


def _joined(values: list[dict[str, Any]]) -> dict[str, Any]:
    """Join Ollama's lines: the last one, with the texts of all."""
    body = dict(values[-1])
    if any(isinstance(value.get("response"), str) for value in values):
        body["response"] = "".join(value.get("response") or "" for value in values)
    messages = [value["message"] for value in values if isinstance(value.get("message"), dict)]
    if messages:
        joined = {name: value for message in messages for name, value in message.items()}
        texts = {
            name: "".join(message.get(name) or "" for message in messages)
            for name in ("content", "thinking")
            if name in joined
        }
        calls = [call for message in messages for call in message.get("tool_calls") or ()]
        body["message"] = joined | texts | ({"tool_calls": calls} if calls else {})
    return body


def _verdict(body: Any, reply: Reply) -> Completion | Fault:
    if has_error(body):
        return embedded_error(body, reply)
    fields = body if isinstance(body, dict) else {}
    used = fields.get("usage") or usage_in(fields) or {name: fields.get(own) for name, own in _OLLAMA_COUNTS.items()}
    return Completion(
        text=_text(body),
        finish_reason=None,
        model=fields.get("model"),
        usage=usage(used),
        request_id=request_id(reply),
    )


_OLLAMA_COUNTS = {"prompt_tokens": "prompt_eval_count", "completion_tokens": "eval_count"}


def _text(body: Any) -> str | None:
    """Find the text of an answer.

    The fields are those of chat and completions (`choices`), responses (`output`), Anthropic (`content`), Gemini
    (`candidates`), Ollama (`message`, `response`), TGI (`generated_text`, in a list or not) and the like.
    """
    found = body
    for _ in range(8):  # deep enough for all of these shapes
        match found:
            case str():
                return found
            case {"type": "reasoning" | "thinking"} | {"thought": True}:
                return None
            case [*several]:
                texts = [text for one in several if (text := _text(one)) is not None]
                return "".join(texts) if texts else None
            case (
                {"choices": [inner, *_]}
                | {"candidates": [inner, *_]}
                | {"message": inner}
                | {"content": inner}
                | {"parts": inner}
                | {"text": str(inner)}
                | {"output": inner}
                | {"output_text": inner}
                | {"generated_text": inner}
                | {"response": inner}
            ):
                found = inner
            case _:
                return None
    return None
