"""Why an answer ended, in one vocabulary: OpenAI's."""

from typing import Any

from llmbatch.core.outcome import Completion

__all__ = ["OWN", "REASONS", "normalised", "note_finish"]

OWN = "provider_finish_reason"
"""The field of a result line that holds the provider's word, where that is another."""

_STANDARD = {
    "stop": ("end_turn", "stop_sequence", "eos", "completed", "STOP"),
    "length": ("max_tokens", "model_length", "model_context_window_exceeded", "max_output_tokens", "MAX_TOKENS"),
    "tool_calls": ("tool_use", "function_call"),
    "content_filter": (
        "refusal",
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "JAILBREAK",
        "MODEL_ARMOR",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    ),
}
"""Each reason of ours and what others call it: Anthropic, Gemini (in capitals), Mistral, the Responses API."""

REASONS = tuple(_STANDARD)
"""What a reason may be, beside words of a provider that mean none of these."""

_OURS = {word: reason for reason, words in _STANDARD.items() for word in words}


def normalised(own: Any) -> Any:
    """Return OpenAI's word for a provider's; what means none of `REASONS`, or is no word, as it stands."""
    return _OURS.get(own, own) if isinstance(own, str) else own


def note_finish(completion: Completion, own: Any) -> None:
    """Set why the answer ended, and keep the provider's word beside it where that is another."""
    completion.finish_reason = reason = normalised(own)
    if reason != own:
        completion.extra[OWN] = own
