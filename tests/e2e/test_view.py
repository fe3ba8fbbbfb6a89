"""What people see: on terminals, in logs, and when they want to see nothing."""

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from .command import LLMBATCH, Command, Mock, lines_of

CONTROLS = "\x1b[2J\x1b]52;c;aGk=\x07 [/INST] [bold]x[/bold] \x9b31m \x00 \x7f \u202egnitseT\u200b \r over"
RAW = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u202e]")
ANIMATION = (b"\x1b[?25l", b"\x1b[2K", b"\x1b[1A")


def test_stdout_holds_results_and_nothing_else(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch("run", *mock("-v", "--debug"), stdin=["hi", "[[mock:status code=400]]", {"no": "prompt"}])
    assert len(done.results) == 3 and all("status" in r for r in done.results)
    assert "wire: " in done.stderr and "records" in done.stderr


def test_quiet_means_an_empty_stderr_on_success(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    retried = "[[mock:status code=500 times=1]] hi"
    with open(tmp_path / "results", "wb") as regular:
        done = llmbatch("run", *mock("-q"), stdin=[retried], stdout=regular.fileno())
    assert (done.code, done.stderr) == (0, "") and len(lines_of(tmp_path / "results")) == 1
    assert llmbatch("run", *mock("-q", "-o", "out.jsonl"), stdin=["hi"]).stderr == ""
    shaped = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0}
    assert llmbatch("run", *mock("-q"), stdin=[shaped]).stderr == ""
    assert llmbatch("run", "-m", "m", "-q", "--dry-run", stdin=["hi"]).stderr == ""


def test_quiet_still_says_why_a_run_stopped(llmbatch: Command) -> None:
    done = llmbatch("run", "-q", "-m", "m", stdin=["hi"])
    assert done.code == 4 and "OPENAI_API_KEY" in done.stderr


def test_results_into_a_file_by_redirection_are_told_of_the_flag(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    with open(tmp_path / "results", "wb") as regular:
        bad = llmbatch("run", *mock(), stdin=["hi", {}], stdout=regular.fileno())
        good = llmbatch("run", *mock(), stdin=["hi"], stdout=regular.fileno())
    assert "with -o FILE instead of > FILE the same command continues" in bad.stderr
    assert "-o FILE" not in good.stderr, "nothing has to be sent again"
    assert "-o FILE" not in llmbatch("run", *mock(), stdin=["hi", {}]).stderr


def test_progress_is_drawn_on_a_terminal(llmbatch: Command, start_mock: Callable[..., Mock]) -> None:
    mock = start_mock("--latency", 0.1)
    seen = llmbatch.on_terminal("run", *mock("-c", 2), stdin=[f"question {n}" for n in range(12)], stderr=True)
    assert seen.code == 0 and len(lines_of(seen.stdout)) == 12
    assert any(mark in seen.stderr for mark in ANIMATION)
    assert b" in flight" in seen.stderr and b"ok" in seen.stderr


@pytest.mark.parametrize("no_color", [{"NO_COLOR": "1"}, {"LLMBATCH_COLOR": "never"}], ids=str)
def test_progress_without_colours_is_still_progress(
    no_color: dict[str, str], llmbatch: Command, start_mock: Callable[..., Mock]
) -> None:
    mock = start_mock("--latency", 0.1)
    seen = llmbatch.on_terminal("run", *mock("-c", 2), stdin=["hi"] * 8, stderr=True, env=no_color)
    assert b" in flight" in seen.stderr and any(mark in seen.stderr for mark in ANIMATION)
    assert not re.search(rb"\x1b\[[0-9;]*(3[0-7]|4[0-7]|9[0-7]|38;|48;)[0-9;]*m", seen.stderr)


def test_a_dumb_terminal_gets_plain_lines(llmbatch: Command, start_mock: Callable[..., Mock]) -> None:
    mock = start_mock("--latency", 0.1)
    seen = llmbatch.on_terminal("run", *mock(), stdin=["hi"] * 4, stderr=True, env={"TERM": "dumb"})
    assert seen.code == 0 and b"\x1b" not in seen.stderr and b"records" in seen.stderr


def test_results_and_progress_do_not_share_a_terminal(llmbatch: Command, start_mock: Callable[..., Mock]) -> None:
    mock = start_mock("--latency", 0.1)
    seen = llmbatch.on_terminal("run", *mock("-c", 2), stdin=["hi"] * 8, stdout=True, stderr=True)
    assert seen.code == 0 and not any(mark in seen.terminal for mark in ANIMATION)
    assert seen.terminal.count(b'"status":"ok"') == 8


def test_nothing_is_drawn_into_a_pipe_whatever_the_environment_says(
    llmbatch: Command, start_mock: Callable[..., Mock]
) -> None:
    mock = start_mock("--latency", 0.3)
    env = dict.fromkeys(("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_INTERACTIVE", "TTY_COMPATIBLE"), "1")
    done = llmbatch("run", *mock(), stdin=["hi"] * 4, env=env | {"TERM": "xterm-256color"})
    assert done.code == 0 and "\x1b" not in done.stderr and "records" in done.stderr


def test_colours_can_be_forced_without_animation(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch("run", *mock("--color", "always"), stdin=["hi"], env={"TERM": "xterm-256color"})
    assert "\x1b[1m" in done.stderr
    assert not any(mark.decode() in done.stderr for mark in ANIMATION)


def test_the_summary_adds_up(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    stdin = ["hi", "[[mock:status code=400]]", {"no": "prompt"}, "[[mock:status code=500 times=1]]"]
    done = llmbatch("run", *mock("--summary", "json", "--summary-file", "summary.json"), stdin=stdin)
    summary = json.loads(done.stderr.splitlines()[-1])
    assert json.loads((tmp_path / "summary.json").read_bytes()) == summary
    assert summary["records"] == 4 == summary["ok"] + summary["failed"]
    assert summary["failures"] == {"bad_request": 1, "invalid_record": 1}
    assert summary["requests"] == sum(r["attempts"] for r in done.results) == 4
    assert summary["possibly_billed"] == 1 and summary["exit_code"] == done.code == 1
    usages = [r["usage"] for r in done.results if r["status"] == "ok"]
    assert summary["output_tokens"] == sum(u["output_tokens"] for u in usages)
    assert summary["latency_s"].keys() == {"p50", "p95", "p99"}


def test_the_summary_table_says_the_same_in_words(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch("run", *mock(), stdin=["hi", "[[mock:status code=400]]"])
    table = [" ".join(line.split()) for line in done.stderr.splitlines()]
    assert re.match(r"\S+ 1 of 2 answered", table[0]) and "1 failed" in table[0]
    assert any(row.startswith("failed 1 bad_request record 1") and "HTTP 400" in row for row in table)
    assert "requests 2" in table
    assert any(re.match(r"tokens [\d,]+ in", row) for row in table)
    assert any(re.match(r"latency p50 [\d.]+ m?s", row) for row in table)


def test_a_log_of_json_has_objects_with_the_time_and_nothing_else(llmbatch: Command, mock: Mock) -> None:
    stdin = ["hi", "[[mock:status code=400]]"]
    done = llmbatch("run", *mock("-v", "--log-format", "json", "-o", "out.jsonl"), stdin=stdin)
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"]) for entry in logged)
    assert [entry["summary"]["failed"] for entry in logged if "summary" in entry] == [1]
    assert any(entry.get("message", "").startswith("failed: record 1") for entry in logged)


def test_a_run_that_is_refused_says_so_in_the_log_of_json(llmbatch: Command, tmp_path: Path) -> None:
    for words, code in ((["-m", "m"], 4), (["-p", "mock", "-o", "out/x.jsonl"], 2), (["-p", "mock", "nosuch"], 3)):
        done = llmbatch("run", *words, env={"LLMBATCH_LOG_FORMAT": "json", "LLMBATCH_MODLE": "x"}, stdin=["hi"])
        *_, last = (json.loads(line) for line in done.stderr.splitlines())
        assert done.code == last["exit_code"] == code and last["message"] and last["hint"] and last["time"]


def test_progress_can_be_plain_or_none_on_a_terminal_too(llmbatch: Command, start_mock: Callable[..., Mock]) -> None:
    mock = start_mock("--latency", 0.5)
    for how in ("plain", "none"):
        seen = llmbatch.on_terminal("run", *mock("--progress", how), stdin=["hi"], stderr=True)
        assert seen.code == 0 and b"\x1b[2K" not in seen.stderr
    assert b"\x1b[2K" in llmbatch.on_terminal("run", *mock(), stdin=["hi"], stderr=True).stderr


def test_no_summary_is_no_summary(llmbatch: Command, mock: Mock) -> None:
    assert llmbatch("run", *mock("--summary", "none"), stdin=["hi"]).stderr == ""


def test_the_summary_file_is_written_however_quiet_the_run(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    done = llmbatch("run", *mock("-q", "--summary-file", "s.json"), stdin=["hi"])
    assert done.stderr == "" and json.loads((tmp_path / "s.json").read_bytes())["ok"] == 1


def test_verbose_has_a_line_for_each_failure_and_retry(llmbatch: Command, mock: Mock) -> None:
    stdin = [{"id": "bad", "prompt": "[[mock:status code=400]]"}, {"id": "x", "prompt": "[[mock:status times=1]]"}]
    done = llmbatch("run", *mock("-v", "--summary", "none"), stdin=stdin)
    failed, again = sorted(line.partition(" ")[2] for line in done.stderr.splitlines())
    assert "failed: record 0 (id 'bad'): bad_request (HTTP 400)" in failed
    assert "record 1 is sent again in" in again and "HTTP 500" in again
    assert llmbatch("run", *mock("--summary", "none"), stdin=stdin).stderr == ""


def test_model_text_on_a_terminal_is_escaped_and_still_the_same_json(llmbatch: Command, mock: Mock) -> None:
    prompt = f"[[mock:text value={quote(CONTROLS, safe='')}]]"
    seen = llmbatch.on_terminal("run", *mock("-q"), stdin=[prompt], stdout=True)
    shown = seen.terminal.decode()
    assert not RAW.search(shown) and json.loads(shown)["text"] == CONTROLS
    piped = llmbatch("run", *mock("-q"), stdin=[prompt])
    assert piped.result["text"] == CONTROLS and "\u202e" in piped.stdout.decode()


def test_raw_text_on_a_terminal_is_escaped_too(llmbatch: Command, mock: Mock) -> None:
    prompt = f"[[mock:text value={quote(CONTROLS, safe='')}]]"
    seen = llmbatch.on_terminal("run", *mock("-q", "--output-format", "text", "--raw"), stdin=[prompt], stdout=True)
    assert not RAW.search(seen.terminal.decode()) and b"[/INST]" in seen.terminal


def test_a_dry_run_on_a_terminal_is_escaped_too(llmbatch: Command) -> None:
    seen = llmbatch.on_terminal("run", "-m", "m", "-q", "--dry-run", stdin=[CONTROLS], stdout=True)
    shown = seen.terminal.decode()
    assert not RAW.search(shown) and json.loads(shown)["body"]["messages"][0]["content"] == CONTROLS


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_what_providers_and_ids_say_drives_no_terminal(terminal: bool, llmbatch: Command, mock: Mock) -> None:
    prompt = f"[[mock:status code=400 message={quote(CONTROLS, safe='')}]]"
    stdin = [{"id": f"{CONTROLS}\n🧪" + "宽" * 50, "prompt": prompt}]
    if terminal:
        seen = llmbatch.on_terminal("run", *mock("-v"), stdin=stdin, stderr=True, env={"NO_COLOR": "1"})
        shown = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", seen.stderr.decode()).replace("\r", "")
        assert "\x1b]52" not in seen.stderr.decode() and "\x1b[2J" not in seen.stderr.decode()
        assert lines_of(seen.stdout)[0]["id"] == stdin[0]["id"]
    else:
        shown = llmbatch("run", *mock("-v"), stdin=stdin).stderr
    assert not RAW.search(shown), repr(shown)
    assert "[/INST]" in shown and "🧪" in shown


def test_control_characters_in_names_are_not_shown_raw(llmbatch: Command) -> None:
    for flags in (("no\x1b[2Jsuch.jsonl",), ("--profile", "x\x1b[2J"), ("-p", "\x1b[2J"), ("-c", "\x1b[2J")):
        done = llmbatch("run", "-m", "m", *flags, env={"OPENAI_API_KEY": "k"})
        assert done.code in (2, 3) and "\x1b" not in done.stderr


def test_a_closed_stderr_loses_words_only(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch("run", *mock("-v"), stdin=["hi", "[[mock:status code=400]]"], preexec=lambda: os.close(2))
    assert done.code == 1 and len(done.results) == 2


def test_a_stderr_that_is_full_loses_words_only(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch.shell(
        f"echo '\"hi\"' | llmbatch run --base-url {mock.base_url} -m m -v --debug 2> /dev/full; echo $?"
    )
    result, code = done.stdout.splitlines()
    assert json.loads(result)["status"] == "ok" and code == b"0"


def test_a_terminal_that_goes_away_takes_words_only(
    llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path
) -> None:
    mock = start_mock("--latency", 0.1)
    ours, theirs = os.openpty()
    run = llmbatch.start("run", *mock("-c", 2, "-v", "-o", "out.jsonl"), stderr=theirs, env={"TERM": "xterm"})
    os.close(theirs)
    run.write(*["[[mock:status code=400]]"] * 4, *[f"question {n}" for n in range(16)])
    run.end_input()
    assert os.read(ours, 1)
    os.close(ours)
    assert run.wait() == 1
    assert len(lines_of(tmp_path / "out.jsonl")) == 20


def test_a_closed_stdin_is_told_and_is_no_empty_input(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch("run", *mock("-q"), stdin=None, preexec=lambda: os.close(0))
    assert (done.code, done.stdout) == (3, b"") and "stdin: it is closed" in done.stderr


def test_wide_and_long_ids_come_back_as_they_were(llmbatch: Command, mock: Mock) -> None:
    ids = ["宽" * 100, "👩‍👩‍👧‍👦", "e\u0301", "x" * 5000, "[bold]", "../../etc/passwd", 2**63 - 1, -1]
    done = llmbatch("run", *mock("-k"), stdin=[{"id": id, "prompt": f"hi {n}"} for n, id in enumerate(ids)])
    assert [r["id"] for r in done.results] == ids


def test_a_bug_is_one_line_and_exit_70_and_debug_shows_where(llmbatch: Command, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import llmbatch.cli.resolve as r\ndef fail(ctx): raise KeyError('oops [/INST]')\nr.resolve = fail\n"
    )
    env = {"PYTHONPATH": str(tmp_path)}
    done = llmbatch("run", "-m", "m", stdin=["hi"], env=env)
    assert done.code == 70 and "Traceback" not in done.stderr and "oops [/INST]" in done.stderr
    assert "--debug" in done.stderr
    debug = llmbatch("run", "-m", "m", "--debug", stdin=["hi"], env=env)
    assert debug.code == 70 and "Traceback" in debug.stderr


@pytest.mark.parametrize("flag", ["--version", "--help", "run --help"])
def test_what_needs_no_network_does_not_import_it(flag: str, llmbatch: Command) -> None:
    done = llmbatch.shell(f"{sys.executable} -X importtime {LLMBATCH} {flag}")
    assert done.code == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"httpx", "anyio", "jinja2", "rich.live", "orjson", "uvloop"}
    if flag == "--version":
        assert "rich" not in imported


def test_every_option_has_help_and_a_group(llmbatch: Command) -> None:
    text = llmbatch("run", "--help-all", env={"COLUMNS": "120"}).stdout.decode()
    groups = re.findall(r"^(\w+)(?: \(llmbatch help \w+\))?$", text, re.MULTILINE)
    assert {"Input", "Model", "Pace", "Patience", "Stop", "Output", "View"} <= set(groups)
    assert "\\[" not in text and "[profile.NAME]" in text and "{{ field }}" in text
    described = re.split(r"^  (?:-\w, |    )(?=--)", text, flags=re.MULTILINE)[1:]
    assert len(described) > 60
    for option in described:
        words = re.sub(r"Default:.*", "", option, flags=re.DOTALL).split()
        assert len(words) >= 4, f"there is no help: {option!r}"
    assert "[[mock:hang]]" in llmbatch("mock", "--help").stdout.decode()


def test_the_help_of_a_run_fits_one_screen_and_names_every_option(llmbatch: Command) -> None:
    shown = llmbatch("run", "-h", env={"COLUMNS": "100"}).stdout.decode()
    everything = llmbatch("run", "--help-all", env={"COLUMNS": "100"}).stdout.decode()
    assert len(shown.splitlines()) <= 50 and max(map(len, shown.splitlines())) <= 100
    flags = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", everything))
    assert flags - {"--concurrency"} <= set(re.findall(r"(?<![\w-])--[a-z][\w-]*", shown))


def test_a_prompt_in_place_of_an_input_is_told_the_way_before_any_key_is_missed(llmbatch: Command) -> None:
    done = llmbatch("run", "say hi", "-m", "m")
    assert done.code == 3 and "echo 'say hi' | llmbatch run --input-format text" in done.stderr
    assert llmbatch("run", "no-such.jsonl", "-m", "m").code == 3


def test_names_of_providers_are_found_by_what_people_call_them(llmbatch: Command, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('"hi"\n')
    for name, key in (("claude", "ANTHROPIC_API_KEY"), ("OpenAI", "OPENAI_API_KEY"), ("google", "GEMINI_API_KEY")):
        done = llmbatch("run", "in.jsonl", "-p", name, "-m", "m")
        assert done.code == 4 and key in done.stderr


def test_the_address_of_an_endpoint_is_told_from_a_base_url(llmbatch: Command) -> None:
    done = llmbatch("run", "--base-url", "http://localhost:8000/v1/chat/completions/", "-m", "m", stdin=["hi"])
    assert done.code == 2 and done.stderr.rstrip().endswith("http://localhost:8000/v1")


def test_words_that_people_guess_are_answered_in_two_lines(llmbatch: Command) -> None:
    for words, right in (
        (("run", "--workers", "8"), "-c N"),
        (("run", "-j", "8"), "-c N"),
        (("run", "--api-key", "k"), "--key-env"),
        (("version",), "llmbatch --version"),
        (("prompts.jsonl",), "llmbatch run prompts.jsonl -m MODEL"),
    ):
        done = llmbatch(*words)
        assert done.code == 2 and right in done.stderr and len(done.stderr.splitlines()) == 2
    assert llmbatch("-V").stdout == llmbatch("--version").stdout


def test_version_says_what_runs(llmbatch: Command) -> None:
    done = llmbatch("--version")
    assert re.fullmatch(rb"llmbatch \d+\.\d+\.\d+ .*Python 3\.\d+.*\n", done.stdout) and done.stderr == ""


def test_the_mock_stops_on_ctrl_c_without_a_word(llmbatch: Command) -> None:
    run = llmbatch.start("mock", "--port", 0)
    assert run.process.stdout is not None and run.process.stdout.read(4) == b"http"
    run.signal(signal.SIGINT)
    done = run.end()
    assert done.code in (0, 130) and "Traceback" not in done.stderr


def test_several_models_have_lines_of_their_own(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    records = [
        {"prompt": "x", "model": "one", "system": "be brief", "params": {"temperature": 0}},
        {"prompt": "x", "model": "two"},
        {"prompt": "[[mock:status code=400]]", "model": "two"},
    ]
    done = llmbatch("run", *mock("--summary-file", "s.json", "--include", "request"), stdin=records)
    bodies = {json.dumps(result["request"], sort_keys=True) for result in done.results}
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "x"}]
    asked = {"model": "one", "temperature": 0, "messages": messages}
    assert json.dumps(asked, sort_keys=True) in bodies
    models = json.loads((tmp_path / "s.json").read_text())["models"]
    assert {name: (of["ok"], of["failed"]) for name, of in models.items()} == {"one": (1, 0), "two": (1, 1)}
    assert re.search(r"\ntwo +1 +1 +2 ", done.stderr)
