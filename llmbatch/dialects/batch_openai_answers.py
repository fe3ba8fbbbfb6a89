"""Reads what batch APIs of OpenAI's shape answer: batches, lists of them, rows. Pure.

Its many copies differ in names, in the case and form of words, in what they wrap in what. A batch that is not
recognized would be paid for again, so all is read that has only one meaning.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from llmbatch.codec import json
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.ticket import BatchError, Row, Status
from llmbatch.dialects.batch_api import count, identifier, parsed
from llmbatch.dialects.embedded_errors import has_error

__all__ = ["Listed", "batch_in", "listed", "row", "status_of"]

_ENDED = frozenset(
    {
        "cancelled",
        "canceled",
        "complete",
        "completed",
        "done",
        "ended",
        "error",
        "errored",
        "expired",
        "failed",
        "failure",
    }
    | {"finished", "partially_completed", "succeeded", "success", "timed_out", "timeout", "timeout_exceeded"}
)
_FAILED = frozenset({"error", "errored", "failed", "failure"})
_END_TIMES = ("completed_at", "failed_at", "expired_at", "cancelled_at")
_GIVEN_BACK = frozenset({"batch_expired", "batch_cancelled", "batch_canceled"})
_WRAPPED = ("data", "batch", "job", "result", "file")
_LISTS = ("data", "batches", "items", "results", "jobs")
_OUTPUTS = ("output_file_id", "output_file_ids", "output_file", "error_file_id", "error_file_ids", "error_file")


def batch_in(reply: Reply) -> Mapping[str, Any]:
    """Return the object in an answer that has an id, also where it is wrapped in another."""
    found = parsed(reply)
    inner = (found.get(name) for name in _WRAPPED if identifier(found) is None)
    return next((one for one in inner if isinstance(one, dict) and identifier(one) is not None), found)


class Listed:
    """A page of a list of batches; `more` is None where the page does not say whether another follows."""

    def __init__(self, batches: list[dict[str, Any]], more: bool | None) -> None:
        self.batches, self.more = batches, more


def listed(reply: Reply) -> Listed | None:
    """Read a page of a list of batches; None for anything else."""
    if not 200 <= reply.status < 300:
        return None
    try:
        body = json.loads(reply.body)
    except ValueError:
        return None
    found, more = body, None
    if isinstance(body, dict):
        name = next((name for name in _LISTS if name in body), None)
        found, more = (body[name] or [] if name is not None else None), body.get("has_more")
    if not isinstance(found, list):
        return None
    said = more if isinstance(more, bool) else {"true": True, "false": False}.get(str(more).lower())
    return Listed([one for one in found if isinstance(one, dict)], said)


def status_of(batch: Mapping[str, Any]) -> Status:
    """Read a batch."""
    word = re.sub(r"[\s-]+", "_", str(batch.get("status") or "").strip().lower())
    counts = batch.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    done, failed = count(counts.get("completed")), count(counts.get("failed"))
    outputs = tuple(dict.fromkeys(file for name in _OUTPUTS for file in _files(batch.get(name))))
    return Status(
        word,
        ended=word in _ENDED or any(batch.get(name) for name in _END_TIMES),
        failed=word in _FAILED and not outputs and not done,
        total=count(counts.get("total")),
        completed=None if done is None else done + (failed or 0),
        outputs=outputs,
        errors=_errors(batch),
    )


def _files(value: Any) -> Iterator[str]:
    """Yield the names of files: a name, an object with an id, or a list of such."""
    for one in value if isinstance(value, list) else [value]:
        name = identifier(one if isinstance(one, dict) else {"id": one})
        if name is not None:
            yield name


def _errors(batch: Mapping[str, Any]) -> tuple[BatchError, ...]:
    errors = batch.get("errors")
    found = errors.get("data", errors) if isinstance(errors, dict) else errors
    found = found or batch.get("error")
    return tuple(_error(one) for one in (found if isinstance(found, list) else [found]) if one)


def _error(error: Any) -> BatchError:
    if not isinstance(error, dict):
        return BatchError("", str(error))
    return BatchError(str(error.get("code") or ""), str(error.get("message") or ""), count(error.get("line")))


def row(line: bytes) -> Row | None:
    """Read a row. Raises ValueError for what is no JSON.

    What a row without an error holds was paid for, whether it can be read or not.
    """
    fields = json.loads_shallow(line)
    if not isinstance(fields, dict):
        return None
    id, response, error = fields.get("custom_id"), fields.get("response"), fields.get("error")
    if isinstance(response, dict) and response.get("body") is not None:
        return Row(id, _reply(response["body"], response))
    if isinstance(response, dict):
        error = error or response.get("error")
    if error:
        code = str(error.get("code") or error.get("type") or "") if isinstance(error, dict) else ""
        if len(code) == 3 and code[0] in "45" and code.isdecimal():  # an HTTP status
            return Row(id, _reply({"error": error}, {"status_code": code}))
        message = str(error.get("message") or code or error) if isinstance(error, dict) else str(error)
        message = f"the batch has no answer: {message}"
        fault = Fault(kind=Kind.SERVER_ERROR, message=message, code=code or None, retry=True)
        return Row(id, fault=fault, given_back=code in _GIVEN_BACK)
    if isinstance(response, dict) and response and "status_code" not in response:
        return Row(id, _reply(response, {}))  # the answer itself, without an envelope
    if response or "body" in fields:
        message = "the row of the batch has no answer that can be read"
        return Row(id, fault=Fault(kind=Kind.UNPARSABLE, message=message, billing=Billing.BILLED, raw=line.rstrip()))
    message = "the row of the batch has neither an answer nor an error"
    return Row(id, fault=Fault(kind=Kind.UNPARSABLE, message=message, billing=Billing.DOUBTFUL, retry=True))


def _reply(body: Any, response: Mapping[str, Any]) -> Reply:
    status = count(response.get("status_code"))
    if not status:
        # Some copies leave it out, and OpenAI's was 0 once: what is in the body tells.
        status = 500 if isinstance(body, dict) and has_error(body) else 200
    headers = {"x-request-id": str(response["request_id"])} if response.get("request_id") else {}
    return Reply(status, headers, body.encode() if isinstance(body, str) else json.dumps(body))
