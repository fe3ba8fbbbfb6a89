"""Where settings come from, and which of them wins."""

from pathlib import Path

import pytest

from .command import Command


def test_config_path_names_the_file(llmbatch: Command) -> None:
    assert llmbatch("config", "path").stdout.decode().strip() == str(llmbatch.config)
    elsewhere = llmbatch("config", "path", env={"XDG_CONFIG_HOME": ""})
    assert elsewhere.stdout.decode().strip() == str(llmbatch.home / ".config/llmbatch/config.toml")


def test_flag_beats_environment_beats_profile_beats_file_beats_default(llmbatch: Command) -> None:
    llmbatch.configure("""
        system = "file"
        model = "file"
        temperature = 0.1
        param = "top_p=0.1"
        [profile.big]
        model = "profile"
        temperature = 0.2
        param = "top_p=0.2"
        """)
    env = {"LLMBATCH_TEMPERATURE": "0.3", "LLMBATCH_PARAM": "top_p=0.3"}
    done = llmbatch("run", "--dry-run", "--profile", "big", "--param", "top_p=0.4", stdin=["hi"], env=env)
    body = done.result["body"]
    assert body["messages"][0]["content"] == "file"
    assert (body["model"], body["temperature"], body["top_p"]) == ("profile", 0.3, 0.4)
    assert "max_completion_tokens" not in body


def test_a_settings_file_that_cannot_be_right_is_exit_2(llmbatch: Command) -> None:
    llmbatch.configure('modle = "m"')
    done = llmbatch("run", "-m", "m", "--dry-run", stdin=["hi"])
    assert (done.code, done.stdout) == (2, b"") and "Did you mean model?" in done.stderr


def test_nothing_depends_on_the_folder_one_is_in(llmbatch: Command, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working directory')")
    (tmp_path / "config.toml").write_text('model = "wrong"')
    done = llmbatch("run", "-p", "mock", stdin=["hi"])
    assert done.code == 0 and done.result["model"] == "mock"


@pytest.mark.parametrize(
    "size",
    [{"COLUMNS": "0"}, {"COLUMNS": "-5", "LINES": "0"}, {"COLUMNS": "²", "LINES": "wide"}, {"COLUMNS": "9" * 5000}],
    ids=str,
)
def test_a_size_that_no_terminal_has_hides_nothing(size: dict[str, str], llmbatch: Command) -> None:
    ended = llmbatch.on_terminal("run", "-p", "mock", "--template", "a", stdin=["hi"], stderr=True, env=size)
    assert ended.code == 0 and b"records" in ended.terminal and len(ended.terminal) < 20_000


def test_a_closed_stdin_is_no_empty_input(llmbatch: Command) -> None:
    for words in ("run - -p mock", "run -p mock", "verify -o r.jsonl"):
        ended = llmbatch.shell(f"touch r.jsonl; llmbatch {words} <&-")
        assert ended.code == 3 and "stdin: it is closed" in ended.stderr and ended.stdout == b""
    assert llmbatch.shell("echo '\"hi\"' > in.jsonl; llmbatch run in.jsonl -p mock <&-").code == 0


def test_a_closed_stdout_or_stderr_is_told_or_does_not_matter(llmbatch: Command) -> None:
    llmbatch.shell("echo '\"hi\"' > in.jsonl")
    assert llmbatch.shell("llmbatch run in.jsonl -p mock >&-").code == 2
    assert llmbatch.shell("llmbatch run in.jsonl -p mock -o r.jsonl >&- 2>&-").code == 0
    for words in ("report r.jsonl", "convert r.jsonl --to text", "verify in.jsonl -o r.jsonl"):
        ended = llmbatch.shell(f"llmbatch {words} >&-")
        assert ended.code == 6 and "stdout" in ended.stderr and "Traceback" not in ended.stderr
    assert llmbatch.shell("llmbatch run in.jsonl -p mock 2>&-").result["status"] == "ok"


def test_raw_alone_is_text(llmbatch: Command) -> None:
    ended = llmbatch("run", "-p", "mock", "-r", stdin=["one", "two"])
    assert ended.code == 0 and ended.stdout.count(b"\n") >= 2 and b'"status"' not in ended.stdout
