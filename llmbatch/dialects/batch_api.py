"""Reads what the batch APIs of all providers have in common: limits, replies, times, bodies. Pure."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, runtime_checkable

from llmbatch.codec import json
from llmbatch.core.errand import Errand, Talk
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.job import Route
from llmbatch.core.ticket import Proof, Row, Sighting, Status, Ticket
from llmbatch.dialects.error_rules import classify
from llmbatch.dialects.errors import api_error

__all__ = [
    "BatchApi",
    "BatchLimits",
    "Created",
    "Frame",
    "InPages",
    "Page",
    "Uploaded",
    "count",
    "date_of",
    "fault_of",
    "identifier",
    "is_json",
    "parsed",
    "read_row",
    "refused_create",
    "wall",
    "without_queries",
    "words_of",
]

MB = 1_000_000
_BEGINNING = 4096
_QUERY = re.compile(r"""(https?:[^\s"'<>?]+)\?[^\s"'<>]*""")


class BatchLimits(NamedTuple):
    """What a batch may hold at most, for how many seconds it may run, and how long its rows are kept.

    `inputs` are the texts that embeddings may hold in all requests of a batch.

    `discount` is the factor on the live price where no price list knows better, None where that is not known.
    `windows` are those that may be asked for; empty where one cannot choose.
    """

    records: int = 50_000
    inputs: float = math.inf
    bytes: int = 200 * MB
    line: int = 16 * MB
    windows: tuple[float, ...] = (86400.0,)
    kept: float | None = 30 * 86400.0
    discount: float | None = None
    one_model: bool = True
    first_live: bool = True


class Frame(NamedTuple):
    """What stands before, between and after the lines of a file. Only whole lines stand before."""

    before: bytes = b""
    between: bytes = b""
    after: bytes = b""


class Uploaded(NamedTuple):
    """The provider's name for a file, and the second by its clock."""

    file: str | None
    date: float | None = None


class Page(NamedTuple):
    """Some rows of a batch, each on a line of its own, and the name of the next page; None after the last one."""

    rows: bytes
    following: str | None


class Created(NamedTuple):
    """A batch that is there."""

    batch: str
    created_at: float
    status: Status


class BatchApi(Protocol):
    """One provider's batch API. Pure: it builds errands and reads replies."""

    limits: BatchLimits
    proof: Proof

    def refuses(self, route: Route) -> str | None:
        """Return why records of a route cannot go into a batch here; None when they can."""
        ...

    @property
    def frame(self) -> Frame:
        """What stands around the lines."""
        ...

    def line(self, body: bytes, path: str, custom_id: str) -> bytes:
        """Return the line of a record."""
        ...

    def body(self, line: bytes, model: str) -> dict[str, Any]:
        """Return the body of a line again, asked of a model. Raises ValueError, LookupError, TypeError."""
        ...

    def upload(self, ticket: Ticket, path: str) -> Talk[Uploaded | Fault]:
        """Upload the file at `path`; there is no call where the lines travel in the create call."""
        ...

    def create(self, ticket: Ticket, path: str) -> Errand:
        """Return the one call that makes the batch."""
        ...

    def created(self, reply: Reply) -> Created | Fault | None:
        """Read the answer to it: a batch, a refusal after which there is none, or None when nobody knows."""
        ...

    def look(self, ticket: Ticket, since: float) -> Talk[list[Sighting] | Fault]:
        """Look for the batch of a ticket among those created since then, by the provider's clock."""
        ...

    def poll(self, ticket: Ticket) -> Errand:
        """Ask how the batch is."""
        ...

    def status(self, reply: Reply) -> Status | Fault:
        """Read the answer to that."""
        ...

    def output(self, ticket: Ticket, name: str) -> Errand:
        """Fetch one of the outputs that a status named."""
        ...

    def row(self, line: bytes) -> Row | None:
        """Read one line of an output; None, or a ValueError, for one that cannot be read (see `read_row`)."""
        ...

    def cancel(self, ticket: Ticket) -> Errand:
        """Ask the provider to cancel the batch."""
        ...

    def tidy(self, ticket: Ticket) -> Errand | None:
        """Remove the uploaded file, where there is one."""
        ...


@runtime_checkable
class InPages(Protocol):
    """What a batch API has beside the rest whose rows come in pages: `output` asks for one by its name."""

    def page(self, reply: Reply) -> Page | Fault:
        """Read a page."""
        ...


_NOT_CREATED = frozenset(
    {301, 307, 308, 400, 401, 402, 403, 404, 405, 407, 410, 411, 413, 414, 415, 417, 422, 425, 429, 431, 451, 498, 511}
)
"""Statuses of a create call after which there is no batch. After a 302 or 303 nobody knows: it may follow on one."""
_OVERLOADED = frozenset({503, 529})
"""Statuses after which there is none if the provider itself says so; a gateway before it does not know."""


def refused_create(reply: Reply) -> Fault | None:
    """Return the refusal of a create call after which there is no batch; None when nobody knows whether there is."""
    if reply.status in _NOT_CREATED or (reply.status in _OVERLOADED and _is_own_error(reply.body)):
        return refusal(reply)
    return None


def _is_own_error(body: bytes) -> bool:
    """Say whether an error body is a provider's and not a gateway's: an object that holds an error object."""
    try:
        fields = json.loads(body)
    except ValueError:
        return False
    return isinstance(fields, dict) and isinstance(fields.get("error"), dict)


_OWN_ID = re.compile(rb'"(?:custom_id|key|batch_request_id)"\s*:\s*"([a-z0-9]{16}-[0-9]{1,9})"')
"""An id as we make them. It is not one inside a text, where its quotes would be escaped."""


def read_row(api: BatchApi, line: bytes) -> Row | None:
    """Read one line of an output; None for one that tells nothing of whose it is.

    Strict JSON refuses more than providers send: lone surrogates, NaN, nesting without end. Such a row was paid for, so
    its record must not be sent again: it is found by the id, and the row becomes a fault that keeps the line.
    """
    try:
        row = api.row(line)
    except ValueError:
        row = None
    if row is not None and row.id is not None:
        return row
    ids = set(_OWN_ID.findall(line))
    if len(ids) != 1:
        return None
    if row is not None:
        return row._replace(id=ids.pop().decode())
    fault = Fault(
        kind=Kind.UNPARSABLE, message="the row of the batch cannot be read", billing=Billing.BILLED, raw=line.rstrip()
    )
    return Row(ids.pop().decode(), fault=fault)


def refusal(reply: Reply) -> Fault:
    """Read an error answer."""
    return classify(api_error(reply)[0], reply.headers)


def fault_of(reply: Reply, what: str) -> Fault:
    """Return the fault of an answer that is no good: an error, or something else than was asked for."""
    if not 200 <= reply.status < 300:
        return refusal(reply)
    message = f"{what} is not in the answer: {words_of(reply)}"
    return Fault(kind=Kind.UNPARSABLE, message=message, status=reply.status, retry=not is_json(reply))


def words_of(reply: Reply) -> str:
    """Return the beginning of an answer for people: of a page its title, of addresses no query, which may be a key."""
    if not is_json(reply):
        return api_error(reply)[0].message
    return without_queries(reply.body)[:200]


def without_queries(content: bytes) -> str:
    """Return the beginning of a text for people: a query of an address in it may be a key."""
    return _QUERY.sub(r"\1?...", content[:_BEGINNING].decode("utf-8", "replace"))


def is_json(reply: Reply) -> bool:
    """Say whether an answer is JSON. What is none may come from a proxy, and pass."""
    try:
        json.loads(reply.body)
    except ValueError:
        return False
    return True


def parsed(reply: Reply) -> dict[str, Any]:
    """Return the object in a good answer, an empty one for anything else."""
    if not 200 <= reply.status < 300:
        return {}
    try:
        value = json.loads(reply.body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def wall(value: Any) -> float:
    """Read a time: seconds or milliseconds since 1970, as number or text, or ISO 8601; 0 for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            try:
                return datetime.fromisoformat(value).timestamp()
            except ValueError:
                return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return 0.0
    return value / 1000.0 if value > 1e11 else float(value)


def date_of(headers: Mapping[str, str]) -> float | None:
    """Return the second that a server says it is."""
    from email.utils import parsedate_to_datetime  # slow to import

    try:
        return parsedate_to_datetime(headers["date"]).replace(tzinfo=UTC).timestamp()
    except (LookupError, ValueError, TypeError):
        return None


def count(value: Any) -> int | None:
    """Read a count, also one that is text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value)
    return value if type(value) is int and value >= 0 else None


def identifier(fields: Mapping[str, Any], name: str = "id") -> str | None:
    """Return a field that names something, also where the name is a number."""
    value = fields.get(name)
    return str(value) if type(value) is int else text(fields, name)


def text(fields: Mapping[str, Any], name: str) -> str | None:
    """Return a field that is a text with something in it."""
    value = fields.get(name)
    return value if isinstance(value, str) and value else None
