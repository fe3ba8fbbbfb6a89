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
from llmbatch.dialects import (
    anthropic_stream,
    gemini_stream,
    native_answers,
    openai_responses_stream,
    openai_stream,
)
from llmbatch.dialects.answers import alone, broken_off, own_cost, read_answer, request_id
from llmbatch.dialects.embedded_errors import embedded_error, has_error
from llmbatch.dialects.finish_reasons import is_broken_off, note_finish
from llmbatch.dialects.openai_chat import PARAMS, TOKEN_CAPS
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
    end = events[-1][0] if events else ""
    if any("choices" in value for value in values) or not values or end == ERROR:
        return openai_stream.fold(stream)
    last = values[-1]
    if end != DONE and last.get("type") != "message-end" and not any(last.get(name) for name in _ENDS):
        raise CutStream("the stream ended in the middle")
    if "done" in last:
        return _joined(values)
    return last if last.get("is_finished") and native_answers.text(last) is not None else values


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
    if fields.get("done") is False and ("message" in fields or "response" in fields):
        # the first of Ollama's lines, without the others
        return Fault.cut_off(reply.status)
    reason, used = native_answers.reason(body), native_answers.counts(body)
    if is_broken_off(reason):
        return broken_off(reply, str(reason), used, own_cost(fields.get("usage")))
    completion = Completion(
        text=native_answers.text(body),
        finish_reason=None,
        model=fields.get("model"),
        usage=used,
        request_id=request_id(reply),
    )
    note_finish(completion, reason)
    return completion
