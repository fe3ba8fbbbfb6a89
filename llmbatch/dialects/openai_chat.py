"""OpenAI's chat completions, as everybody copied them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmbatch.codec import json
from llmbatch.core.exchange import Expected, Reply, Request, Verdicts
from llmbatch.core.fault import Fault
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion, Usage
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.answers import alone, count, gave_up, own_cost, read_answer, request_id, unparsable
from llmbatch.dialects.embedded_errors import embedded_error, has_error
from llmbatch.dialects.finish_reasons import normalised, note_finish
from llmbatch.dialects.openai_messages import renamed
from llmbatch.dialects.openai_stream import fold, streamed
from llmbatch.dialects.providers import ENDPOINTS
from llmbatch.dialects.request_options import Options, Routes, complete

__all__ = ["PARAMS", "PATH", "Chat", "read"]

PATH = ENDPOINTS["chat"].path

PARAMS = frozenset(
    [
        "audio",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "min_p",
        "modalities",
        "model",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "reasoning",
        "reasoning_effort",
        "repetition_penalty",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    ]
)
"""Top-level fields of an API-shaped record that are sent rather than kept as meta."""

NO_NAMES: Mapping[str, str] = {}

TOKEN_CAPS = ("max_completion_tokens", "max_tokens")


class Chat:
    """Builds chat completions. `token_cap` is the name this provider knows the token cap by.

    `stream_usage` says that it may be asked for the usage of a stream. `names` are parameters that go by another name
    there; the ready body of a batch line is sent as given all the same.
    """

    name = "chat"
    params = PARAMS

    def __init__(
        self,
        options: Options,
        *,
        path: str = PATH,
        token_cap: str = TOKEN_CAPS[0],
        stream_usage: bool = True,
        names: Mapping[str, str] = NO_NAMES,
    ) -> None:
        self._options = options._replace(
            defaults=renamed(options.defaults, names), overrides=renamed(options.overrides, names)
        )
        self._names = names
        self._routes = Routes(path, self.name)
        self._stream_usage = stream_usage
        self._token_caps = (token_cap, *(name for name in TOKEN_CAPS if name != token_cap))

    def pack(self, waiting: Sequence[Job]) -> int:
        """Return 1: a chat request serves one record."""
        return 1

    def item(self, prompt: Prompt) -> tuple[Route, dict[str, Any]]:
        """Build the body of one record. Raises RecordError for what chat has no place for."""
        if prompt.body is not None:
            body = dict(prompt.body)
            messages = body.get("messages")
            if not isinstance(messages, list) or not messages:
                raise RecordError("the body has no messages")
        elif prompt.messages is not None:
            messages = prompt.messages
            body = {"model": None, "messages": messages}
        elif prompt.text is not None:
            messages = [{"role": "user", "content": prompt.text}]
            body = {"model": None, "messages": messages}
        else:
            raise RecordError(
                "'input' has no place in a chat request",
                hint="Send it with --endpoint responses or --endpoint embeddings.",
            )
        if prompt.system is not None and not any(
            isinstance(m, dict) and m.get("role") in ("system", "developer") for m in messages
        ):
            body["messages"] = [{"role": "system", "content": prompt.system}, *messages]
        if self._names:
            prompt = replace(prompt, params=renamed(prompt.params, self._names))
        complete(body, prompt, self._options, self._token_caps)
        return self._routes[body["model"]], body

    def request(self, jobs: Sequence[Job]) -> Request:
        """Build the request of one job."""
        (job,) = jobs
        body = streamed(job.item, usage=self._stream_usage) if self._options.stream else job.item
        return Request((job,), job.route.path, json.dumps(body), alone(self.name, job.keep_body))


def read(expected: Expected, reply: Reply) -> Verdicts:
    """Read an answer: a completion, or a fault for an error in whatever shape."""
    return (read_answer(reply, _verdict, fold, keep_body=expected.keeps[0]),)


def _verdict(body: Any, reply: Reply) -> Completion | Fault:
    if has_error(body):
        return embedded_error(body, reply)
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices:
        return unparsable(reply, "the answer has no choices")
    first = choices[0]
    if has_error(first):
        return embedded_error(first, reply)
    message, finish, took = first["message"], first.get("finish_reason"), body.get("usage")
    if finish in ("error", "abort"):
        return gave_up(reply, finish, usage(took), own_cost(took))
    # In their order: naming them takes as long again.
    completion = Completion(
        _text(message.get("content")), None, body.get("model"), usage(took), own_cost(took), request_id(reply)
    )
    note_finish(completion, finish)
    extra = completion.extra
    if len(choices) > 1:
        extra["choices"] = [
            {
                "index": choice.get("index", place),
                "text": _text(choice["message"].get("content")),
                "finish_reason": normalised(choice.get("finish_reason")),
            }
            for place, choice in enumerate(choices)
        ]
    if message.get("tool_calls"):
        extra["tool_calls"] = message["tool_calls"]
    if message.get("refusal"):
        extra["refusal"] = message["refusal"]
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if reasoning:
        extra["reasoning"] = reasoning
    return completion


def usage(raw: Any) -> Usage | None:
    """Normalise chat usage; what is missing or not a count stays None."""
    if not isinstance(raw, dict):
        return None
    cached, written, reasoning = raw.get("prompt_cache_hit_tokens"), None, None
    prompt, output = raw.get("prompt_tokens_details"), raw.get("completion_tokens_details")
    if isinstance(prompt, dict):
        cached, written = prompt.get("cached_tokens", cached), prompt.get("cache_write_tokens")
    if isinstance(output, dict):
        reasoning = output.get("reasoning_tokens")
    return Usage(
        count(raw.get("prompt_tokens")),
        count(raw.get("completion_tokens")),
        count(cached),
        count(written),
        count(reasoning),
    )


def _text(content: Any) -> str | None:
    """Join an answer that comes in parts."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise TypeError(f"content is neither text nor parts but {type(content).__name__}")
    return "".join(part["text"] for part in content if part.get("type") in ("text", "output_text", None))
