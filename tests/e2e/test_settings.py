"""Where settings come from, and which of them wins."""

import json
from pathlib import Path

import pytest

from .command import Command


def test_config_path_names_the_file(llmbatch: Command) -> None:
    assert llmbatch("config", "path").stdout.decode().strip() == str(llmbatch.config)
    elsewhere = llmbatch("config", "path", env={"XDG_CONFIG_HOME": ""})
    assert elsewhere.stdout.decode().strip() == str(llmbatch.home / ".config/llmbatch/config.toml")


def test_flag_beats_environment_beats_profile_beats_file_beats_default(llmbatch: Command) -> None:
    llmbatch.configure('model = "file"\nmax-tokens = 1\n[profile.big]\nmodel = "profile"\n')
    env = {"LLMBATCH_MODEL": "environment"}

    def model(*flags: str, env: dict[str, str] | None = None) -> str:
        done = llmbatch("run", "--dry-run", *flags, stdin=["hi"], env=env)
        assert done.code == 0, done.stderr
        assert done.result["body"]["max_completion_tokens"] == 1
        found: str = done.result["body"]["model"]
        return found

    assert model() == "file"
    assert model("--profile", "big") == "profile"
    assert model(env={"LLMBATCH_PROFILE": "big"}) == "profile"
    assert model("--profile", "big", env=env) == "environment"
    assert model("--profile", "big", "-m", "flag", env=env) == "flag"


def test_config_show_says_where_each_value_comes_from(llmbatch: Command) -> None:
    llmbatch.configure('model = "m"\nquiet = true\n[profile.big]\nconcurrency = 9\nparam = "a=1"\n')
    done = llmbatch("config", "show", "--profile", "big", env={"LLMBATCH_TIMEOUT": "90s"})
    shown = {line.split(" = ")[0]: line.split(" = ")[1] for line in done.stdout.decode().splitlines()}
    assert shown["model"] == '"m"  # file'
    assert shown["quiet"] == "true  # file"
    assert shown["concurrency"] == '"9"  # profile'
    assert shown["param"] == '["a=1"]  # profile'
    assert shown["timeout"] == '"90s"  # environment'
    assert shown["retries"] == "5  # default"
    assert done.code == 0 and done.stderr == ""


def test_every_setting_that_config_show_prints_can_be_written_into_the_file(llmbatch: Command) -> None:
    shown = llmbatch("config", "show").stdout.decode().splitlines()
    pairs = [line.partition("  # ")[0].partition(" = ")[::2] for line in shown]
    llmbatch.configure("".join(f"{name} = {value}\n" for name, value in pairs if value != "null"))
    again = llmbatch("config", "show")
    assert again.code == 0, again.stderr
    before = {name: json.loads(value) for name, value in pairs}
    after = [line.partition("  # ")[0].partition(" = ")[::2] for line in again.stdout.decode().splitlines()]
    assert {name: json.loads(value) for name, value in after} == before


BROKEN = {
    "no TOML": ("model = m", "config.toml"),
    "an unknown setting": ('modle = "m"', "Did you mean model?"),
    "an unknown setting in a profile": ("[profile.p]\nconcurency = 3", "Did you mean concurrency?"),
    "an unknown table": ("[retry]\ntimes = 3", "unknown setting 'retry'"),
    "profiles that are none": ('profile = "x"', "a profile is a table"),
    "a profile that is none": ("[profile]\nx = 1", "a profile is a table"),
    "a table for a value": ("model = {a = 1}", "model is a value"),
    "a list for a value": ("limit = [1]", "limit is a value"),
    "no number": ('limit = "many"', "--limit"),
    "half a number": ("limit = 1.5", "--limit"),
    "no duration": ('timeout = "soon"', "--timeout"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_settings_file_that_cannot_be_right_is_exit_2(name: str, llmbatch: Command) -> None:
    toml, words = BROKEN[name]
    llmbatch.configure(toml)
    profile = ("--profile", "p") if "[profile.p]" in toml else ()
    done = llmbatch("run", "-m", "m", "--dry-run", *profile, stdin=["hi"])
    assert done.code == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == b""


def test_a_settings_file_that_is_a_directory_is_exit_2(llmbatch: Command) -> None:
    llmbatch.config.mkdir(parents=True)
    assert llmbatch("run", "-m", "m", "--dry-run", stdin=["hi"]).code == 2


def test_nothing_depends_on_the_folder_one_is_in(llmbatch: Command, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working directory')")
    (tmp_path / "config.toml").write_text('model = "wrong"')
    done = llmbatch("run", "-p", "mock", stdin=["hi"])
    assert done.code == 0 and done.result["model"] == "mock"


def test_switches_in_the_environment_are_understood(llmbatch: Command) -> None:
    for yes in ("1", "true", "yes", "on"):
        done = llmbatch("run", "-m", "m", stdin=["hi"], env={"LLMBATCH_DRY_RUN": yes, "LLMBATCH_QUIET": yes})
        assert done.code == 0 and done.stderr == "" and done.result["body"]["model"] == "m"
    no = llmbatch("run", "-m", "m", "--dry-run", stdin=["hi"], env={"LLMBATCH_QUIET": "0"})
    assert "nothing sent" in no.stderr
