"""Why an answer ended, in one vocabulary."""

from typing import get_args

import pytest
from anthropic.types import StopReason
from google.genai.types import BlockedReason, FinishReason
from openai.types.chat.chat_completion import Choice

from llmbatch.core.outcome import Completion
from llmbatch.dialects.finish_reasons import _STANDARD, OWN, REASONS, is_broken_off, is_end, note_finish


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
        ("STOP", "stop"),
        ("eos_token", "stop"),
        ("COMPLETE", "stop"),
        ("token_limit", "length"),
        ("sensitive", "content_filter"),
        ("content_filtered", "content_filter"),
        ("guardrail_intervened", "content_filter"),
        ("FINISH_REASON_MAX_TOKENS", "length"),
        ("STOP_CRITERIA_MET", "stop"),
        ("FINISH", "stop"),
        ("normal", "stop"),
        ("endoftext", "stop"),
        ("max_output", "length"),
        ("ERROR_LIMIT", "length"),
        ("limit", "length"),
        ("ALTERNATIVE_STATUS_FINAL", "stop"),
        ("ALTERNATIVE_STATUS_TRUNCATED_FINAL", "length"),
        ("ALTERNATIVE_STATUS_CONTENT_FILTER", "content_filter"),
    ],
)
def test_the_providers_word_stands_beside_ours(own: str, reason: str) -> None:
    assert (noted(own).finish_reason, noted(own).extra) == (reason, {OWN: own})


@pytest.mark.parametrize("own", ["pause_turn", "OTHER", "", None, 7, ["stop"]])
def test_what_means_none_of_them_stands_as_it_is(own: object) -> None:
    assert (noted(own).finish_reason, noted(own).extra) == (own, {})


@pytest.mark.parametrize("own", ["null", "none", "None", "NULL", "not_finished", "FINISH_REASON_UNSPECIFIED"])
def test_a_word_for_an_answer_that_goes_on_is_no_reason(own: str) -> None:
    assert (noted(own).finish_reason, noted(own).extra) == (None, {})
    assert not is_end(own)


@pytest.mark.parametrize("own", [*REASONS, "OTHER", "MAX_TOKENS"])
def test_any_other_word_is_an_end(own: str) -> None:
    assert is_end(own)


def test_the_words_are_those_of_the_official_clients() -> None:
    ours = {word for words in _STANDARD.values() for word in words}
    google = {r.value.lower() for r in (*FinishReason, *BlockedReason)}
    assert {"stop", "max_tokens", "safety", "recitation", "spii", "jailbreak", "model_armor"} <= google & {
        *REASONS,
        *ours,
    }
    assert {"end_turn", "max_tokens", "tool_use", "refusal"} <= {*get_args(StopReason)} & ours


@pytest.mark.parametrize(
    "own", ["abort", "error", "ERROR", "network_error", "insufficient_system_resource", "TIMEOUT", "USER_CANCEL"]
)
def test_some_words_say_that_the_provider_broke_off(own: str) -> None:
    assert is_broken_off(own)


@pytest.mark.parametrize("own", [*REASONS, "OTHER", "", None, 7, ["error"]])
def test_all_others_do_not(own: object) -> None:
    assert not is_broken_off(own)
