"""Every exit code, and what is said and saved with it."""

import ctypes
import gzip
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .command import Command, Mock, lines_of, until

MIXED = ["[[mock:status code=400]]", *[f"question {n}" for n in range(9)]]


def test_empty_input_is_success(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_bytes(b"")
    assert llmbatch("run", *mock()).code == 0
    assert llmbatch("run", "empty.csv", *mock()).code == 0
    assert llmbatch("run", *mock(), stdin="\n\n").code == 0


@pytest.mark.parametrize(("tolerance", "code"), [("0", 1), ("none", 0), ("1", 0), ("9%", 1), ("10%", 0)])
def test_fail_on_decides_whether_failures_are_an_error(
    tolerance: str, code: int, llmbatch: Command, mock: Mock
) -> None:
    done = llmbatch("run", *mock("--fail-on", tolerance), stdin=MIXED)
    assert done.code == code and len(done.results) == 10


def test_wrong_usage_is_exit_2_with_a_suggestion_and_nothing_on_stdout(llmbatch: Command) -> None:
    done = llmbatch("run", "-p", "opnai", "-m", "m", stdin=["hi"])
    assert (done.code, done.stdout) == (2, b"") and "Did you mean -p openai?" in done.stderr
    typo = llmbatch("run", "--modle", "m", stdin=["hi"])
    assert (typo.code, typo.stdout) == (2, b"") and "--model" in typo.stderr


def test_an_api_shaped_input_is_refused_on_chat_with_the_flag_that_takes_it(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch("run", *mock(), stdin=[{"input": "hi"}])
    assert done.code == 2 and "--endpoint" in done.stderr


def test_no_input_on_a_terminal_is_a_short_help(llmbatch: Command) -> None:
    ours, theirs = os.openpty()
    run = llmbatch.start("run", stdin=theirs)
    done = run.end()
    os.close(ours)
    os.close(theirs)
    assert done.code == 2 and "llmbatch run FILE" in done.stderr


def test_an_existing_output_is_not_written_over_without_being_told(
    llmbatch: Command, mock: Mock, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("precious\n")
    done = llmbatch("run", *mock("-o", out), stdin=["overwriting question"])
    assert done.code == 2 and out.read_text() == "precious\n"
    assert not mock.ledger("overwriting question")
    assert llmbatch("run", *mock("-o", out, "--overwrite"), stdin=["hi"]).code == 0
    assert len(lines_of(out)) == 1


def test_a_run_that_cannot_start_leaves_the_old_results_alone(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert llmbatch("run", *mock("-o", out), stdin=["hi"]).code == 0
    before = out.read_bytes()
    done = llmbatch("run", *mock("-o", out, "--overwrite", "-t", "{{ missing }}"), stdin=[{"id": 1}])
    assert done.code == 2 and out.read_bytes() == before


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["", "--overwrite"])
@pytest.mark.parametrize("kind", ["directory", "fifo", "device"])
def test_an_output_that_is_no_file_is_refused(
    kind: str, overwrite: tuple[str, ...], llmbatch: Command, mock: Mock, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    if kind == "directory":
        target.mkdir()
    elif kind == "fifo":
        os.mkfifo(target)
    else:
        target = Path("/dev/full")
    done = llmbatch("run", *mock("-o", target, *overwrite), stdin=["question for no file"])
    assert done.code == 2 and f"{target.name} is" in done.stderr and target.exists()
    assert not mock.ledger("question for no file")


UNREADABLE = {
    "missing": ("nowhere.jsonl", None, "No such file"),
    "a directory": (".", None, "folder"),
    "not JSON": ("in.jsonl", b"What is this?\n" * 20, "--input-format text"),
    "one line that is not JSON": ("in.jsonl", b"What is this?\n", "--input-format text"),
    "no JSON array": ("in.json", b'{"a": 1}', "array"),
    "broken JSON array": ("in.json", b'[{"a": 1},\n{"b": }]', "line 2"),
    "damaged gzip": ("in.jsonl.gz", b"this is not gzip", "in.jsonl.gz"),
    "many repeated ids": ("in.jsonl", b'{"id": 1, "prompt": "x"}\n' * 200, "--id-field"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_input_that_cannot_be_read_is_exit_3(kind: str, llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    name, content, words = UNREADABLE[kind]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = llmbatch("run", name, *mock("--summary", "none"))
    assert done.code == 3 and words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_without_permission_is_exit_3(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('"hi"\n')
    (tmp_path / "in.jsonl").chmod(0)
    done = llmbatch("run", "in.jsonl", *mock(), preexec=_become_ordinary)
    assert done.code == 3 and "Permission denied" in done.stderr


def test_a_file_that_breaks_in_the_middle_keeps_what_came_before(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b'"question %d %s"\n' % (n, os.urandom(200).hex().encode()) for n in range(5000)))
    (tmp_path / "in.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    done = llmbatch("run", "in.jsonl.gz", *mock("-c", "32"))
    assert done.code == 3 and len(done.results) > 100
    assert "in.jsonl.gz" in done.stderr and "stopped  " in done.stderr


def test_no_key_is_exit_4_naming_variable_and_preset_with_nothing_sent(llmbatch: Command) -> None:
    done = llmbatch("run", "-m", "m", stdin=["hi"])
    assert done.code == 4 and done.stdout == b""
    assert "OPENAI_API_KEY" in done.stderr and "'openai'" in done.stderr
    groq = llmbatch("run", "-p", "groq", "-m", "m", stdin=["hi"])
    assert groq.code == 4 and "GROQ_API_KEY" in groq.stderr


def test_a_refused_key_stops_the_run_after_a_few_records(llmbatch: Command, start_mock: Callable[..., Mock]) -> None:
    mock = start_mock(env={"LLMBATCH_MOCK_KEY": "the-right-one"})
    done = llmbatch(
        "run", *mock("-c", 4), stdin=[f"question {n}" for n in range(500)], env={"LLMBATCH_API_KEY": "the-wrong-one"}
    )
    assert done.code == 4 and len(mock.ledger()) <= 10
    assert "refuses the key" in done.stderr and "next  " in done.stderr
    assert {r["error"]["kind"] for r in done.results} == {"unauthorized"}


def test_an_unknown_model_stops_the_run(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch(
        "run", "--base-url", mock.base_url, "-m", "missing-model", stdin=[f"question {n}" for n in range(500)]
    )
    assert done.code == 4 and len(done.results) < 50
    assert "missing-model" in done.stderr and "-m/--model" in done.stderr


def test_an_unknown_model_does_not_stop_the_others(llmbatch: Command, mock: Mock) -> None:
    records = [{"id": n, "prompt": f"q {n}", "model": "missing-model" if n % 2 else "mock-1"} for n in range(200)]
    done = llmbatch("run", "--base-url", mock.base_url, stdin=records)
    assert done.code == 4
    assert {r["id"] for r in done.results if r["status"] == "ok"} == set(range(0, 200, 2))
    assert "gets no more requests" in done.stderr


@pytest.mark.parametrize(
    "marker",
    [
        "status code=429 code-name=insufficient_quota",
        "status code=402",
        "status code=400 message=Your%20credit%20balance%20is%20too%20low body=anthropic",
    ],
)
def test_no_credit_in_any_disguise_stops_the_run(marker: str, llmbatch: Command, mock: Mock) -> None:
    done = llmbatch("run", *mock(), stdin=[f"[[mock:{marker}]] question {n}" for n in range(500)])
    assert done.code == 4 and len(done.results) < 50, done.stderr
    assert "credit" in done.stderr


def test_an_address_of_web_pages_stops_the_run_and_keeps_the_pages(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch("run", *mock(), stdin=[f"[[mock:html]] {n}" for n in range(300)])
    assert done.code == 4 and len(done.results) < 50
    assert "web pages" in done.stderr and "--base-url" in done.stderr
    assert all(line["billed"] and line["response"].startswith("<") for line in done.results)


def test_a_port_that_refuses_is_exit_4(llmbatch: Command) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/v1"
        done = llmbatch("run", "--base-url", url, "-m", "m", "--retries", 1, stdin=["hi"] * 100)
    assert done.code == 4 and "cannot be reached" in done.stderr and "--base-url" in done.stderr


def test_https_to_a_plain_port_is_exit_4(llmbatch: Command, mock: Mock) -> None:
    url = mock.base_url.replace("http://", "https://")
    done = llmbatch("run", "--base-url", url, "-m", "m", "--retries", 1, stdin=["hi"] * 100)
    assert done.code == 4 and "--base-url" in done.stderr


def test_the_deadline_ends_the_run_resumably(llmbatch: Command, start_mock: Callable[..., Mock]) -> None:
    mock = start_mock("--latency", 0.3)
    run = llmbatch.start("run", *mock("-c", 2, "--deadline", "1s"))
    run.write(*[f"question {n}" for n in range(100)])
    run.end_input()
    done = run.end()
    assert done.code == 5 and len(done.results) < 20
    assert all(r["status"] == "ok" for r in done.results)
    assert "--deadline" in done.stderr


def test_max_failures_ends_the_run(llmbatch: Command, mock: Mock) -> None:
    records = [f"question {n}" for n in range(20)] + ["[[mock:status code=422]]"] * 2000
    done = llmbatch("run", *mock("--max-failures", 10), stdin=records)
    assert done.code == 5 and len(done.results) < 300 and "--max-failures" in done.stderr
    share = llmbatch("run", *mock("--max-failures", "50%"), stdin=records)
    assert share.code == 5 and 100 <= len(share.results) < 400


def test_a_wait_that_is_too_long_ends_the_run(llmbatch: Command, mock: Mock) -> None:
    records = ["question", "[[mock:status code=429 retry-after=86400]]", "question 2"]
    done = llmbatch("run", *mock(), stdin=records)
    assert done.code == 5 and "86,400 s" in done.stderr and "--max-wait" in done.stderr


def test_a_full_disk_leaves_whole_lines_and_the_rest_in_the_rescue_file(
    llmbatch: Command, mock: Mock, tmp_path: Path
) -> None:
    out, rescue = tmp_path / "out.jsonl", tmp_path / "rescue"
    rescue.mkdir()
    records = [{"id": n, "prompt": f"full disk question {n} {'x' * 2000}"} for n in range(2000)]
    limit = 3_000_000  # the results do not fit, all else does

    def preexec() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    flags = ("-c", 32, "-o", out, "--rescue-dir", rescue, "--include", "input,request")
    done = llmbatch("run", *mock(*flags), stdin=records, preexec=preexec)
    assert done.code == 6, done.stderr
    (rescued,) = rescue.iterdir()
    assert str(rescued) in done.stderr
    assert out.stat().st_size <= limit and out.read_bytes().endswith(b"\n")
    saved = [r["id"] for r in lines_of(out) + lines_of(rescued)]
    answered = {int(entry["prompt"].split()[3]) for entry in mock.ledger("full disk question")}
    assert lines_of(rescued) and len(saved) == len(set(saved)) < 2000
    assert set(saved) == answered


def test_a_full_device_on_stdout_is_exit_6(llmbatch: Command, mock: Mock) -> None:
    with open("/dev/full", "wb") as full:
        done = llmbatch("run", *mock(), stdin=["hi"] * 50, stdout=full.fileno())
    assert done.code == 6 and "No space left" in done.stderr and "-o FILE" in done.stderr


def test_a_closed_stdout_is_refused_before_anything_is_sent(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch("run", *mock(), stdin=["question into the void"], preexec=lambda: os.close(1))
    assert done.code == 2 and not mock.ledger("question into the void")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_lets_what_is_in_flight_finish(
    signum: int, llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path
) -> None:
    mock = start_mock("--latency", 2)
    run = llmbatch.start("run", *mock("-c", 8, "-o", "out.jsonl"))
    run.write(*[f"question {n}" for n in range(100)])
    until(lambda: _in_flight(mock, 8))
    run.signal(signum)
    run.read_error("finishing 8 requests")
    done = run.end()
    assert done.code == 128 + signum
    asked = {entry["prompt"] for entry in mock.ledger()}
    assert len(lines_of(tmp_path / "out.jsonl")) == len(asked) == 8
    assert not any(entry["aborted"] for entry in mock.ledger())
    assert f"SIG{signal.Signals(signum).name[3:]}" in done.stderr and "8 answers in" in done.stderr


def test_the_second_signal_drops_what_is_in_flight(llmbatch: Command, start_mock: Callable[..., Mock]) -> None:
    mock = start_mock("--latency", 60)
    run = llmbatch.start("run", *mock("-c", 4))
    run.write(*[f"question {n}" for n in range(10)])
    until(lambda: _in_flight(mock, 4))
    run.signal(signal.SIGINT)
    run.read_error("interrupt again")
    run.signal(signal.SIGINT)
    assert run.wait() == 130
    assert "4 dropped in flight" in run.end().stderr


def test_whoever_insists_ends_even_a_process_that_hangs_in_a_write(llmbatch: Command, tmp_path: Path) -> None:
    # A fifo nobody reads holds the writer, so only the system's own handler can end this: the third signal.
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with open(os.open(gate, os.O_RDWR), "wb") as held:
        _fill(held.fileno())
        run = llmbatch.start("run", "-p", "mock", stdout=held.fileno())
        run.write("hi")
        until(lambda: _is_writing(run.pid))

        def interrupted() -> bool:
            run.signal(signal.SIGINT)
            return run.process.poll() is not None

        until(interrupted)
        assert run.wait() == -signal.SIGINT


def test_grace_zero_drops_at_once_on_sigterm(llmbatch: Command, start_mock: Callable[..., Mock]) -> None:
    mock = start_mock("--latency", 60)
    run = llmbatch.start("run", *mock("-c", 4, "--grace", 0))
    run.write(*[f"question {n}" for n in range(10)])
    until(lambda: _in_flight(mock, 4))
    run.signal(signal.SIGTERM)
    assert run.wait() == 143


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_answers_that_came_while_the_process_was_stopped_are_not_late(
    loop: str, llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path
) -> None:
    mock = start_mock("--latency", 0.5)
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError")
    run = llmbatch.start("run", *mock("-c", 4, "--timeout", 1, "-q"), env={"PYTHONPATH": str(tmp_path)})
    run.write(*[f"stopped {n}" for n in range(4)])
    until(lambda: _in_flight(mock, 4))
    run.signal(signal.SIGSTOP)
    time.sleep(2)  # until they are all late, by our clock
    until(lambda: len(mock.ledger("stopped")) == 4)
    run.signal(signal.SIGCONT)
    run.end_input()
    ended = run.end()
    assert ended.code == 0 and [line["attempts"] for line in ended.results] == [1] * 4


def test_under_nohup_a_hangup_is_ignored(llmbatch: Command, mock: Mock) -> None:
    run = llmbatch.start("run", *mock("-q"), preexec=_ignore_hangup)
    run.write("one")
    run.read_line()
    run.signal(signal.SIGHUP)
    run.write("two")
    run.read_line()
    run.end_input()
    assert run.wait() == 0


def test_ctrl_c_while_waiting_for_input_ends_at_once(llmbatch: Command, mock: Mock) -> None:
    run = llmbatch.start("run", *mock("-q"))
    run.write("one")
    run.read_line()
    run.signal(signal.SIGINT)
    assert run.wait() == 130


def test_ctrl_c_ends_a_dry_run(llmbatch: Command) -> None:
    run = llmbatch.start("run", "-m", "m", "--dry-run")
    run.write("one")
    run.read_line()
    run.signal(signal.SIGINT)
    assert run.wait() == 130
    assert "Traceback" not in run.end().stderr


def test_a_reader_that_leaves_is_exit_141_without_a_word(llmbatch: Command, mock: Mock) -> None:
    for reader in ("head -n 1", "true"):
        done = llmbatch.shell(
            f"yes '\"hi\"' | llmbatch run --base-url {mock.base_url} -m m -q | {reader} > /dev/null; "
            "echo ${PIPESTATUS[1]}"
        )
        assert done.stdout == b"141\n" and done.stderr == ""


def test_help_and_config_into_a_closed_pipe_end_quietly(llmbatch: Command) -> None:
    for command in ("run --help", "config show"):
        done = llmbatch.shell(f"llmbatch {command} | true; echo ${{PIPESTATUS[0]}}")
        assert done.stdout in (b"0\n", b"141\n") and done.stderr == ""


def test_with_a_results_file_nothing_depends_on_stdout(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    done = llmbatch("run", *mock("-o", "out.jsonl", "-q"), stdin=["hi"], preexec=lambda: os.close(1))
    assert done.code == 0 and len(lines_of(tmp_path / "out.jsonl")) == 1


def test_too_many_connections_for_the_system_is_exit_2(llmbatch: Command, mock: Mock) -> None:
    def preexec() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

    done = llmbatch("run", *mock("-c", 500), stdin=["hi"], preexec=preexec)
    assert done.code == 2 and "ulimit -n" in done.stderr


def _ignore_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _become_ordinary() -> None:
    """Give up root's right to open every file."""
    if os.getuid() == 0:
        prctl = ctypes.CDLL(None).prctl
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def _in_flight(mock: Mock, count: int) -> bool:
    """Say whether so many connections to the mock are established and have their request."""
    port = f"{int(mock.base_url.rsplit(':', 1)[1].split('/')[0]):04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # State 01 is established; both queues empty: the request has been read.
    return sum(r[1].endswith(f":{port}") and r[3] == "01" and r[4] == "00000000:00000000" for r in rows) >= count


def _fill(fd: int) -> None:
    os.set_blocking(fd, False)
    for size in (65536, 1):
        try:
            while True:
                os.write(fd, b"x" * size)
        except BlockingIOError:
            pass
    os.set_blocking(fd, True)


def _is_writing(pid: int) -> bool:
    """Say whether a thread of the process hangs in a write to a pipe."""
    return any("pipe_w" in _text(task / "wchan") or "anon_pipe_write" in _text(task / "wchan") for task in _tasks(pid))


def _tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
