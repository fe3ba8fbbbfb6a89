"""The rows of a batch: reads the request of a line, answers it as the live call would, draws its fate. Pure."""

from collections.abc import Mapping
from hashlib import sha256
from random import Random
from typing import Any, NamedTuple

from llmbatch.codec import json
from llmbatch.mock.batch import Problem
from llmbatch.mock.dialect import Dialect, MalformedRequest, MockRequest, Turn
from llmbatch.mock.error_formats import OPENAI, Refusal
from llmbatch.mock.fault_markers import Fault
from llmbatch.mock.http_writer import BROKEN
from llmbatch.mock.provider import Provider, dialect_at, reply_to
from llmbatch.mock.reply import Reply
from llmbatch.mock.reply_faults import fault_text

__all__ = ["Answer", "BadLine", "Line", "Row", "answer", "drawn_fate", "read_row"]

_ROW_ERRORS = (429, 500, 503)


class BadLine(Exception):
    """A line for which the API refuses the whole batch."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.problem = Problem(code, message, param)


class Line(NamedTuple):
    """One line of a batch's input: whose row it is, and the live request it stands for."""

    custom_id: str
    path: str
    """Below the root of the API."""
    body: dict[str, Any]


class Row(NamedTuple):
    """A line that was read as the live API reads a request; `refusal` says why it would get no answer."""

    line: Line
    key: str
    dialect: Dialect | None
    asked: MockRequest | None
    refusal: Refusal | None
    script: list[Fault]

    @property
    def prompt(self) -> str:
        """What was asked, empty where that could not be read."""
        return self.asked.prompt if self.asked else ""

    @property
    def model(self) -> str | None:
        """The model that is asked."""
        return self.asked.model if self.asked else None

    @property
    def tokens(self) -> int:
        """The tokens that count as enqueued."""
        return self.asked.prompt_tokens if self.asked else 0


class Answer(NamedTuple):
    """What the live call would have answered; a status of None means that it would have got no answer."""

    status: int | None
    body: Any
    fault: str | None

    @property
    def billed(self) -> bool:
        """Whether a batch charges for the row."""
        return self.status == 200

    @property
    def usage(self) -> tuple[int, int]:
        """Return the input and output tokens that the body names."""
        found = (self.body.get("usage") or self.body.get("usageMetadata")) if isinstance(self.body, dict) else None
        if not isinstance(found, dict):
            return 0, 0
        names = ("prompt_tokens", "input_tokens", "promptTokenCount")
        output = ("completion_tokens", "output_tokens", "candidatesTokenCount")
        return sum(found.get(name) or 0 for name in names), sum(found.get(name) or 0 for name in output)


def read_row(provider: Provider, line: Line, headers: Mapping[str, str]) -> Row:
    """Read the request of a line; `headers` are the headers that came with the batch."""
    key = sha256(json.dumps(line.body)).hexdigest()
    found = dialect_at(line.path)
    if found is None:
        return Row(line, key, None, None, Refusal(404, f"Invalid URL (POST {line.path})", code="unknown_url"), [])
    dialect, fields = found
    sent_headers = {name: headers[name] for name in dialect.headers if name in headers}
    try:
        asked = dialect.read(line.body | fields | sent_headers)
    except MalformedRequest as error:
        return Row(line, key, dialect, None, Refusal(400, str(error), param=error.param), [])
    script = provider.script(asked)
    if isinstance(script, Refusal):
        return Row(line, key, dialect, asked, script, [])
    return Row(line, key, dialect, asked, None, script)


def answer(provider: Provider, row: Row, seed: str, *, serial: int, wall: float) -> Answer:
    """Answer a row as the live call would: equal seeds and bodies give equal text."""
    error_format = row.dialect.error_format if row.dialect else OPENAI
    if row.refusal is not None or row.dialect is None or row.asked is None:
        refusal = row.refusal or Refusal(400, "The request could not be read.")
        return Answer(refusal.status, _value(error_format.refuse(refusal)), None)
    script = [fault for fault in row.script if fault.name != "batch"]
    fault = provider.fault(script, row.prompt, f"{seed}:{row.key}")
    if fault is not None and fault.name in BROKEN:
        return Answer(None, None, fault.name)
    asked = row.asked
    turn = Turn(asked, f"{seed}:{row.key}", serial, int(wall), fault, fault_text(fault, asked.prompt))
    reply = reply_to(row.dialect, turn)
    return Answer(reply.status, _value(reply), fault and fault.name)


def drawn_fate(shares: tuple[float, float, float], draw: str) -> str | int | None:
    """Draw what becomes of a row: `expire`, `missing`, the status of an error (a share each), or None for an answer."""
    if not any(shares):
        return None
    random = Random(draw)
    at = random.random()
    fates: tuple[str | int, ...] = ("expire", "missing", random.choice(_ROW_ERRORS))
    for fate, share in zip(fates, shares, strict=True):
        if at < share:
            return fate
        at -= share
    return None


def _value(reply: Reply) -> Any:
    """Return the body as a value; one that is no JSON as text."""
    content = reply.content
    try:
        return json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace")
