"""Service tiers: what `flex`, `priority` and `standard` are called by each provider that has them.

Sources: OpenAI "Flex processing" and "Priority processing", Azure "service tiers", Groq "Service tiers", xAI
"Priority processing", Anthropic "Service tiers".
"""

from collections.abc import Mapping

from llmbatch.core.errors import UsageError

__all__ = ["FLEX_TIMEOUT", "TIERS", "tier_word"]

FLEX_TIMEOUT = 900.0
"""Seconds that an attempt may take at the slow tier, as OpenAI advises."""
TIERS = ("flex", "priority", "standard")
_OPENAI = {"flex": "flex", "priority": "priority", "standard": "default"}
_WORDS: Mapping[str, Mapping[str, str]] = {
    "openai": _OPENAI,
    "azure": _OPENAI,
    "mock": _OPENAI,
    "groq": {"flex": "flex", "standard": "on_demand"},
    "xai": {"priority": "priority", "standard": "default"},
    "anthropic": {"priority": "auto", "standard": "standard_only"},
}
_ENDPOINTS = ("chat", "responses", "messages")


def tier_word(provider: str | None, endpoint: str | None, tier: str) -> str:
    """Return the word of a provider for a tier; None is an own server of OpenAI's shape. Raises UsageError."""
    words = _WORDS.get(provider, {}) if provider is not None else _OPENAI
    if tier not in words:
        having = ", ".join(name for name, known in _WORDS.items() if tier in known and name != "mock")
        raise UsageError(f"--tier {tier}: {provider} has no such service tier", f"It is known of {having}.")
    if endpoint is not None and endpoint not in _ENDPOINTS:
        raise UsageError(f"--tier is for {', '.join(_ENDPOINTS)}, not for {endpoint}", "Leave it out.")
    return words[tier]
