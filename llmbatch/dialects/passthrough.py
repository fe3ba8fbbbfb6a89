"""An API that nobody here knows: bodies go as they are, answers are kept whole, a text is looked for."""

from collections.abc import Sequence
from typing import Any

from llmbatch.codec import json
from llmbatch.core.exchange import Expected, Reply, Request, Verdicts
from llmbatch.core.fault import Fault
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion
from llmbatch.core.prompt import Prompt
from llmbatch.dialects.answers import alone, read_answer, request_id
from llmbatch.dialects.embedded_errors import embedded_error, has_error
from llmbatch.dialects.openai_chat import PARAMS, TOKEN_CAPS
from llmbatch.dialects.openai_chat_answers import usage, usage_in
from llmbatch.dialects.openai_stream import fold
from llmbatch.dialects.request_options import Options, Routes, complete

__all__ = ["Passthrough", "read"]


class Passthrough:
    """Sends a `body` as given, and anything else as a chat would; the whole answer is the result."""

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
    """Read an answer: any JSON that is no error is one."""
    return (read_answer(reply, _verdict, fold, keep_body=expected.keeps[0]),)


def _verdict(body: Any, reply: Reply) -> Completion | Fault:
    if has_error(body):
        return embedded_error(body, reply)
    known = body if isinstance(body, dict) else {}
    return Completion(
        text=_text(body),
        finish_reason=None,
        model=known.get("model"),
        usage=usage(known.get("usage") or usage_in(known)),
        request_id=request_id(reply),
    )


def _text(body: Any) -> str | None:
    """Find the text of an answer.

    Where it stands in chat and completions (`choices`), responses (`output`), Anthropic (`content`), Gemini
    (`candidates`), Ollama (`message`, `response`), TGI (`generated_text`, in a list or not) and the like.
    """
    found = body
    for _ in range(8):  # no known shape is deeper
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
