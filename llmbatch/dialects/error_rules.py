"""What an error answer means: the decision table, as data. First match wins.

Sources: the providers' error pages and SDKs for what an error is; for what is charged, public billing ledgers that
found 503s free and gateway time-outs paid for.
"""

from collections.abc import Mapping
from typing import NamedTuple

from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.dialects.response_headers import retry_after, wait_in_text

__all__ = ["RULES", "ApiError", "Rule", "classify"]


class ApiError(NamedTuple):
    """An error answer with its many shapes ironed out. `wait` is what the body asked for, in seconds."""

    status: int
    message: str
    code: str | None = None
    type: str | None = None
    wait: float | None = None
    per_day: bool = False


class Rule(NamedTuple):
    """A row of the table: it applies when every condition given holds. `retry` None leaves the default, no."""

    kind: Kind
    statuses: frozenset[int] | None = None
    codes: frozenset[str] | None = None
    phrases: tuple[str, ...] | None = None
    waits: bool = False
    per_day: bool = False
    billing: Billing = Billing.UNBILLED
    scope: Scope = Scope.RECORD
    retry: bool = False

    def applies(self, error: ApiError, wait: float | None) -> bool:
        """Say whether this row describes the error."""
        if self.statuses is not None and error.status not in self.statuses:
            return False
        if self.codes is not None and error.code not in self.codes and error.type not in self.codes:
            return False
        if self.phrases is not None:
            message = error.message.lower()
            if not any(phrase in message for phrase in self.phrases):
                return False
        return not (self.waits and wait is None) and not (self.per_day and not error.per_day)


def _of(*statuses: int | range) -> frozenset[int]:
    return frozenset(s for item in statuses for s in (item if isinstance(item, range) else (item,)))


RULES: tuple[Rule, ...] = (
    Rule(
        codes=frozenset(
            {
                "insufficient_quota",
                "credit_balance_exhausted",
                "organization_spend_limit_exceeded",
                "project_spend_limit_exceeded",
                "organization_usage_limit_exceeded",
                "billing_hard_limit_reached",
                "enforced_spend_limit_reached",
                "contract_spend_limit_reached",
                "billing_error",
                "billing_not_active",
                "payment_required",
            }
        ),
        kind=Kind.NO_CREDIT,
        scope=Scope.RUN,
    ),
    Rule(statuses=_of(402), waits=True, kind=Kind.RATE_LIMITED, billing=Billing.THROTTLED, retry=True),
    Rule(statuses=_of(402, 412), kind=Kind.NO_CREDIT, scope=Scope.RUN),
    Rule(
        statuses=_of(400, 403, 429),
        phrases=(
            "available credits",
            "monthly spending limit",
            "credit balance is too low",
            "reached your specified api usage limits",
            "reached your specified workspace api usage limits",
        ),
        kind=Kind.NO_CREDIT,
        scope=Scope.RUN,
    ),
    Rule(
        codes=frozenset({"invalid_api_key", "authentication_error", "api_key_invalid", "authentication"}),
        kind=Kind.UNAUTHORIZED,
        scope=Scope.RUN,
    ),
    Rule(statuses=_of(401), kind=Kind.UNAUTHORIZED, scope=Scope.RUN),
    Rule(statuses=_of(400), codes=frozenset({"failed_precondition"}), kind=Kind.FORBIDDEN, scope=Scope.RUN),
    Rule(statuses=_of(429), phrases=("required for long context requests",), kind=Kind.CONTEXT_LENGTH),
    Rule(
        statuses=_of(range(400, 429), range(430, 500), 200, 500),
        codes=frozenset({"context_length_exceeded", "exceed_context_size_error", "token_limit_exceeded"}),
        kind=Kind.CONTEXT_LENGTH,
    ),
    Rule(
        statuses=_of(range(400, 429), range(430, 500), 200, 500),
        phrases=(
            "maximum context length is",
            "model's context length",
            "exceeds the available context size",
            "exceed context limit",
            "prompt is too long",
            "exceeds the maximum number of tokens allowed",
            "maximum input length",
        ),
        kind=Kind.CONTEXT_LENGTH,
    ),
    Rule(
        codes=frozenset({"content_filter", "content_policy_violation", "responsibleaipolicyviolation"}),
        kind=Kind.CONTENT_FILTER,
    ),
    Rule(statuses=_of(429), per_day=True, kind=Kind.RATE_LIMITED, scope=Scope.ROUTE),
    Rule(statuses=_of(429), kind=Kind.RATE_LIMITED, billing=Billing.THROTTLED, scope=Scope.ROUTE, retry=True),
    Rule(
        statuses=_of(498, 503, 529),
        kind=Kind.OVERLOADED,
        billing=Billing.THROTTLED,
        scope=Scope.ROUTE,
        retry=True,
    ),
    Rule(statuses=_of(403), kind=Kind.FORBIDDEN, scope=Scope.ROUTE),
    Rule(statuses=_of(404), kind=Kind.NOT_FOUND, scope=Scope.ROUTE),
    Rule(statuses=_of(405, 501), kind=Kind.CONFIGURATION, scope=Scope.RUN),
    Rule(statuses=_of(408), kind=Kind.TIMEOUT, billing=Billing.DOUBTFUL, retry=True),
    Rule(statuses=_of(409, 425), kind=Kind.SERVER_ERROR, retry=True),
    Rule(statuses=_of(413, 414, 431), kind=Kind.TOO_LARGE),
    Rule(statuses=_of(500), kind=Kind.SERVER_ERROR, billing=Billing.SERVER, retry=True),
    Rule(statuses=_of(502, 504, range(520, 528), 530), kind=Kind.GATEWAY, billing=Billing.DOUBTFUL, retry=True),
    Rule(statuses=_of(range(500, 600)), kind=Kind.SERVER_ERROR, billing=Billing.SERVER, retry=True),
    Rule(statuses=_of(range(300, 400)), kind=Kind.REDIRECT, scope=Scope.RUN),
    Rule(kind=Kind.BAD_REQUEST),
)


def classify(error: ApiError, headers: Mapping[str, str]) -> Fault:
    """Turn an error answer into a fault. The server's `x-should-retry` decides over the table whether to retry."""
    wait = retry_after(headers) or error.wait or wait_in_text(error.message)
    rule = next(rule for rule in RULES if rule.applies(error, wait))
    should = headers.get("x-should-retry")
    return Fault(
        kind=rule.kind,
        message=error.message,
        scope=rule.scope,
        billing=rule.billing,
        retry=should == "true" if should in ("true", "false") else rule.retry,
        status=error.status,
        code=error.code or error.type,
        wait=wait,
        request_id=headers.get("x-request-id") or headers.get("request-id"),
    )
