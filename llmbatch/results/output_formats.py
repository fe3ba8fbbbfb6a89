"""Renders result lines in other formats: OpenAI's batch output, the OpenAI cookbook's, text."""

from collections.abc import Callable
from typing import Any

from llmbatch.codec import json

__all__ = ["SHAPES", "Missing", "Reshape", "as_batch_line", "as_cookbook_line", "as_raw_text", "as_text"]

Reshape = Callable[[dict[str, Any]], tuple[bytes, bool]]
"""Gives a line its shape, and says whether it is a failure. Raises Missing."""


class Missing(ValueError):
    """A line lacks `parts` that its format needs: the request, or the provider's response."""

    def __init__(self, *parts: str) -> None:
        super().__init__(f"has no {' and no '.join(parts)}")
        self.parts = parts


def as_batch_line(line: dict[str, Any]) -> tuple[bytes, bool]:
    """Return a line in OpenAI's batch format, and whether it is a failure. Raises Missing.

    A failure that came over HTTP has its status and body, any other an error. `custom_id` is always text: that of an
    integer, or, for a record without an id, of its index.
    """
    failed = line["status"] != "ok"
    body, has_body = _body(line)
    if not failed:
        if not has_body:
            raise Missing("response")
        return _batch(line, _response(200, line, body), None), False
    error = line.get("error")
    error = error if isinstance(error, dict) else {}
    status = error.get("status")
    status = status if isinstance(status, int) and not isinstance(status, bool) else None
    refused = {"code": _text(error.get("kind")), "message": _text(error.get("message"))}
    if status is None or not has_body:
        return _batch(line, None, refused), True
    # Programs would take an error with status 200 for a success.
    return _batch(line, _response(status, line, body), None if status >= 400 else refused), True


def as_cookbook_line(line: dict[str, Any]) -> tuple[bytes, bool]:
    """Return a line in the format of the OpenAI cookbook's script, and whether it is a failure. Raises Missing.

    That is an array of the request, the answer and, if the record had any, the metadata; instead of an answer a failure
    has an array of errors. A record that made no request has itself in the place of the request, or null.
    """
    failed = line["status"] != "ok"
    body, has_body = _body(line)
    missing = ["request"] if "request" not in line and line.get("attempts") != 0 else []
    if not failed and not has_body:
        missing.append("response")
    if missing:
        raise Missing(*missing)
    error = line.get("error") if failed else None
    fields = error if isinstance(error, dict) else {}
    answer = [f"{_text(fields.get('kind'))}: {_text(fields.get('message'))}"] if failed else body
    cells = [line.get("request", line.get("input")), answer]
    meta = line.get("meta")
    if isinstance(meta, dict) and "metadata" in meta:
        cells.append(meta["metadata"])
    return json.dumps(cells) + b"\n", failed


def as_text(line: dict[str, Any]) -> tuple[bytes, bool]:
    """Return the answer's text as a JSON string, null for a failure or an answer without text."""
    return json.dumps(_answer(line)) + b"\n", line["status"] != "ok"


def as_raw_text(line: dict[str, Any]) -> tuple[bytes, bool]:
    """Return the answer's text as it is; nothing if there is none."""
    text = _answer(line)
    return b"" if text is None else text.encode("utf-8", "replace") + b"\n", line["status"] != "ok"


SHAPES: dict[str, Reshape] = {
    "openai-batch": as_batch_line,
    "cookbook": as_cookbook_line,
    "text": as_text,
    "raw": as_raw_text,
}
"""The formats of one line each; `raw` is text with `--raw`."""


def _answer(line: dict[str, Any]) -> str | None:
    text = line.get("text") if line["status"] == "ok" else None
    return text if isinstance(text, str) else None


def _body(line: dict[str, Any]) -> tuple[Any, bool]:
    if "response" in line:
        return line["response"], True
    if "response_base64" in line:
        return {"response_base64": line["response_base64"]}, True
    return None, False


def _response(status: int, line: dict[str, Any], body: Any) -> dict[str, Any]:
    return {"status_code": status, "request_id": _text(line.get("request_id")), "body": body}


def _batch(line: dict[str, Any], response: dict[str, Any] | None, error: dict[str, Any] | None) -> bytes:
    id, index = line.get("id"), line["index"]
    name = f"record-{index}" if id is None else str(id)
    return json.dumps({"id": f"batch_req_{index}", "custom_id": name, "response": response, "error": error}) + b"\n"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
