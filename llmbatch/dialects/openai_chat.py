"""Builds chat completions, OpenAI's API that most providers copied."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmbatch.codec import json
from llmbatch.core.exchange import Request
from llmbatch.core.job import Job, Route
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.answers import alone
from llmbatch.dialects.openai_stream import streamed
from llmbatch.dialects.providers import ENDPOINTS
from llmbatch.dialects.request_options import Options, Routes, complete, renamed

__all__ = ["PARAMS", "PATH", "TOKEN_CAPS", "Chat"]

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
    """Builds chat completions. `token_cap` is this provider's name of the token cap.

    `stream_usage` says that it may be asked for the usage of a stream. `names` are parameters with another name there;
    the ready body of a batch line is sent unchanged.
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
        self._options = options.renamed(names)
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
