"""Translates the reasons why answers ended into one vocabulary: OpenAI's."""

from collections.abc import Mapping
from typing import Any

from llmbatch.core.outcome import Completion

__all__ = ["OWN", "REASONS", "is_broken_off", "is_end", "normalised", "note_finish", "note_tier"]

OWN = "provider_finish_reason"
"""The field of a result line with the provider's own word, where it differs."""

_STANDARD = {
    "stop": (
        "end_turn",
        "stop_sequence",
        "stop_criteria_met",
        "eos",
        "eos_token",
        "endoftext",
        "word",
        "complete",
        "completed",
        "finish",
        "normal",
        "alternative_status_final",
    ),
    "length": (
        "max_tokens",
        "max_new_tokens",
        "max_length",
        "max_output",
        "max_output_tokens",
        "model_length",
        "model_context_window_exceeded",
        "error_limit",
        "limit",
        "time_limit",
        "token_limit",
        "alternative_status_truncated_final",
    ),
    "tool_calls": ("tool_use", "tool_call", "function_call"),
    "content_filter": (
        "refusal",
        "sensitive",
        "content_filtered",
        "guardrail_intervened",
        "error_toxic",
        "safety",
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
        "jailbreak",
        "model_armor",
        "image_safety",
        "image_prohibited_content",
        "image_recitation",
        "alternative_status_content_filter",
    ),
}
"""Our reasons, and the providers' words for each, in lower case.

Sources: the API references of Anthropic, Gemini, Mistral, the Responses API, TGI, Cohere, watsonx, Bedrock, Zhipu,
Hunyuan, MiniMax, Qianfan, AI21, YandexGPT and llama.cpp.
"""

_PREFIX = "finish_reason_"
"""What Google's protocols write before each of its words."""

_NO_END = frozenset({"null", "none", "not_finished", "unspecified"})
"""Words of an answer that goes on: DashScope's, watsonx' and Google's, in lower case."""

REASONS = tuple(_STANDARD)
"""The vocabulary. A provider's word that means none of these stays as it is."""

_OURS = {word: reason for reason, words in _STANDARD.items() for word in (reason, *words)}

_BROKEN_OFF = frozenset(
    {
        "abort",
        "aborted",
        "canceled",
        "cancelled",
        "error",
        "insufficient_system_resource",
        "network_error",
        "server_error",
        "timeout",
        "user_cancel",
    }
)
"""Providers' words for an answer that they broke off, in lower case.

Sources: the API references of OpenRouter, Mistral, Cohere, watsonx, Zhipu and DeepSeek; the code of vLLM and SGLang.
"""

_USUAL_TIERS = frozenset({"default", "standard", "on_demand", "auto", "batch"})
"""Tiers that a line does not name: that it came from a batch is a field of its own."""


def normalised(own: Any) -> Any:
    """Return the reason in OpenAI's vocabulary; anything without a counterpart there is returned unchanged."""
    if not isinstance(own, str):
        return own
    return _OURS.get(own) or (None if _goes_on(own) else _OURS.get(_plain(own), own))


def is_end(own: Any) -> bool:
    """Tell whether a provider's word says that the answer ended: some servers have a word for one that goes on."""
    return bool(own) and not _goes_on(own)


def is_broken_off(own: Any) -> bool:
    """Tell whether a provider's word says that it broke the answer off."""
    return isinstance(own, str) and _plain(own) in _BROKEN_OFF


def _goes_on(own: Any) -> bool:
    return isinstance(own, str) and _plain(own) in _NO_END


def _plain(own: str) -> str:
    return own.lower().removeprefix(_PREFIX)


def note_finish(completion: Completion, own: Any) -> None:
    """Set the finish reason of a completion, and keep the provider's own word where it differs."""
    completion.finish_reason = reason = normalised(own)
    if reason != own and reason is not None:
        completion.extra[OWN] = own


def note_tier(completion: Completion, answer: Mapping[str, Any]) -> None:
    """Keep the service tier that an answer, or at Anthropic its usage, names, unless it is the usual one.

    It prices the answer.
    """
    tier = answer.get("service_tier")
    if type(tier) is str and tier not in _USUAL_TIERS:
        completion.extra["service_tier"] = tier
