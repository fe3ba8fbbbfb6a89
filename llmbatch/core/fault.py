"""What can go wrong with a request: a value that is counted, retried or recorded, never raised."""

import re
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

from llmbatch.core.usage import Usage

__all__ = ["NOT_CHECKED", "Billing", "Fault", "Kind", "Scope"]


class Kind(StrEnum):
    """The name of a failure, as it stands in `error.kind` of a result line."""

    INVALID_RECORD = "invalid_record"
    DUPLICATE_ID = "duplicate_id"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    NO_CREDIT = "no_credit"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    BAD_REQUEST = "bad_request"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    TOO_LARGE = "too_large"
    SERVER_ERROR = "server_error"
    GATEWAY = "gateway"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    PROTOCOL = "protocol"
    UNPARSABLE = "unparsable"
    REDIRECT = "redirect"
    TLS = "tls"
    CONFIGURATION = "configuration"
    FINISH_REASON = "finish_reason"
    NOT_JSON = "not_json"
    SCHEMA = "schema"


NOT_CHECKED = "not_checked"
"""The code of an answer of which it is not known whether it fits the schema: no better one is asked for."""


class Billing(Enum):
    """Whether the provider may charge for an attempt that gave no answer; it bounds how often it is sent again."""

    UNBILLED = "unbilled"
    """It never reached the model, or is documented as free: sent again as often as `--retries` allows."""
    THROTTLED = "throttled"
    """Refused because of pace or overload: free, and costs the record no retry."""
    DOUBTFUL = "doubtful"
    """It may have been computed and charged: sent again once."""
    SERVER = "server"
    """A plain 500, seldom charged: sent again twice."""
    BILLED = "billed"
    """A paid answer that is not usable: sent again only if the user asked for that."""


class Scope(Enum):
    """Who else fails for the same reason."""

    CONTENT = "content"
    """This record alone, for what is in it: however many are refused so, others may be served."""
    RECORD = "record"
    """This record, as far as one can tell."""
    REQUEST = "request"
    """All records that share the request; with `split` they may succeed apart."""
    ROUTE = "route"
    """Every record for this model at this endpoint."""
    RUN = "run"
    """Everything: the key, the credit, the address."""


_LOADING = re.compile(
    r"\b(?:loading|warming up|starting up|not (?:yet )?ready|not (?:yet )?loaded|unloaded)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why an attempt brought no answer.

    `wait` is how long the server asked to wait, in seconds. `raw` is the body of a paid answer that could not be read;
    `answer` is the provider's own error body, kept for `--include response`. `cost` and `usage` are those that an
    unusable answer reported.
    """

    kind: Kind
    message: str
    scope: Scope = Scope.RECORD
    billing: Billing = Billing.UNBILLED
    retry: bool = False
    status: int | None = None
    code: str | None = None
    wait: float | None = None
    request_id: str | None = None
    split: bool = False
    capacity: bool = False
    """The service tier has no room at present, which says nothing of our pace."""
    raw: bytes | None = None
    answer: Any = None
    cost: float | None = None
    usage: Usage | None = None

    @classmethod
    def cut_off(cls, status: int) -> "Fault":
        """Return the fault of an answer whose connection ended before the answer did."""
        return cls(
            kind=Kind.PROTOCOL,
            message="the answer ended in the middle",
            billing=Billing.DOUBTFUL,
            retry=True,
            status=status,
        )

    @property
    def is_loading(self) -> bool:
        """Whether the server is there but not ready: a 503 that says so, or LM Studio's 400, while it loads a model."""
        return (
            self.kind is Kind.OVERLOADED
            and self.status in (400, 503)
            and _LOADING.search(f"{self.message} {self.code or ''}".replace("_", " ")) is not None
        )
