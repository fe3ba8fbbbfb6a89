"""Result lines in other shapes: OpenAI's batch output, text."""

from typing import Any

from llmbatch.codec import json

__all__ = ["MissingResponse", "as_batch_line", "as_raw_text", "as_text"]


class MissingResponse(ValueError):
    """An answer came without the body of the provider, which a batch line consists of."""


def as_batch_line(line: dict[str, Any]) -> tuple[bytes, bool]:
    """Return a line as OpenAI's batch output has it, and whether it is a failure. Raises MissingResponse.

    A failure that came over HTTP has its status and body, any other an error. `custom_id` is text there: an integer is
    written as such, a record without an id is named by its index.
    """
    failed = line["status"] != "ok"
    body, has_body = _body(line)
    if not failed:
        if not has_body:
            raise MissingResponse
        return _batch(line, _response(200, line, body), None), False
    error = line.get("error")
    error = error if isinstance(error, dict) else {}
    status = error.get("status")
    status = status if isinstance(status, int) and not isinstance(status, bool) else None
    refused = {"code": _text(error.get("kind")), "message": _text(error.get("message"))}
    if status is None or not has_body:
        return _batch(line, None, refused), True
    # An error in an answer of status 200 would be taken for a success.
    return _batch(line, _response(status, line, body), None if status >= 400 else refused), True


def as_text(line: dict[str, Any]) -> bytes:
    """Return the answer's text as a JSON string, null for a failure or an answer without text."""
    return json.dumps(_answer(line)) + b"\n"


def as_raw_text(line: dict[str, Any]) -> bytes:
    """Return the answer's text as it is; nothing where there is none."""
    text = _answer(line)
    return b"" if text is None else text.encode("utf-8", "replace") + b"\n"


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
