"""The provider: decides about one request at a time, without I/O, and keeps the counters that real providers keep."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import ceil, isinf
from random import Random
from typing import Any, NamedTuple
from urllib.parse import unquote

from llmbatch.codec import json
from llmbatch.mock.anthropic import MESSAGES
from llmbatch.mock.dialect import Dialect, MalformedRequest, MockRequest, Turn
from llmbatch.mock.error_formats import OPENAI, ErrorFormat, Refusal
from llmbatch.mock.event_streams import STREAM_FAULTS
from llmbatch.mock.fault_markers import RANDOM, BadMarker, Fault, due, markers
from llmbatch.mock.gemini import GEMINI
from llmbatch.mock.latency import Latency
from llmbatch.mock.limits import MockLimits, Shortage
from llmbatch.mock.openai_chat import CHAT
from llmbatch.mock.openai_completions import COMPLETIONS
from llmbatch.mock.openai_embeddings import EMBEDDINGS
from llmbatch.mock.openai_responses import RESPONSES
from llmbatch.mock.random_refusals import drawn
from llmbatch.mock.reply import Reply
from llmbatch.mock.reply_faults import UNSTREAMED, apply_fault, fault_text
from llmbatch.mock.settings import MockSettings

__all__ = ["DIALECTS", "Arrival", "Provider", "Verdict", "below_root", "dialect_at", "is_billed", "reply_to"]

_DEPLOYMENT = r"(/openai/deployments/(?P<model>[^/]+))?"

DIALECTS: dict[str, Dialect] = {
    rf"{_DEPLOYMENT}/chat/completions": CHAT,
    rf"{_DEPLOYMENT}/completions": COMPLETIONS,
    rf"{_DEPLOYMENT}/embeddings": EMBEDDINGS,
    r"(/openai)?/responses": RESPONSES,
    r"/messages": MESSAGES,
    r"/models/(?P<model>[^/:]+):(?P<method>generateContent|streamGenerateContent)": GEMINI,
}
"""The dialect for each path below `/v1`, `/v1beta` or `/openai/v1`; each pattern matches the whole path.

