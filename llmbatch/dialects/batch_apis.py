"""The table of batch APIs by provider: which shape each has, and how it differs from that."""

from llmbatch.core.errors import UsageError
from llmbatch.dialects.batch_anthropic import AnthropicBatches
from llmbatch.dialects.batch_api import MB, BatchApi, BatchLimits
from llmbatch.dialects.batch_gemini import GeminiBatches
from llmbatch.dialects.batch_mistral import MistralBatches
from llmbatch.dialects.batch_openai import OpenAIBatches, Quirks
from llmbatch.dialects.batch_xai import XaiBatches
from llmbatch.dialects.presets import PRESETS

__all__ = ["BATCH_PROVIDERS", "batch_api", "refuse"]

_DAY = 86400.0
_CHAT = frozenset({"/chat/completions"})

_OPENAI: dict[str, Quirks] = {
    "openai": Quirks(limits=BatchLimits(inputs=50_000, discount=0.5), expires=True),
    "azure": Quirks(
        # Batch deployments answer nothing live.
        limits=BatchLimits(records=100_000, discount=0.5, first_live=False),
        paths=frozenset({"/chat/completions", "/responses", "/embeddings"}),
        prefix="",
        processed=True,
    ),
    "groq": Quirks(
        limits=BatchLimits(bytes=100 * MB, windows=tuple(day * _DAY for day in range(1, 8)), discount=0.5),
        paths=_CHAT,
    ),
    "together": Quirks(
        limits=BatchLimits(bytes=100 * MB, line=10 * MB, discount=None),
        paths=_CHAT,
        upload="/files/upload",
        purpose="batch-api",
        named=True,
        metadata=False,
    ),
    "dashscope": Quirks(
        # Its pages name 100 MB and, later, 500 MB: the smaller one is always taken. The third path answers for nothing.
        limits=BatchLimits(
            bytes=100 * MB, line=6 * MB, windows=tuple(day * _DAY for day in range(1, 15)), discount=0.5
        ),
        paths=frozenset({"/chat/completions", "/embeddings", "/chat/ds-test"}),
    ),
    "mock": Quirks(),
}

_OTHERS: dict[str, BatchApi] = {
    "anthropic": AnthropicBatches(),
    "gemini": GeminiBatches(),
    "mistral": MistralBatches(),
    "xai": XaiBatches(),
}


def batch_api(provider: str) -> BatchApi | None:
    """Return the batch API of a preset, or of a server that is known by its address only; None where there is none."""
    if provider in _OTHERS:
        return _OTHERS[provider]
    if provider in _OPENAI:
        return OpenAIBatches(_OPENAI[provider])
    if provider in PRESETS:
        return None
    return OpenAIBatches(Quirks(limits=BatchLimits(kept=None)))


BATCH_PROVIDERS = tuple(name for name in PRESETS if batch_api(name) is not None and name != "mock")
"""The presets whose batch API is spoken."""


_NOT_SURE = {
    # https://openrouter.ai/docs/batch-quickstart.md and https://openrouter.ai/docs/api/api-reference/batch/list-batches
    "openrouter": "its pages name two addresses, /api/beta/batches and /api/v1/batches, and no call that cancels",
    # https://docs.fireworks.ai/guides/batch-inference
    "fireworks": "it wants the name of the account in each call, and no page says how the rows in its data sets look",
}
"""Why batch APIs that are there are not spoken."""


def refuse(provider: str) -> UsageError:
    """Return the refusal of a provider without batches that we speak."""
    reason = _NOT_SURE.get(provider)
    return UsageError(
        f"--batch-api: {provider} has no batch API that llmbatch speaks" + (f" ({reason})" if reason else ""),
        f"It speaks those of {', '.join(BATCH_PROVIDERS)}, and of servers like OpenAI's that --base-url names.",
    )
