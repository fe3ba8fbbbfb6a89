"""OpenAI's legacy completions, which self-hosted servers still have; several prompts may share a request."""

from collections.abc import Sequence
from typing import Any

from llmbatch.codec import json
from llmbatch.core.exchange import Expected, Reply, Request, Verdicts
from llmbatch.core.fault import Fault
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.answers import alone, read_answer
from llmbatch.dialects.openai_chat_answers import Choice, chat_choice, read_choices
from llmbatch.dialects.openai_stream import fold_completion, streamed
from llmbatch.dialects.packing import count_sharing, packed, read_packed
from llmbatch.dialects.providers import ENDPOINTS
from llmbatch.dialects.request_options import Options, Routes, complete

__all__ = ["PARAMS", "PATH", "Completions", "read"]

PATH = ENDPOINTS["completions"].path

PARAMS = frozenset(
    [
        "best_of",
        "echo",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_tokens",
        "min_p",
        "model",
        "n",
        "presence_penalty",
        "repetition_penalty",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "suffix",
        "temperature",
        "top_k",
        "top_p",
        "user",
    ]
)
"""Top-level fields of an API-shaped record that are sent rather than kept as meta."""


MOST_CHOICES = 128


class Completions:
    """Builds completions, of up to `pack` prompts at once."""

    name = "completions"
    params = PARAMS

    def __init__(self, options: Options, *, path: str = PATH, pack: int = 1, stream_usage: bool = True) -> None:
        self._options = options
        self._stream_usage = stream_usage
        self._routes = Routes(path, self.name)
        self._pack = pack

    def pack(self, waiting: Sequence[Job]) -> int:
        """Return how many prompts the next request may hold: one if `n`, which tells answers apart, is invalid."""
        each = waiting[0].item.get("n")
        if each is not None and not (type(each) is int and 1 <= each <= MOST_CHOICES):
            return 1
        return count_sharing(waiting, "prompt", self._pack)

    def item(self, prompt: Prompt) -> tuple[Route, dict[str, Any]]:
        """Build the body of one record. Raises RecordError for what a completion has no place for."""
        if prompt.body is not None:
            body = dict(prompt.body)
            if body.get("prompt") in (None, "", []):
                raise RecordError("the body has no prompt")
        elif prompt.text is not None:
            body = {"model": None, "prompt": prompt.text}
        elif prompt.messages is not None:
            raise RecordError("'messages' has no place in a completion", hint="Send it with --endpoint chat.")
        else:
            raise RecordError(
                "'input' has no place in a completion",
                hint="Send it with --endpoint responses or --endpoint embeddings.",
            )
        if prompt.system is not None:
            raise RecordError("a system prompt has no place in a completion", hint="Put it into the --template.")
        complete(body, prompt, self._options, ("max_tokens",))
        return self._routes[body["model"]], body

    def request(self, jobs: Sequence[Job]) -> Request:
        """Build the request of one job or several."""
        item = jobs[0].item
        if len(jobs) > 1:
            expected = packed(self.name, jobs, "prompt", entries=item.get("n") or 1)
            item = {**item, "prompt": [job.item["prompt"] for job in jobs]}
        else:
            expected = alone(self.name, jobs[0].keep_body)
        if self._options.stream:
            item = streamed(item, usage=self._stream_usage)
        return Request(tuple(jobs), jobs[0].route.path, json.dumps(item), expected)


def read(expected: Expected, reply: Reply) -> Verdicts:
    """Read an answer: for each job its completion, or a fault for an error of any shape."""
    if len(expected.keeps) > 1:
        return read_packed(expected, reply, _verdict, fold_completion, field="choices")
    return (read_answer(reply, _verdict, fold_completion, keep_body=expected.keeps[0]),)


def _verdict(body: Any, reply: Reply) -> Completion | Fault:
    return read_choices(body, reply, _choice)


def _choice(choice: dict[str, Any]) -> Choice:
    """Read one choice; one with a finish reason may lack a text. Raises TypeError, LookupError."""
    if choice.get("text") is None:
        return chat_choice(choice)  # of a server that answers as in a chat
    text, finish, logprobs = choice["text"], choice.get("finish_reason"), choice.get("logprobs")
    if not isinstance(text, str):
        raise TypeError(f"the text is {type(text).__name__}")
    return text, finish, {"logprobs": logprobs} if logprobs else {}
