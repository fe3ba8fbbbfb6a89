"""The table of providers."""

import pytest

from llmbatch.dialects.presets import OWN_SERVER, PRESETS, Preset


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
def test_a_remote_preset_is_spoken_to_in_tls_and_has_a_key(preset: Preset) -> None:
    assert preset.local or (preset.base_url.startswith("https://") and preset.key_env)


@pytest.mark.parametrize("preset", [*PRESETS.values(), OWN_SERVER])
def test_a_base_url_has_no_slash_at_its_end(preset: Preset) -> None:
    assert not preset.base_url.endswith("/")


def test_only_the_mock_has_a_default_model() -> None:
    assert [name for name, preset in PRESETS.items() if preset.model is not None] == ["mock"]
