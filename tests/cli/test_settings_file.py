"""Where each setting comes from, as `config show` says it."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from llmbatch.cli import main

from .conftest import Cli


@pytest.fixture
def show(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Show":
    return Show(home, monkeypatch, capsys)


class Show:
    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._home, self._monkeypatch, self._capsys = home, monkeypatch, capsys

    def __call__(self, toml: str, *flags: str, **env: str) -> dict[str, str]:
        """Return what is shown: `value  # origin` by name."""
        path = self._home / "config/llmbatch/config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(toml)
        for name, value in env.items():
            self._monkeypatch.setenv(name, value)
        self._monkeypatch.setattr("sys.argv", ["llmbatch", "config", "show", *flags])
        assert main.run_to_code() == 0
        said = self._capsys.readouterr()
        assert said.err == ""
        return dict(line.split(" = ", 1) for line in said.out.splitlines())


def test_each_value_says_where_it_comes_from(show: Show) -> None:
    toml = 'model = "m"\nquiet = true\ntimeout = 30\n[profile.big]\nconcurrency = 9\nparam = "a=1"\n'
    shown = show(toml, "--profile", "big", LLMBATCH_TIMEOUT="90s", LLMBATCH_VERBOSE="yes")
    assert shown["model"] == '"m"  # file'
    assert shown["quiet"] == "true  # file"
    assert shown["concurrency"] == '"9"  # profile'
    assert shown["param"] == '"a=1"  # profile'
    assert shown["timeout"] == '"90s"  # environment'
    assert shown["verbose"] == "true  # environment"
    assert shown["retries"] == "5  # default"


def test_a_profile_can_be_named_by_the_environment(show: Show) -> None:
    assert show('[profile.big]\nmodel = "m"', LLMBATCH_PROFILE="big")["model"] == '"m"  # profile'


def test_an_empty_variable_is_none(show: Show) -> None:
    assert show('model = "m"', LLMBATCH_MODEL="")["model"] == '"m"  # file'


@pytest.mark.parametrize(("word", "value"), [("1", "true"), ("on", "true"), ("0", "false"), ("no", "false")])
def test_switches_are_understood_in_words(word: str, value: str, show: Show) -> None:
    assert show("", LLMBATCH_QUIET=word)["quiet"] == f"{value}  # environment"


def test_what_is_shown_can_be_written_into_the_file(show: Show) -> None:
    before = {name: json.loads(said.partition("  # ")[0]) for name, said in show("").items()}
    toml = "".join(f"{name} = {json.dumps(value)}\n" for name, value in before.items() if value is not None)
    after = {name: json.loads(said.partition("  # ")[0]) for name, said in show(toml).items()}
    assert after == before


def test_a_file_of_comments_is_written_where_none_is(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], show: Show
) -> None:
    path = home / "config/llmbatch/config.toml"
    monkeypatch.setattr("sys.argv", ["llmbatch", "config", "init"])
    assert main.run_to_code() == 0 and capsys.readouterr().out == f"{path}\n"
    written = path.read_text()
    assert tomllib.loads(written) == {}
    assert main.run_to_code() == 2
    assert path.read_text() == written
    defaults = {name: json.loads(said.partition("  # ")[0]) for name, said in show("").items()}
    without_comments = re.sub("^# (?=[a-z-]+ = )", "", written, flags=re.MULTILINE)
    only_values = "".join(
        line for line in without_comments.splitlines(keepends=True) if defaults.get(line.partition(" ")[0])
    )
    assert tomllib.loads(only_values) == {name: value for name, value in defaults.items() if value}
    keys = re.findall("^([a-z-]+) = .", without_comments, flags=re.MULTILINE)
    assert keys == list(defaults)


def test_what_is_changed_can_be_shown_alone(show: Show) -> None:
    assert show('model = "m"', "--changed", LLMBATCH_QUIET="1") == {
        "model": '"m"  # file',
        "quiet": "true  # environment",
    }


NASTY = ["a=\N{ROCKET}", 'b="quoted"\n\tnext line', "c=\x7f\x1b", "d=\\back", "e=#hash = 1"]


def test_what_is_changed_is_toml_that_means_the_same_when_it_is_pasted(show: Show) -> None:
    toml = 'model = "m"\nconcurrency = 9\nquiet = true\nprice = "1,2"\nmax-cost = 1.5\nsystem = "\\u007f \\\\ x"\n'
    toml += f"param = {json.dumps(NASTY, ensure_ascii=False)}\n".replace("\x7f", "\\u007f")
    toml += "[profile.p]\nretries = 3\nmeta-field = ['a', 'b']\n"
    shown = show(toml, "--changed", "--profile", "p", LLMBATCH_TIMEOUT="90s")
    pasted = "".join(f"{name} = {value}\n" for name, value in shown.items())
    values = {name: tomllib.loads(f"x = {value}")["x"] for name, value in shown.items()}
    assert values["param"] == NASTY and values["retries"] == 3 and values["timeout"] == "90s"
    again = show(pasted, "--changed", LLMBATCH_TIMEOUT="")
    assert {name: tomllib.loads(f"x = {value}")["x"] for name, value in again.items()} == values


def test_a_secret_is_a_comment_in_what_can_be_pasted(show: Show) -> None:
    shown = show('header = ["X-Api-Key: sk-abcdefghijklmnop"]', "--changed")
    assert [*shown] == ["# header"] and "sk-" not in shown["# header"]


def test_no_settings_file_is_read_on_request(
    home: Path, cli: Cli, one_record: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "config/llmbatch/config.toml"
    path.parent.mkdir(parents=True)
    path.write_text("neither TOML")
    run = ("run", one_record, "-m", "m", "--base-url", "ftp://x")
    assert "--base-url" in cli(*run, "--no-config")[1] and "config.toml" in cli(*run)[1]
    for flags in (("--no-config", "--profile", "p"), ("--profile", "p", "--no-config")):
        path.write_text("[profile.p]\nlimit = 1")
        code, said = cli(*run, *flags)
        assert code == 2 and "--profile and --no-config" in said
    monkeypatch.setenv("LLMBATCH_PROFILE", "gone")
    assert "--base-url" in cli(*run, "--no-config")[1], "a profile that a variable names is left out, too"
    monkeypatch.setenv("LLMBATCH_NO_CONFIG", "1")
    monkeypatch.delenv("LLMBATCH_PROFILE")
    path.write_text("neither TOML")
    assert "--base-url" in cli(*run)[1]


def test_a_variable_of_an_option_that_repeats_has_a_value_on_each_line(show: Show) -> None:
    shown = show("", LLMBATCH_HEADER="X-Title: my own run\n\nX-Other:  two  spaces \n", LLMBATCH_PARAM='stop=["a b"]')
    assert shown["header"] == '["X-Title: my own run", "X-Other:  two  spaces"]  # environment'
    assert shown["param"] == '"stop=[\\"a b\\"]"  # environment'
    assert show("", LLMBATCH_HEADER="")["header"] == "[]  # default"


def test_a_byte_order_mark_is_no_part_of_a_setting(show: Show) -> None:
    assert show('\ufeffmodel = "m-7"')["model"] == '"m-7"  # file'


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32-le"])
def test_settings_in_utf_16_or_32_are_refused_by_name(encoding: str, cli: Cli, home: Path) -> None:
    (home / "config/llmbatch").mkdir(parents=True)
    (home / "config/llmbatch/config.toml").write_bytes('model = "m"\n'.encode(encoding))
    code, said = cli("config", "show")
    assert code == 2 and "config.toml" in said and encoding.upper()[:6] in said


def test_a_tilde_is_the_home_folder_wherever_a_setting_names_a_file(
    show: Show, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home))
    toml = 'output = "~/r.jsonl"\nreuse = ["~/a.jsonl", "b~.jsonl"]\nca-file = "~"\n'
    toml += 'template = "@~/t"\nsystem = "~ is a tilde"\n'
    shown = show(toml, LLMBATCH_SUMMARY_FILE="~/s.json")
    assert shown["output"] == f'"{home}/r.jsonl"  # file'
    assert shown["reuse"] == f'["{home}/a.jsonl", "b~.jsonl"]  # file'
    assert shown["template"] == f'"@{home}/t"  # file'
    assert shown["system"] == '"~ is a tilde"  # file'
    assert shown["ca-file"] == f'"{home}"  # file'
    assert shown["summary-file"] == f'"{home}/s.json"  # environment'


@pytest.mark.parametrize("place", ["/dev/null", "/nowhere/at/all", "", "relative"])
def test_without_a_usable_home_there_are_no_settings(place: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", place)
    monkeypatch.setattr("pwd.getpwuid", _no_user)
    code, said = cli("run", "nosuch.jsonl", "-m", "m", "-p", "mock")
    assert code == 3 and "nosuch.jsonl" in said
    monkeypatch.setenv("LLMBATCH_OUTPUT", "~/r.jsonl")
    if not place.startswith("/"):
        code, said = cli("run", "nosuch.jsonl", "-m", "m", "-p", "mock")
        assert code == 2 and "no home folder" in said and "--output" in said
        code, said = cli("config", "path")
        assert code == 2 and "no home folder" in said


def _no_user(number: int) -> None:
    raise KeyError(number)


@pytest.mark.parametrize(
    ("name", "near"), [("LLMBATCH_MODLE", "LLMBATCH_MODEL"), ("LLMBATCH_MAX_TOKEN", "LLMBATCH_MAX_TOKENS")]
)
def test_a_variable_that_nothing_reads_is_told_with_the_nearest(
    name: str, near: str, cli: Cli, one_record: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LLMBATCH_MY_OWN", "a key")
    _, said = cli("run", "nosuch.jsonl", "-m", "m", "--key-env", "LLMBATCH_MY_OWN")
    assert f"{name} is not read by anything; did you mean {near}?" in said and "LLMBATCH_MY_OWN" not in said
    assert name not in cli("run", "nosuch.jsonl", "-m", "m", "-q")[1]
    assert f"{name} is not read by anything" in cli("config", "show", "--changed")[1]


@pytest.mark.parametrize(
    ("key", "value"),
    [("timeout", "soon"), ("concurrency", "many"), ("input-format", "xls"), ("price", "free"), ("key-env", "sk-1")],
)
def test_a_value_that_does_not_go_names_where_it_stands(key: str, value: str, cli: Cli, home: Path) -> None:
    path = home / "config/llmbatch/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{key} = "{value}"\n')
    code, said = cli("run", "in.jsonl", "-m", "m")
    assert code == 2 and f"config.toml: {key}: --{key} " in said
    path.write_text(f'[profile.a]\n{key} = "{value}"\n')
    code, said = cli("run", "in.jsonl", "-m", "m", "--profile", "a")
    assert code == 2 and f"config.toml: {key}: --{key} " in said
