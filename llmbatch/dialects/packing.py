"""Packs several records into one request, matches the answers to them and shares the cost. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llmbatch.codec import json
from llmbatch.core.attempts import ALONE
from llmbatch.core.exchange import Expected, Reply, Verdicts
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.job import Job
from llmbatch.core.outcome import Completion
from llmbatch.dialects.answers import Fold, Verdict, count, own_cost, parsed, read_body, unparsable
from llmbatch.dialects.embedded_errors import embedded_error, has_error
from llmbatch.dialects.openai_chat_answers import usage, usage_in

__all__ = ["count_sharing", "for_all", "packed", "placed", "read_packed", "share", "unpacked"]

MOST_TOKENS = 100_000
"""Estimated tokens of the inputs that share a request."""

PICO = 1e12
"""Costs are shared in millionths of a millionth of a dollar."""

_FIELDS = {"embeddings": "input", "completions": "prompt"}
"""The field that holds the inputs of a request, by dialect."""
_OF_ONE = frozenset({Kind.BAD_REQUEST, Kind.CONTEXT_LENGTH, Kind.CONTENT_FILTER, Kind.TOO_LARGE})
"""Kinds of faults that a single input may have caused."""


def count_sharing(waiting: Sequence[Job], field: str, most: int) -> int:
    """Return how many of the first jobs may share a request: they differ only in `field`, which is a text."""
    first = waiting[0]
    if most == 1 or not isinstance(first.item.get(field), str):
        return 1
    rest, tokens, number = _all_but(field, first.item), 0, 0
    for job in waiting:
        tokens += job.tokens
        if number and (number == most or tokens > MOST_TOKENS or not _fits(job, first, field, rest)):
            break
        number += 1
    return number


def _fits(job: Job, first: Job, field: str, rest: bytes) -> bool:
    group = job.attempts.pack_group
    if group != first.attempts.pack_group or group == ALONE:
        return False
    return isinstance(job.item.get(field), str) and _all_but(field, job.item) == rest


def _all_but(field: str, item: dict[str, Any]) -> bytes:
    # As bytes, since 1, 1.0 and True are equal in Python.
    return json.dumps({name: value for name, value in item.items() if name != field})


def packed(dialect: str, jobs: Sequence[Job], field: str, *, entries: int = 1) -> Expected:
    """Return what is expected of the answer to several jobs whose inputs are in `field` of their items."""
    weights = tuple(_tokens(str(job.item[field])) for job in jobs)
    return Expected(dialect, tuple(job.keep_body for job in jobs), entries, weights)


def unpacked(body: dict[str, Any], dialect: str, place: int) -> dict[str, Any]:
    """Return the body that asks for one of the inputs that share a request. Raises LookupError, TypeError."""
    field = _FIELDS[dialect]
    return {**body, field: body[field][place]}


def read_packed(expected: Expected, reply: Reply, verdict: Verdict, fold: Fold, *, field: str) -> Verdicts:
    """Read the answer to a request of several jobs: each gets what it would have got alone, and a share of the cost.

    `field` is the list in the answer with `expected.entries` entries for each job. Jobs whose entries cannot be
    identified are sent again one by one; the first of them keeps the paid answer.
    """
    jobs, each = len(expected.keeps), expected.entries
    body = parsed(reply, fold, keep_body=any(expected.keeps))
    if isinstance(body, Fault):
        return for_all(body, jobs)
    if has_error(body):
        return for_all(embedded_error(body, reply), jobs)
    raw: bytes | None = reply.body
    verdicts: list[Completion | Fault] = []
    for keep, part in zip(expected.keeps, _parts(body, field, each, expected.weights), strict=True):
        if len(part[field]) != each:
            lost = unparsable(reply, f"of {jobs} inputs this one has no answer that can be identified as its own")
            paid = part.get("usage")
            lost = replace(lost, scope=Scope.REQUEST, split=True, raw=raw, usage=usage(paid), cost=own_cost(paid))
            verdicts.append(lost)
            raw = None
            continue
        read = read_body(part, reply, verdict, keep_body=keep)
        if isinstance(read, Completion):
            read.extra["packed"] = jobs
        elif read.raw is not None:
            read = replace(read, raw=json.dumps(part))
        verdicts.append(read)
    return tuple(verdicts)


def for_all(fault: Fault, jobs: int) -> Verdicts:
    """Give all jobs the fault of their request. If a single input may have caused it, they will be sent apart."""
    refused = fault.kind in _OF_ONE and fault.billing is Billing.UNBILLED and not fault.retry
    # OpenAI's words for a request that is larger than the limit of a minute.
    if refused or (fault.status == 429 and "request too large" in fault.message.lower()):
        fault = replace(fault, scope=Scope.REQUEST, split=True)
    return (fault, *[replace(fault, raw=None)] * (jobs - 1))


def _parts(body: Any, field: str, each: int, weights: Sequence[int]) -> list[dict[str, Any]]:
    """Split an answer into one for each job, with fewer entries where they cannot be identified."""
    fields = body if isinstance(body, dict) else {}
    entries = fields.get(field)
    wanted = len(weights) * each
    found = (placed(entries, wanted) if isinstance(entries, list) else None) or {}
    mine = [[found[n] for n in range(start, start + each) if n in found] for start in range(0, wanted, each)]
    usages = _shared(fields.get("usage") or usage_in(fields), weights, mine)
    return [
        {**fields, field: [{**entry, "index": n} for n, entry in enumerate(own)], "usage": used}
        for own, used in zip(mine, usages, strict=True)
    ]


def placed(entries: list[Any], wanted: int) -> dict[int, dict[str, Any]] | None:
    """Return entries by the number of the input that they answer; None when their numbers are contradictory.

    Numbers may be floats or text, and zeros may be left out (as protobuf does). The order counts if all entries are
    there and have the same number.
    """
    if not all(isinstance(entry, dict) for entry in entries):
        return None
    indices = [_number(entry.get("index")) for entry in entries]
    if len(entries) == wanted and len(set(indices)) == 1:
        return dict(enumerate(entries))
    if None in indices and len(entries) < wanted:
        return None  # a zero was left out, but more is missing
    numbers = [index or 0 for index in indices]
    sure = all(0 <= number < wanted for number in numbers) and len(set(numbers)) == len(numbers)
    return dict(zip(numbers, entries, strict=True)) if sure else None


def _number(index: Any) -> int | None:
    """Read the number of an entry; None where there is none, -1 for anything but a number."""
    if index is None or type(index) is int:
        return index
    if isinstance(index, str) and index.isascii() and index.isdecimal() and len(index) < 10:
        return int(index)
    return int(index) if type(index) is float and index.is_integer() else -1


def _shared(total: Any, inputs: Sequence[int], mine: list[list[dict[str, Any]]]) -> list[Any]:
    """Share a usage object, input by the estimated tokens of the inputs, output by those of the answers."""
    outputs = [sum(_tokens(str(entry.get("text", ""))) for entry in own) for own in mine]
    both = [i + o for i, o in zip(inputs, outputs, strict=True)]

    def shares(name: str, value: Any) -> list[Any]:
        if isinstance(value, dict):
            columns = {inner: shares(f"{name}.{inner}", part) for inner, part in value.items()}
            return [{inner: column[n] for inner, column in columns.items()} for n in range(len(inputs))]
        if (tokens := _whole(value)) is not None:
            return share(tokens, outputs if "completion" in name or "output" in name else inputs)
        if type(value) is float and 0 <= value < 1e6 and "cost" in name:
            return [part / PICO for part in share(round(value * PICO), both)]
        return [value] * len(inputs)

    shared = shares("", total)
    for into, out, both_of in _SUMS if isinstance(total, dict) else ():
        if total.get(into) and both_of in total:  # rounding would make shares of the sum another sum
            for one in shared:
                one[both_of] = (one.get(into) or 0) + (one.get(out) or 0)
    return shared


_SUMS = (
    ("prompt_tokens", "completion_tokens", "total_tokens"),
    ("input_tokens", "output_tokens", "total_tokens"),
    ("promptTokens", "completionTokens", "totalTokens"),
    ("inputTokens", "outputTokens", "totalTokens"),
)
"""The names of counts, and that of their sum."""


def _whole(value: Any) -> int | None:
    """Return a count, also one written as text or with a point; None for anything else."""
    return None if type(value) is float and not value.is_integer() else count(value)


def _tokens(text: str) -> int:
    return len(text.encode("utf-8", "replace")) // 4 + 1


def share(total: int, weights: Sequence[int]) -> list[int]:
    """Split an integer by weights, exact in sum, by the largest remainder method."""
    sum_of_weights = sum(weights)
    if not sum_of_weights:
        weights, sum_of_weights = [1] * len(weights), len(weights)
    shares = [total * weight // sum_of_weights for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda n: -(total * weights[n] % sum_of_weights))
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares
