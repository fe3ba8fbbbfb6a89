"""OpenAI's embeddings, which most providers copied: many inputs in one request."""

import base64
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from llmbatch.codec import json
from llmbatch.codec.sse import CutStream
from llmbatch.core.exchange import Expected, Reply, Request, Verdicts
from llmbatch.core.fault import Fault
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.answers import alone, own_cost, read_answer, request_id, unparsable
from llmbatch.dialects.embedded_errors import embedded_error, has_error
from llmbatch.dialects.openai_chat_answers import usage, usage_in
from llmbatch.dialects.openai_messages import check_no_foreign_fields
from llmbatch.dialects.packing import count_sharing, packed, placed, read_packed
from llmbatch.dialects.providers import ENDPOINTS
from llmbatch.dialects.request_options import Options, Routes, complete
from llmbatch.dialects.stream_events import DONE, stream_events

__all__ = ["PARAMS", "PATH", "Embeddings", "read"]

PATH = ENDPOINTS["embeddings"].path

PARAMS = frozenset(
    [
        "dimensions",
        "encoding_format",
        "input_type",
        "model",
        "task_type",
        "truncate_prompt_tokens",
        "user",
    ]
)
"""Top-level fields of an API-shaped record that are sent rather than kept as meta."""


FOREIGN = frozenset(["max_completion_tokens", "max_tokens", "messages", "n", "stop", "temperature", "tools", "top_p"])
"""Parameters of endpoints that answer with text."""


class Embeddings:
    """Builds embeddings, of up to `pack` inputs at once.

    A record whose input is an array of texts is sent alone and gets a list of vectors.
    """

    name = "embeddings"
    params = PARAMS

    def __init__(self, options: Options, *, path: str = PATH, pack: int = 1) -> None:
        self._options = options
        self._routes = Routes(path, self.name)
        self._pack = pack

    def pack(self, waiting: Sequence[Job]) -> int:
        """Return how many inputs the next request may hold."""
        return count_sharing(waiting, "input", self._pack)

    def item(self, prompt: Prompt) -> tuple[Route, dict[str, Any]]:
        """Build the body of one record. Raises RecordError for what embeddings have no place for."""
        if prompt.body is not None:
            body = dict(prompt.body)
        elif prompt.messages is not None:
            raise RecordError("'messages' has no place in embeddings", hint="Send it with --endpoint chat.")
        else:
            body = {"model": None, "input": prompt.text if prompt.input is None else prompt.input}
        if prompt.system is not None:
            raise RecordError("a system prompt has no place in embeddings", hint="Put it into the --template.")
        for flag, value in (("--max-tokens", self._options.max_tokens), ("--stream", self._options.stream or None)):
            if value is not None:
                raise RecordError(f"{flag} has no place in embeddings", hint="Leave it out.")
        input = body.get("input")
        if input is None or input == []:
            raise RecordError("the body has no input")
        if input == "" or (isinstance(input, list) and "" in input):
            raise RecordError("the input holds an empty string, which has no embedding")
        complete(body, prompt, self._options, ())
        check_no_foreign_fields(body, FOREIGN, "embeddings")
        return self._routes[body["model"]], body

    def request(self, jobs: Sequence[Job]) -> Request:
        """Build the request of one job or several."""
        item = jobs[0].item
        input = item.get("input")
        if len(jobs) > 1:
            expected = packed(self.name, jobs, "input")
            item = {**item, "input": [job.item["input"] for job in jobs]}
        else:
            several = isinstance(input, list) and input and not isinstance(input[0], int)  # token numbers are one input
            expected = alone(self.name, jobs[0].keep_body, entries=0 if several else 1)
        return Request(tuple(jobs), jobs[0].route.path, json.dumps(item), expected)


def read(expected: Expected, reply: Reply) -> Verdicts:
    """Read an answer: for each job its vector, or a fault for an error of any shape."""
    if len(expected.keeps) > 1:
        return read_packed(expected, reply, _vector, _fold, field="data")
    verdict = _vector if expected.entries else _vectors
    return (read_answer(reply, verdict, _fold, keep_body=expected.keeps[0]),)


def _vector(body: Any, reply: Reply) -> Completion | Fault:
    return _completion(body, reply, several=False)


def _vectors(body: Any, reply: Reply) -> Completion | Fault:
    return _completion(body, reply, several=True)


def _completion(body: Any, reply: Reply, *, several: bool) -> Completion | Fault:
    if has_error(body):
        return embedded_error(body, reply)
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list) or not data:
        return unparsable(reply, "the answer has no data")
    if not several and len(data) > 1:
        return unparsable(reply, f"the answer has {len(data)} embeddings for one input")
    if several:
        data = [one for _, one in sorted((placed(data, len(data)) or dict(enumerate(data))).items())]
    vectors = [_floats(one["embedding"]) for one in data]
    return Completion(
        text=None,
        finish_reason=None,
        model=body.get("model"),
        usage=usage(body.get("usage") or usage_in(body)),
        cost=own_cost(body.get("usage")),
        request_id=request_id(reply),
        extra={"embedding": vectors if several else vectors[0]},
    )


def _floats(vector: Any) -> list[Any]:
    """Return a vector as numbers; in base64 it is little-endian float32. Raises ValueError, TypeError."""
    if isinstance(vector, list):
        return vector
    packed = array("f")
    packed.frombytes(base64.b64decode(vector, validate=True))
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tolist()


def _fold(stream: bytes) -> Any:
    """Return the answer that a gateway wrote as an event. Raises CutStream, ValueError."""
    values = [value for name, value in stream_events(stream) if name != DONE]
    if not values:
        raise CutStream("the stream ended in the middle")
    return values[-1]
