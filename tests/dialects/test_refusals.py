"""The corpus of refusals, `refusals.jsonl`: each line is an error answer and what it says.

Texts take their shape from public reports and error pages; names, keys and amounts are made up. Whoever meets words
that are read wrong adds a line.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.dialects.embedded_errors import embedded_error, has_error
from llmbatch.dialects.error_rules import classify
from llmbatch.dialects.errors import api_error

MEANING = {
    "credit": (Kind.NO_CREDIT, Scope.RUN, Billing.UNBILLED, False),
    "key": (Kind.UNAUTHORIZED, Scope.RUN, Billing.UNBILLED, False),
    "country": (Kind.FORBIDDEN, Scope.RUN, Billing.UNBILLED, False),
    "forbidden": (Kind.FORBIDDEN, Scope.ROUTE, Billing.UNBILLED, False),
    "model": (Kind.NOT_FOUND, Scope.ROUTE, Billing.UNBILLED, False),
    "plan": (Kind.RATE_LIMITED, Scope.ROUTE, Billing.UNBILLED, False),
    "filter": (Kind.CONTENT_FILTER, Scope.RECORD, Billing.UNBILLED, False),
    "context": (Kind.CONTEXT_LENGTH, Scope.RECORD, Billing.UNBILLED, False),
    "content": (Kind.BAD_REQUEST, Scope.CONTENT, Billing.UNBILLED, False),
    "request": (Kind.BAD_REQUEST, Scope.RECORD, Billing.UNBILLED, False),
    "wait": (None, None, Billing.THROTTLED, True),
    "server": (Kind.SERVER_ERROR, Scope.RECORD, Billing.SERVER, True),
}
"""What each word of the corpus stands for: the kind, what else fails, what is charged, whether it is sent again."""

CORPUS = [json.loads(line) for line in (Path(__file__).parent / "refusals.jsonl").read_text("utf-8").splitlines()]


def verdict(status: int, body: Any) -> Fault:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    if status == 200:
        assert has_error(body)
        return embedded_error(body, Reply(200, {}, content))
    error, _ = api_error(Reply(status, {}, content))
    return classify(error, {})


@pytest.mark.parametrize("meaning", MEANING)
def test_a_refusal_is_what_its_words_say(meaning: str) -> None:
    wrong = []
    lines = [line for line in CORPUS if line["is"] == meaning]
    for line in lines:
        fault = verdict(line["status"], line.get("text", line.get("body")))
        found = (fault.kind, fault.scope, fault.billing, fault.retry)
        if any(one is not None and one is not other for one, other in zip(MEANING[meaning], found, strict=True)):
            wrong.append((line, found))
    assert lines
    assert not wrong


def test_every_line_of_the_corpus_is_read() -> None:
    assert {line["is"] for line in CORPUS} == MEANING.keys()
