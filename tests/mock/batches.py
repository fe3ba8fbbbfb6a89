"""Batches for tests: their input, and patience for their end."""

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from .loopback import PATIENCE

T = TypeVar("T")


def chat(prompt: Any = "hi", **fields: Any) -> dict[str, Any]:
    """Return the body of a chat request."""
    return {"model": "mock-1", "messages": [{"role": "user", "content": prompt}], **fields}


def openai_line(custom_id: str, prompt: Any = "hi", url: str = "/v1/chat/completions", **fields: Any) -> bytes:
    """Return a line of an input file."""
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": chat(prompt, **fields)}).encode()


def until(condition: Callable[[T], Any], read: Callable[[], T]) -> T:
    """Read until the condition holds; return what was read last."""
    deadline = time.monotonic() + PATIENCE
    while True:
        value = read()
        if condition(value):
            return value
        assert time.monotonic() < deadline, value
        time.sleep(0.01)
