"""`llmbatch providers`: what is listed, what is asked, and that no key is ever shown."""

from collections.abc import Callable
from typing import Any

import pytest

from llmbatch.dialects.presets import PRESETS

from .command import Command, Mock

KEY = "sk-quite-secret"


def lines(done: Any) -> dict[str, dict[str, Any]]:
    return {line["provider"]: line for line in done.results}


def test_all_presets_are_listed_and_which_keys_are_set(llmbatch: Command) -> None:
    done = llmbatch("providers", env={"GEMINI_API_KEY": KEY, "GROQ_API_KEY": " "})
    listed = lines(done)
    assert (done.code, listed.keys()) == (0, PRESETS.keys())
    assert [name for name, line in listed.items() if line["key_set"]] == ["gemini"]
    assert listed["openai"]["key_env"] == ["OPENAI_API_KEY"] and "check" not in listed["openai"]
    assert KEY not in done.stdout.decode() + done.stderr


def test_the_table_names_everything(llmbatch: Command) -> None:
    done = llmbatch("providers", "openai", "mock", "--format", "table", env={"OPENAI_API_KEY": KEY})
    text = done.stdout.decode()
    assert all(
        word in text for word in ("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", " set ", "not needed")
    )
    assert "groq" not in text and KEY not in text


@pytest.mark.parametrize("name", ["azure", "azure-classic"])
def test_a_check_asks_for_models_with_the_key(
    name: str,
    llmbatch: Command,
    start_mock: Callable[..., Mock],
) -> None:
    provider = start_mock(env={"LLMBATCH_MOCK_KEY": KEY})
    variables = {"AZURE_OPENAI_ENDPOINT": provider.base_url.removesuffix("/v1"), "OPENAI_API_VERSION": "2024-10-21"}
    good = llmbatch("providers", name, "--check", env={**variables, "AZURE_OPENAI_API_KEY": KEY})
    assert (good.code, lines(good)[name]["check"]["ok"], lines(good)[name]["check"]["models"]) == (0, True, 2)
    bad = llmbatch("providers", name, "--check", env={**variables, "AZURE_OPENAI_API_KEY": "wrong-and-secret"})
    assert (bad.code, lines(bad)[name]["check"]["status"]) == (1, 401)
    assert "secret" not in bad.stdout.decode() + bad.stderr


def test_a_check_without_key_or_server_says_so(llmbatch: Command) -> None:
    done = llmbatch("providers", "openai", "azure", "mock", "--check")
    found = lines(done)
    assert done.code == 1 and found["mock"]["check"]["ok"]
    assert "OPENAI_API_KEY" in found["openai"]["check"]["message"]
    assert "AZURE_OPENAI_ENDPOINT" in found["azure"]["check"]["message"]


def test_an_unknown_name_is_exit_2_with_the_nearest(llmbatch: Command) -> None:
    done = llmbatch("providers", "opnai")
    assert done.code == 2 and "openai" in done.stderr
