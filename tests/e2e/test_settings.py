"""Where settings come from, and which of them wins."""

from pathlib import Path

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
