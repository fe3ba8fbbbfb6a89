"""Batches for tests: their input, and patience for their end."""

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

import openai
from openai.types import Batch

from .loopback import PATIENCE

ENDED = ("completed", "failed", "expired", "cancelled")
"""The statuses of OpenAI's batches that do not change any more."""

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


def submit(client: openai.OpenAI, *lines: bytes, **fields: Any) -> Batch:
    file = client.files.create(file=("in.jsonl", b"\n".join(lines)), purpose="batch")
    return client.batches.create(
        input_file_id=file.id,
        **({"endpoint": "/v1/chat/completions", "completion_window": "24h"} | fields),
    )


def ended(client: openai.OpenAI, batch: Batch) -> Batch:
    return until(lambda one: one.status in ENDED, lambda: client.batches.retrieve(batch.id))


def run(client: openai.OpenAI, *lines: bytes, **fields: Any) -> Batch:
    return ended(client, submit(client, *lines, **fields))


def rows(client: openai.OpenAI, file_id: str | None) -> list[Any]:
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()] if file_id else []
