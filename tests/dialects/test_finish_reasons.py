"""Why an answer ended, in one vocabulary."""

from typing import get_args

import pytest
from anthropic.types import StopReason
from google.genai.types import BlockedReason, FinishReason
from openai.types.chat.chat_completion import Choice

from llmbatch.core.outcome import Completion
from llmbatch.dialects.finish_reasons import _STANDARD, OWN, REASONS, note_finish


def noted(own: object) -> Completion:
    completion = Completion(None, None, None, None)
    note_finish(completion, own)
    return completion


@pytest.mark.parametrize("reason", REASONS)
def test_openais_words_are_the_vocabulary(reason: str) -> None:
    assert (noted(reason).finish_reason, noted(reason).extra) == (reason, {})
    assert reason in get_args(Choice.model_fields["finish_reason"].annotation)


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("function_call", "tool_calls"),
        ("model_length", "length"),
    ],
)
def test_the_providers_word_stands_beside_ours(own: str, reason: str) -> None:
    assert (noted(own).finish_reason, noted(own).extra) == (reason, {OWN: own})


@pytest.mark.parametrize("own", ["pause_turn", "OTHER", "", None, 7, ["stop"]])
def test_what_means_none_of_them_stands_as_it_is(own: object) -> None:
    assert (noted(own).finish_reason, noted(own).extra) == (own, {})


def test_the_words_are_those_of_the_official_clients() -> None:
    ours = {word for words in _STANDARD.values() for word in words}
    google = {*(r.value for r in FinishReason), *(r.value for r in BlockedReason)}
    assert {word for word in ours if word.isupper()} <= google
    assert {"end_turn", "max_tokens", "tool_use", "refusal"} <= {*get_args(StopReason)} & ours
