"""Classifies error answers by a decision table: the first row that applies decides.

A row tests the status, the names of an error (codes, types) and the words of its message; account_words and error_words
have both, with their sources. What is charged follows public billing ledgers, which show that 503s are free and gateway
time-outs are paid for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.dialects import account_words as account
from llmbatch.dialects import error_words as words
from llmbatch.dialects.response_headers import retry_after, wait_in_text
from llmbatch.dialects.wordings import Wording, labelled, unquoted

__all__ = ["RULES", "ApiError", "Rule", "classify", "implied_status"]

LONGEST = 366 * 86400.0
"""Seconds of the longest wait that is believed: no quota has a longer period."""


@dataclass
class ApiError:
    """An error answer of any shape. `wait` is what the body asked for, in seconds.

    `code` and `type` are shown; `names` are all names in the body. `inner_status` is the HTTP status that the body
    states.
    """

    status: int
    message: str
    code: str | None = None
    type: str | None = None
    wait: float | None = None
    per_day: bool = False
    names: tuple[str, ...] = ()
    inner_status: int | None = None

    @cached_property
    def labels(self) -> str:
        """Its names as patterns read them, with a space around each."""
        return labelled(self.code, self.type, *self.names)

    @cached_property
    def words(self) -> str:
        """Its message as patterns read it."""
        return unquoted(self.message)


class Rule(NamedTuple):
    """A row of the table: it applies when all its conditions hold; of `names` and `words` one is enough.

    With `unless` or `unless_names` in the error, `words` do not count.
    """

    kind: Kind
    statuses: frozenset[int] | None = None
    names: Wording | None = None
    words: Wording | None = None
    unless: Wording | None = None
    unless_names: Wording | None = None
    waits: bool | None = None
    per_day: bool = False
    billing: Billing = Billing.UNBILLED
    scope: Scope = Scope.RECORD
    retry: bool = False
    capacity: bool = False

    def applies(self, error: ApiError, wait: float | None) -> bool:
        """Say whether this row describes the error."""
        if self.statuses is not None and error.status not in self.statuses:
            return False
        if self.waits is not None and self.waits is not (wait is not None):
            return False
        if self.per_day and not error.per_day:
            return False
        if self.names is None and self.words is None:
            return True
        if self.names is not None and self.names.search(error.labels):
            return True
        if self.words is None or not self.words.search(error.words):
            return False
        if self.unless_names is not None and self.unless_names.search(error.labels):
            return False
        return self.unless is None or not self.unless.search(error.words)


def _of(*statuses: int | range) -> frozenset[int]:
    return frozenset(s for item in statuses for s in (item if isinstance(item, range) else (item,)))


_ANY_REFUSAL = _of(400, 401, 403, 412, 413, 422, 424, 429, 434, 451, 500, 503)
_OF_ONE_RECORD = _of(400, 402, 403, 406, 409, 413, 415, 422, 424, 446, 451, 500)

RULES: tuple[Rule, ...] = (
    Rule(
        statuses=_of(429),
        words=account.ALLOCATED_QUOTA,
        kind=Kind.RATE_LIMITED,
        billing=Billing.THROTTLED,
        scope=Scope.ROUTE,
        retry=True,
    ),
    Rule(names=account.NO_CREDIT_NAMES, kind=Kind.NO_CREDIT, scope=Scope.RUN),
    Rule(statuses=_of(402), waits=True, kind=Kind.RATE_LIMITED, billing=Billing.THROTTLED, retry=True),
    Rule(statuses=_of(402, 412), kind=Kind.NO_CREDIT, scope=Scope.RUN),
    Rule(
        statuses=_ANY_REFUSAL,
        words=account.NO_MONEY_WORDS,
        unless=account.PACE_WORDS,
        kind=Kind.NO_CREDIT,
        scope=Scope.RUN,
    ),
    Rule(
        statuses=_ANY_REFUSAL,
        words=account.NO_CREDIT_WORDS,
        unless=account.PACE_WORDS,
        unless_names=account.EXHAUSTED_NAMES,
        waits=False,
        kind=Kind.NO_CREDIT,
        scope=Scope.RUN,
    ),
    Rule(names=account.KEY_NAMES, kind=Kind.UNAUTHORIZED, scope=Scope.RUN),
    Rule(statuses=_of(401), kind=Kind.UNAUTHORIZED, scope=Scope.RUN),
    Rule(statuses=_of(400, 403, 422, 500), words=account.KEY_WORDS, kind=Kind.UNAUTHORIZED, scope=Scope.RUN),
    Rule(statuses=_of(400), names=account.PRECONDITION_NAMES, kind=Kind.FORBIDDEN, scope=Scope.RUN),
    Rule(statuses=_of(429), words=words.LONG_CONTEXT_PLAN, kind=Kind.CONTEXT_LENGTH),
    Rule(statuses=_of(429), words=words.OVERSIZED_WORDS, kind=Kind.TOO_LARGE),
    Rule(
        statuses=_OF_ONE_RECORD,
        names=words.CONTEXT_NAMES,
        words=words.CONTEXT_WORDS,
        unless=words.FIELD_WORDS,
        unless_names=account.THROTTLE_NAMES,
        kind=Kind.CONTEXT_LENGTH,
    ),
    Rule(
        statuses=_OF_ONE_RECORD | _of(429),
        names=words.FILTER_NAMES,
        kind=Kind.CONTENT_FILTER,
    ),
    Rule(statuses=_OF_ONE_RECORD, words=words.FILTER_WORDS, unless=account.ACCOUNT_WORDS, kind=Kind.CONTENT_FILTER),
    Rule(statuses=_of(446, 451), kind=Kind.CONTENT_FILTER),  # 446 is Portkey's
    Rule(
        statuses=_of(429),
        names=account.NO_CAPACITY_NAMES,
        words=account.NO_CAPACITY_WORDS,
        unless=account.PACE_WORDS,
        kind=Kind.OVERLOADED,
        billing=Billing.THROTTLED,
        retry=True,
        capacity=True,
    ),
    Rule(statuses=_of(429), per_day=True, kind=Kind.RATE_LIMITED, scope=Scope.ROUTE),
    Rule(statuses=_of(400, 403, 429), words=account.PLAN_WORDS, waits=False, kind=Kind.RATE_LIMITED, scope=Scope.ROUTE),
    Rule(statuses=_of(429), kind=Kind.RATE_LIMITED, billing=Billing.THROTTLED, scope=Scope.ROUTE, retry=True),
    Rule(
        statuses=_of(400, 403, 500),
        names=account.THROTTLE_NAMES,
        words=account.THROTTLE_WORDS,
        kind=Kind.RATE_LIMITED,
        billing=Billing.THROTTLED,
        scope=Scope.ROUTE,
        retry=True,
    ),
    Rule(
        statuses=_of(400),
        words=words.UNLOADED_WORDS,
        kind=Kind.OVERLOADED,
        billing=Billing.THROTTLED,
        scope=Scope.ROUTE,
        retry=True,
    ),
    Rule(statuses=_of(400), words=words.CRASHED_WORDS, kind=Kind.SERVER_ERROR, billing=Billing.SERVER, retry=True),
    Rule(
        statuses=_of(503),
        names=words.MODEL_NAMES,
        words=words.NO_CHANNEL_WORDS,
        kind=Kind.NOT_FOUND,
        scope=Scope.ROUTE,
    ),
    Rule(
        statuses=_of(400, 410, 422, 500),
        names=words.MODEL_NAMES,
        words=words.MODEL_WORDS,
        unless=words.INPUT_WORDS,
        kind=Kind.NOT_FOUND,
        scope=Scope.ROUTE,
    ),
    Rule(statuses=_of(498), kind=Kind.OVERLOADED, billing=Billing.THROTTLED, retry=True, capacity=True),
    Rule(statuses=_of(503, 529), kind=Kind.OVERLOADED, billing=Billing.THROTTLED, scope=Scope.ROUTE, retry=True),
    Rule(
        statuses=_of(400, 403, 404, 415, 422, 424, 500, 501),
        words=words.INPUT_WORDS,
        kind=Kind.BAD_REQUEST,
        scope=Scope.CONTENT,
    ),
    Rule(statuses=_of(403), kind=Kind.FORBIDDEN, scope=Scope.ROUTE),
    Rule(statuses=_of(404), kind=Kind.NOT_FOUND, scope=Scope.ROUTE),
    # The server lacks this endpoint; others of a run that mixes them go on.
    Rule(statuses=_of(405, 501), kind=Kind.CONFIGURATION, scope=Scope.ROUTE),
    Rule(statuses=_of(407, 511), kind=Kind.CONFIGURATION, scope=Scope.RUN),
    Rule(statuses=_of(408), kind=Kind.TIMEOUT, billing=Billing.DOUBTFUL, retry=True),
    Rule(statuses=_of(409, 425), kind=Kind.SERVER_ERROR, retry=True),
    Rule(statuses=_of(413, 414, 431), kind=Kind.TOO_LARGE),
    # Google gives up with 499 under load, TGI and Bedrock say 424 when the model behind them failed.
    Rule(statuses=_of(499), kind=Kind.GATEWAY, billing=Billing.DOUBTFUL, retry=True),
    Rule(statuses=_of(500), names=words.REFUSAL_NAMES, kind=Kind.BAD_REQUEST),
    Rule(statuses=_of(424, 500), words=words.REFUSAL_WORDS, kind=Kind.BAD_REQUEST),
    Rule(statuses=_of(424, 500), kind=Kind.SERVER_ERROR, billing=Billing.SERVER, retry=True),
    Rule(statuses=_of(502, 504, range(520, 528), 530), kind=Kind.GATEWAY, billing=Billing.DOUBTFUL, retry=True),
    Rule(statuses=_of(range(500, 600)), kind=Kind.SERVER_ERROR, billing=Billing.SERVER, retry=True),
    Rule(statuses=_of(range(300, 400)), kind=Kind.REDIRECT, scope=Scope.RUN),
    Rule(kind=Kind.BAD_REQUEST),
)


def implied_status(error: ApiError) -> int:
    """Return the HTTP status that an error inside a 200 would have had, by its own words; 500 without a sign of one."""
    if error.inner_status is not None:
        return error.inner_status
    for status, pattern in words.IMPLIED_BY_NAMES:
        if pattern.search(error.labels):
            return status
    for status, pattern in words.IMPLIED_BY_WORDS:
        if pattern.search(error.words):
            return status
    return 500


def classify(error: ApiError, headers: Mapping[str, str]) -> Fault:
    """Turn an error answer into a fault. The server's `x-should-retry` overrides the table."""
    waits = retry_after(headers), error.wait, wait_in_text(error.message)
    wait = next((wait for wait in waits if wait and wait <= LONGEST), None)
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
        capacity=rule.capacity,
        request_id=headers.get("x-request-id") or headers.get("request-id"),
    )