The named groups of a pattern become fields of the request body and replace fields of the same name.
"""

_ROOTS = re.compile(r"/v1beta(?=/)|(/openai|/together|/xai)?/v1(?=/)")
_CREDENTIALS = (b"x-api-key", b"api-key", b"x-goog-api-key")

_MODELS = ("mock-1", "mock-mini")
_BILLED_ERRORS = (500, 502, 504)


class Arrival(NamedTuple):
    """A request that has arrived completely; `key` is the SHA-256 of its body in hexadecimal."""

    serial: int
    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes
    key: str
    in_flight: int


class Verdict(NamedTuple):
    """The decision about a request: the reply, `delay` seconds later, broken on the wire if the fault says so."""

    reply: Reply
    delay: float = 0.0
    fault: Fault | None = None
    prompt: str = ""
    headers: Sequence[tuple[bytes, bytes]] = ()
    request_id: bytes | None = b"x-request-id"
    silent_close: bool = False
    """Whether the connection is silently lost after the reply."""


def is_billed(status: int | None) -> bool:
    """Tell whether a provider would charge for an answer; a complete request without an answer (None) is charged."""
    return status is None or 200 <= status < 300 or status in _BILLED_ERRORS


class Provider:
    """Decides on requests, in the order they arrive."""

    def __init__(self, settings: MockSettings, *, now: float = 0.0) -> None:
        self._settings = settings
        self._ready = now + settings.loading
        self._limits = MockLimits(rpm=settings.rpm, tpm=settings.tpm, window=settings.window, burst=settings.burst)
        self._latency = Latency(settings)
        self._attempts: Counter[str] = Counter()

    def decide(self, arrival: Arrival, *, now: float, wall: float) -> Verdict:
        """Return the verdict on a request that arrived `now` (monotonic seconds), at `wall`."""
        path = below_root(arrival.path.partition("?")[0])
        if arrival.method == "GET" and path == "/health":
            return Verdict(Reply(200, b'{"status":"ok"}'))
        found = dialect_at(path) if arrival.method == "POST" else None
        error_format = found[0].error_format if found else OPENAI
        if refusal := self.check_key(arrival.headers):
            return _refused(refusal, error_format)
        if arrival.method == "GET" and path in ("/models", "/openai/models"):
            return Verdict(_models())
        if found is None:
            message = f"Invalid URL ({arrival.method} {arrival.path})"
            return _refused(Refusal(404, message, code="unknown_url"), error_format)
        try:
            dialect, fields = found
            wanted = ((name, arrival.headers.get(name.encode())) for name in dialect.headers)
            headers = {name: value.decode("latin-1") for name, value in wanted if value is not None}
            asked = dialect.read(_body(arrival.body) | fields | headers)
        except MalformedRequest as error:
            return _refused(Refusal(400, str(error), param=error.param), error_format)
        verdict = self._answer(dialect, asked, arrival, now=now, wall=wall)
        if verdict.reply.status != 200:
            verdict = verdict._replace(delay=max(verdict.delay, self._settings.refusal_latency))
        levels = error_format.limits(self._limits.levels(now), wall) if self._settings.announce else []
        return verdict._replace(prompt=asked.prompt[:200], headers=levels, request_id=error_format.request_id)

    def _answer(self, dialect: Dialect, asked: MockRequest, arrival: Arrival, *, now: float, wall: float) -> Verdict:
        settings, error_format = self._settings, dialect.error_format
        script = self.script(asked)
        if isinstance(script, Refusal):
            return _refused(script, error_format)
        if now < self._ready:
            return _refused(Refusal(503, "Loading model", type="unavailable_error"), error_format)
        seed = f"{settings.seed}:{arrival.key}"
        if random := self.random_refusal(seed):
            return _refused(random, error_format)
        if settings.concurrency_limit is not None and arrival.in_flight > settings.concurrency_limit:
            shortage = Shortage("requests", settings.concurrency_limit, 1.0)
            return self._too_many(shortage, "concurrent requests", error_format)
        if short := self._limits.admit(asked.weight, now):
            return self._too_many(short, f"{short.bucket} per min", error_format)
        fault = self.fault([fault for fault in script if fault.name != "batch"], asked.prompt, seed)
        turn = Turn(asked, seed, arrival.serial, int(wall), fault, fault_text(fault, asked.prompt))
        delay = self._latency.delay(now, seed) + (fault.after if fault else 0.0)
        reply = reply_to(dialect, turn)
        silent = reply.pieces is not None and Random(f"{seed}:close:{arrival.serial}").random() < settings.silent_close
        return Verdict(reply, delay, fault, silent_close=silent)

    def _too_many(self, shortage: Shortage, what: str, error_format: ErrorFormat) -> Verdict:
        refusal = _too_many(shortage, what)
        if not self._settings.announce:
            refusal = refusal._replace(message=f"Rate limit reached on {what}.", wait="", wait_ms="")
        return _refused(refusal, error_format)

    def script(self, asked: MockRequest) -> list[Fault] | Refusal:
        """Return the faults that a prompt orders, or a refusal that does not depend on the load."""
        if asked.model == "missing-model":
            return Refusal(404, f"The model `{asked.model}` does not exist or you do not have access to it.")
        try:
            return markers(asked.prompt)
        except BadMarker as error:
            return Refusal(400, str(error), param="messages", code="bad_mock_marker")

    def random_refusal(self, seed: str) -> Refusal | None:
        """Draw whether this attempt is refused, the same for the same attempt at equal requests."""
        refusals = self._settings.random_refusals
        if not refusals:
            return None
        random = drawn(refusals, Random(f"{seed}:refusal:{self.count(f'{seed}:refusal')}").random())
        if random is None:
            return None
        message = f"The mock refuses {random.share:.0%} of all requests at random."
        return Refusal(random.status, message, wait=random.retry_after)

    def fault(self, script: list[Fault], prompt: str, seed: str) -> Fault | None:
        """Return the fault that is due; attempts are counted only where they matter."""
        if script:
            return due(script, self.count(prompt) if any(fault.times for fault in script) else 0)
        if not self._settings.fault_rate:
            return None
        rng = Random(f"{seed}:fault:{self.count(seed)}")
        return rng.choice(RANDOM) if rng.random() < self._settings.fault_rate else None

    def count(self, what: str) -> int:
        """Return how often this was asked before."""
        key = self.digest(what)
        self._attempts[key] += 1
        return self._attempts[key] - 1

    @staticmethod
    def digest(what: str) -> str:
        """Return the name under which attempts are counted."""
        return blake2b(what.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()

    def remember(self, attempts: Mapping[str, int]) -> None:
        """Count what was asked before this provider was started."""
        self._attempts.update(attempts)

    def check_key(self, headers: Mapping[bytes, bytes]) -> Refusal | None:
        """Return the refusal for a caller without the right key."""
        if self._settings.api_key is None:
            return None
        scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        key = key if scheme.lower() == "bearer" else ""
        key = next((headers[name].decode("latin-1") for name in _CREDENTIALS if name in headers), key)
        if not key:
            return Refusal(401, "You didn't provide an API key in an Authorization header using Bearer auth.")
        if key == self._settings.api_key:
            return None
        return Refusal(401, f"Incorrect API key provided: {key[:3]}***.")


def below_root(path: str) -> str:
    """Return a path without its root, as `/chat/completions` of `/v1/chat/completions`."""
    return _ROOTS.sub("", path, count=1) if _ROOTS.match(path) else path


@lru_cache(maxsize=256)
def dialect_at(path: str) -> tuple[Dialect, dict[str, str]] | None:
    """Find the dialect of a path, and the fields that the path holds."""
    for pattern, dialect in DIALECTS.items():
        if match := re.fullmatch(pattern, path):
            return dialect, {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
    return None


def _refused(refusal: Refusal, error_format: ErrorFormat) -> Verdict:
    return Verdict(error_format.refuse(refusal), request_id=error_format.request_id)


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise MalformedRequest(f"We could not parse the JSON body of your request. ({error})") from error
    if not isinstance(body, dict):
        raise MalformedRequest("The JSON body of your request must be an object.")
    return body


def reply_to(dialect: Dialect, turn: Turn) -> Reply:
    """Answer a request, with the fault that is due if it is one of the answer's text or shape."""
    answered = dialect.answer(turn)
    name = turn.fault.name if turn.fault else None
    if (turn.asked.stream or name in STREAM_FAULTS) and name not in UNSTREAMED and dialect.stream is not None:
        reply = Reply(200, b"", b"text/event-stream; charset=utf-8", pieces=dialect.stream(answered, turn))
    else:
        reply = Reply(200, json.dumps(answered))
    return apply_fault(reply, turn.fault, dialect.error_format) if turn.fault else reply


def _models() -> Reply:
    listed = [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "llmbatch"} for name in _MODELS]
    return Reply(200, json.dumps({"object": "list", "data": listed}))


def _too_many(shortage: Shortage, what: str) -> Refusal:
    """Refuse for pace; a request that is too large for the bucket gets no time to wait."""
    if isinf(shortage.wait):
        message = f"Request too large on {what}: Limit {shortage.limit}. It must be reduced in order to run."
        return Refusal(429, message, shortage.bucket)
    milliseconds = ceil(shortage.wait * 1000)
    message = f"Rate limit reached on {what}: Limit {shortage.limit}. Please try again in {milliseconds / 1000:g}s."
    seconds = max(1, ceil(shortage.wait))
    return Refusal(429, message, shortage.bucket, wait=str(seconds), wait_ms=str(milliseconds))
