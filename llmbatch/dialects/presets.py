"""What is known of each provider: a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["OWN_SERVER", "PRESETS", "Preset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One provider. The key is looked for in `key_env`, in order; `local` ones work without.

    `endpoint` is asked where the user names none. `path` is where an endpoint of its own kind stands below the base
    URL: `{endpoint}` is its usual path, `{model}` the model of the record. `auth_header` and `headers` win over those
    of the endpoint. `token_cap` is the name of the body field that caps the answer. `model` is the default model,
    which only the mock has: real models come and go. `stream_usage` is whether a stream may
    be asked for its usage; those that refuse the question tell it by themselves.
    """

    base_url: str
    key_env: tuple[str, ...] = ()
    local: bool = False
    endpoint: str = "chat"
    path: str = "{endpoint}"
    auth_header: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    token_cap: str = "max_tokens"
    stream_usage: bool = True
    model: str | None = None


OWN_SERVER = Preset(base_url="", key_env=("OPENAI_API_KEY",), local=True)
"""A server behind `--base-url`: most know only the older name of the token cap."""

PRESETS: dict[str, Preset] = {
    "openai": Preset(
        base_url="https://api.openai.com/v1", key_env=("OPENAI_API_KEY",), token_cap="max_completion_tokens"
    ),
    "mock": Preset(base_url="", local=True, model="mock"),
    "anthropic": Preset(base_url="https://api.anthropic.com/v1", key_env=("ANTHROPIC_API_KEY",), endpoint="messages"),
    "deepseek": Preset(base_url="https://api.deepseek.com/v1", key_env=("DEEPSEEK_API_KEY",)),
    "fireworks": Preset(base_url="https://api.fireworks.ai/inference/v1", key_env=("FIREWORKS_API_KEY",)),
    "gemini": Preset(
        base_url="https://generativelanguage.googleapis.com/v1beta",
        key_env=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        endpoint="gemini",
    ),
    "groq": Preset(
        base_url="https://api.groq.com/openai/v1",
        key_env=("GROQ_API_KEY",),
        token_cap="max_completion_tokens",
    ),
    "llamacpp": Preset(base_url="http://localhost:9931/v1", key_env=("LLAMA_API_KEY",), local=True),
    "lmstudio": Preset(base_url="http://localhost:1234/v1", key_env=("LM_API_TOKEN",), local=True),
    "mistral": Preset(base_url="https://api.mistral.ai/v1", key_env=("MISTRAL_API_KEY",), stream_usage=False),
    "ollama": Preset(base_url="http://localhost:11434/v1", local=True),
    "openrouter": Preset(base_url="https://openrouter.ai/api/v1", key_env=("OPENROUTER_API_KEY",)),
    "together": Preset(base_url="https://api.together.ai/v1", key_env=("TOGETHER_API_KEY",)),
    "vllm": Preset(base_url="http://localhost:8000/v1", key_env=("VLLM_API_KEY",), local=True),
    "xai": Preset(base_url="https://api.x.ai/v1", key_env=("XAI_API_KEY",), token_cap="max_completion_tokens"),
}
