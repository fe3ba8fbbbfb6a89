"""Why an answer ended, in one vocabulary: OpenAI's."""

from typing import Any

from llmbatch.core.outcome import Completion

__all__ = ["OWN", "REASONS", "is_broken_off", "normalised", "note_finish"]

OWN = "provider_finish_reason"
"""The field of a result line that holds the provider's word, where that is another."""

_STANDARD = {
    "stop": ("end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed"),
    "length": ("max_tokens", "model_length", "model_context_window_exceeded", "max_output_tokens", "token_limit"),
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
    ),
}
"""Each reason of ours and what others call it, in lower case.

Sources: the API references of Anthropic, Gemini, Mistral, the Responses API, TGI, Cohere, watsonx, Bedrock, Zhipu and
Hunyuan.
"""

REASONS = tuple(_STANDARD)
"""What a reason may be, beside words of a provider that mean none of these."""

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
    }
)
"""Words for an answer that the provider broke off, in lower case.

Sources: the API references of OpenRouter, Mistral, Cohere, watsonx, Zhipu and DeepSeek; the code of vLLM and SGLang.
"""


def normalised(own: Any) -> Any:
    """Return OpenAI's word for a provider's; what means none of `REASONS`, or is no word, as it is."""
    if not isinstance(own, str):
        return own
    return _OURS.get(own) or _OURS.get(own.lower(), own)


def is_broken_off(own: Any) -> bool:
    """Tell whether a provider's word says that it broke the answer off."""
    return isinstance(own, str) and own.lower() in _BROKEN_OFF


def note_finish(completion: Completion, own: Any) -> None:
    """Set why the answer ended, and keep the provider's word beside it where that is another."""
    completion.finish_reason = reason = normalised(own)
    if reason != own:
        completion.extra[OWN] = own
