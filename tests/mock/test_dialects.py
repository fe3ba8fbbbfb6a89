"""What holds for every API the mock speaks: any body is answered or refused, any fault is answered in its shape."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmbatch.mock import anthropic, gemini, openai_chat
from llmbatch.mock.fault_markers import FAULTS
from llmbatch.mock.provider import Arrival, Provider
from llmbatch.mock.reply import Reply
from llmbatch.mock.settings import MockSettings
from tests.dialects.values import JSON

CHAT, MESSAGES, GEMINI = "/v1/chat/completions", "/v1/messages", "/v1beta/models/m:generateContent"
PATHS = (CHAT, MESSAGES, GEMINI, GEMINI.replace(":g", ":streamG") + "?alt=sse")


def arrive(path: str, body: dict[str, Any]) -> Reply:
    headers = {b"anthropic-version": b"2023-06-01"}
    return (
        Provider(MockSettings())
        .decide(
            Arrival(1, "POST", path, headers, json.dumps(body).encode(), "0" * 64, 1), now=0.0, wall=1_800_000_000.0
        )
        .reply
    )


def body(path: str, prompt: str, **fields: Any) -> dict[str, Any]:
    if "models" in path:
        return {"contents": [{"role": "user", "parts": [{"text": prompt}]}], **fields}
    return {"model": "m", "max_tokens": 900, "messages": [{"role": "user", "content": prompt}], **fields}


FIELDS = st.dictionaries(
    st.sampled_from(
        ["system", "messages", "max_tokens", "thinking", "tools", "tool_choice", "stop_sequences", "output_config",
         "contents", "systemInstruction", "generationConfig", "toolConfig", "stream", "response_format", "n"]
    ),
    JSON,
    max_size=3,
)  # fmt: skip


@example(next(path for path in PATHS if "models" in path), {"contents": [None]})
@given(st.sampled_from(PATHS), FIELDS)
def test_any_body_is_answered_or_refused(path: str, fields: dict[str, Any]) -> None:
    assert arrive(path, body(path, "x", **fields)).status in (200, 400)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in ("bomb", "big")])
def test_every_fault_is_answered_in_every_shape(path: str, fault: str) -> None:
    reply = arrive(path, body(path, f"[[mock:{fault}]] x"))
    assert reply.status
    assert fault in ("empty", "redirect") or reply.content


def test_every_dialect_has_the_faults_of_the_shape() -> None:
    some = {"array-content", "audio", "citations", "function-call", "image", "model-length", "no-usage", "zero-usage"}
    assert set(openai_chat._SHAPES) - some == set(anthropic._SHAPES) == set(gemini._SHAPES) - some
