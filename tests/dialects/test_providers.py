"""The table of providers."""

import pytest

from llmbatch.core.errors import UsageError
from llmbatch.core.prompt import Prompt
from llmbatch.dialects.presets import PRESETS, PROVIDER_ALIASES
from llmbatch.dialects.providers import OWN_SERVER, Preset, checked_endpoint
from llmbatch.dialects.request_options import Options
from llmbatch.dialects.router import Router


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
def test_a_remote_preset_is_spoken_to_in_tls_and_has_a_key(preset: Preset) -> None:
    assert preset.local or (preset.base_url.startswith(("https://", "{")) and preset.key_env)


@pytest.mark.parametrize("preset", [*PRESETS.values(), OWN_SERVER])
def test_a_base_url_has_no_slash_at_its_end(preset: Preset) -> None:
    assert not preset.base_url.endswith("/")


def test_only_the_mock_has_a_default_model() -> None:
    assert [name for name, preset in PRESETS.items() if preset.model is not None] == ["mock"]


def test_what_the_environment_says_is_filled_in_as_far_as_it_is_there() -> None:
    preset = PRESETS["azure-classic"].filled({"AZURE_OPENAI_ENDPOINT": "https://me.example/"})
    assert (preset.base_url, preset.variables[0]) == ("https://me.example/openai", "OPENAI_API_VERSION")
    assert preset.filled({"OPENAI_API_VERSION": "7"}).path_for("/embeddings") == (
        "/deployments/{model}/embeddings?api-version=7"
    )
    assert preset.filled({"OPENAI_API_VERSION": "7"}).path_for("/responses") == "/responses?api-version=7"


@pytest.mark.parametrize(
    ("provider", "sent"),
    [("mistral", {"random_seed": 7, "max_tokens": 5}), ("ollama", {"seed": 7, "max_tokens": 5})],
)
def test_parameters_go_by_the_providers_own_names(provider: str, sent: dict[str, int]) -> None:
    by_flags = Router(Options(model="m", defaults={"seed": 7}, max_tokens=5), PRESETS[provider], "chat")
    by_record = Router(Options(model="m"), PRESETS[provider], "chat")
    for dialect, params in ((by_flags, {}), (by_record, {"seed": 7, "max_completion_tokens": 5})):
        _, body = dialect.item(Prompt(text="hi", params=params))
        assert {name: value for name, value in body.items() if name not in ("model", "messages")} == sent


@pytest.mark.parametrize(
    ("provider", "cap"),
    [("openai", "max_completion_tokens"), ("groq", "max_completion_tokens"), ("xai", "max_completion_tokens")]
    + [(name, "max_tokens") for name in ("together", "fireworks", "openrouter", "deepseek", "vllm", "llamacpp")],
)
def test_a_token_cap_has_the_name_the_provider_knows(provider: str, cap: str) -> None:
    dialect = Router(Options(model="m", max_tokens=9), PRESETS[provider], "chat")
    assert dialect.item(Prompt(text="hi"))[1][cap] == 9


@pytest.mark.parametrize(
    "path", ["/../admin", "/v1/../../x", "/%2e%2e/x", "/a/.%252e/x", "/a/..;/x", "/a/./b", "/a/.."]
)
def test_a_path_with_dot_segments_is_no_endpoint(path: str) -> None:
    with pytest.raises(UsageError, match="leads out of the base URL"):
        checked_endpoint(path)
    assert checked_endpoint(path.replace(".", "x").replace("%2e", "x") + "?next=../y") is not None


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
def test_a_row_names_the_documentation_it_was_written_from(preset: Preset) -> None:
    assert preset.source.startswith("https://") or preset.model == "mock"


def test_a_variable_may_have_two_names_and_a_host_no_scheme() -> None:
    bedrock = PRESETS["bedrock"]
    assert bedrock.variables == ["AWS_REGION"]
    for names in ({"AWS_DEFAULT_REGION": "eu-west-1"}, {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "x"}):
        assert bedrock.filled(names).base_url == "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1"
    for host in ("me.databricks.com", "https://me.databricks.com/"):
        filled = PRESETS["databricks"].filled({"DATABRICKS_HOST": host})
        assert filled.base_url == "https://me.databricks.com/serving-endpoints"


def test_other_names_lead_to_presets_and_hide_none() -> None:
    assert PRESETS.keys() >= set(PROVIDER_ALIASES.values())
    assert not PRESETS.keys() & PROVIDER_ALIASES.keys()
