"""Few open files, no threads, little memory: a message, an exit code by cause, and no process that stays behind."""

import json
import os
import resource
import shlex
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .command import Command, Mock, Running, children_of, is_alive, until

GIB = 2**30
PROMPTS = [{"id": number, "prompt": f"prompt {number}"} for number in range(20)]


def limited(*limits: tuple[int, int]) -> Callable[[], None]:
    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for which, most in limits:
            resource.setrlimit(which, (most, most))

    return restrict


NO_THREADS = limited((resource.RLIMIT_STACK, 1024 * GIB), (resource.RLIMIT_AS, 64 * GIB))
"""A thread gets as much address space for its stack as the main one may have, and there is less than that."""


@pytest.mark.parametrize(
    ("most", "output"), [(5, ()), (13, ("-o", "out.jsonl")), (16, ()), (20, ("-o", "out.jsonl")), (33, ())]
)
def test_too_few_open_files_for_a_run_is_exit_2(llmbatch: Command, most: int, output: tuple[str, ...]) -> None:
    preexec = limited((resource.RLIMIT_NOFILE, most))
    done = llmbatch("run", "-p", "mock", *output, stdin=PROMPTS, preexec=preexec)
    assert done.code == 2 and not done.results
    assert f"the limit is {most}" in done.stderr and "ulimit -n" in done.stderr
    assert len(done.stderr.splitlines()) == 2 and not (llmbatch.home / "out.jsonl.state").exists()


def test_a_low_soft_limit_of_open_files_is_raised(llmbatch: Command) -> None:
    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    done = llmbatch("run", "-p", "mock", stdin=PROMPTS, preexec=restrict)
    assert done.code == 0 and len(done.results) == 20 and "ulimit" not in done.stderr


def test_open_files_that_others_left_open_count(llmbatch: Command, mock: Mock) -> None:
    arguments = shlex.join(map(str, mock()))
    done = llmbatch.shell(
        f"for fd in {{10..39}}; do eval exec $fd\\</dev/null; done; ulimit -n 48; llmbatch run {arguments}"
    )
    assert done.code == 2 and "ulimit -n" in done.stderr and "Bad file" not in done.stderr


def test_the_limit_of_open_files_bounds_the_automatic_concurrency_and_is_said_once(
    llmbatch: Command, start_mock: Callable[..., Mock]
) -> None:
    provider = start_mock("--latency", 0.1)
    prompts = [f"prompt {number}" for number in range(150)]
    done = llmbatch("run", *provider(), stdin=prompts, preexec=limited((resource.RLIMIT_NOFILE, 44)))
    assert done.code == 0 and len(done.results) == 150
    sent = provider.ledger()
    assert len(sent) == 150 and 4 < max(entry["in_flight"] for entry in sent) <= 20  # how many fit in is up to the CPU
    assert done.stderr.count("ulimit -n") == 1
    assert "at most 20 requests at once, not 256" in done.stderr


def test_where_no_thread_can_be_started_nothing_is_sent(
    llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path
) -> None:
    provider = start_mock()
    done = llmbatch("run", *provider("-o", "out.jsonl"), stdin=PROMPTS, preexec=NO_THREADS)
    assert done.code == 2 and "can't start new thread" in done.stderr and "ulimit -u" in done.stderr
    output = tmp_path / "out.jsonl"
    assert not provider.ledger() and not (output.exists() and output.read_bytes())


def test_where_hosts_cannot_be_looked_up_for_want_of_threads_nothing_is_sent(llmbatch: Command) -> None:
    done = llmbatch("run", "--base-url", "http://localhost:9", "-m", "m", stdin=PROMPTS, preexec=NO_THREADS)
    assert done.code == 2 and len(done.stderr.splitlines()) == 2


def test_what_needs_no_thread_works_without(llmbatch: Command, tmp_path: Path) -> None:
    done = llmbatch("run", "-p", "mock", "--dry-run", stdin=PROMPTS, preexec=NO_THREADS)
    assert done.code == 0 and len(done.results) == 20
    mock = llmbatch.start("mock", "--port", "0", preexec=NO_THREADS)
    url = _first_line(mock.process.stdout)
    assert llmbatch("run", "--base-url", url, "-m", "m", stdin=PROMPTS).code == 0
    assert mock.process.poll() is None


@pytest.mark.parametrize("megabytes", [28, 34, 52, 72, 96])
def test_too_little_memory_for_a_run_is_exit_2(llmbatch: Command, megabytes: int) -> None:
    preexec = limited((resource.RLIMIT_AS, megabytes * 2**20))
    done = llmbatch("run", "-p", "mock", "-o", "out.jsonl", stdin=PROMPTS, preexec=preexec)
    assert done.code == 2 and "too little memory" in done.stderr and "ulimit -v" in done.stderr
    assert len(done.stderr.splitlines()) == 2 and not (llmbatch.home / "out.jsonl.state").exists()


@pytest.mark.parametrize("stopped", [False, True])
def test_the_processes_of_a_run_end_with_it_in_every_state(llmbatch: Command, stopped: bool) -> None:
    run = llmbatch.start("run", "-p", "mock", "-c", 1)
    run.write({"prompt": "first"}, {"prompt": "[[mock:hang]]"})
    run.read_line()
    children = children_of(run.pid)
    assert len(children) == 2
    if stopped:
        for child in children:
            os.kill(child, signal.SIGSTOP)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    try:
        until(lambda: not any(is_alive(child) for child in children))
    finally:
        for child in children:
            if is_alive(child):
                os.kill(child, signal.SIGKILL)


def test_a_mock_with_few_open_files_lets_clients_wait_and_stays_idle(llmbatch: Command) -> None:
    mock = llmbatch.start("mock", "--port", "0", preexec=limited((resource.RLIMIT_NOFILE, 24)))
    address = urlsplit(_first_line(mock.process.stdout))
    clients = [socket.create_connection((address.hostname, address.port), timeout=20) for _ in range(40)]
    before = _cpu(mock.pid)
    until(lambda: len(os.listdir(f"/proc/{mock.pid}/fd")) >= 23)
    for client in clients:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nhost: mock\r\nconnection: close\r\n\r\n")
    for client in clients:  # as each one ends, another is let in
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.close()
    assert mock.process.poll() is None and _cpu(mock.pid) - before < 2


def _first_line(pipe: object) -> str:
    line: bytes = pipe.readline()  # type: ignore[attr-defined]
    assert line, "it did not start"
    return line.decode().strip()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _starting(llmbatch: Command, tmp_path: Path) -> Running:
    return llmbatch.start("run", "-p", "mock", "-o", "out.jsonl")


def _idle(llmbatch: Command, tmp_path: Path) -> Running:
    run = llmbatch.start("run", "-p", "mock")
    run.write({"prompt": "first"})
    run.read_line()
    return run


def _draining(llmbatch: Command, tmp_path: Path) -> Running:
    run = llmbatch.start("run", "-p", "mock", "-c", 4)
    run.write({"prompt": "first"}, *({"prompt": "[[mock:hang]]"} for _ in range(4)))
    run.read_line()
    run.signal(signal.SIGINT)
    run.read_error("interrupt again")
    return run


def _checking(llmbatch: Command, tmp_path: Path) -> Running:
    links = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**links, "d60": {"type": "integer"}}}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    run = llmbatch.start("run", "-p", "mock", "--schema", "schema.json", "-c", 4)
    run.write(*({"prompt": f"{number} [[mock:text value=%22x%22]]"} for number in range(40)))
    until(lambda: len(_descendants(run.pid)) > 2)
    return run


@pytest.mark.parametrize("state", [_starting, _idle, _draining, _checking])
def test_all_processes_of_a_run_that_is_killed_end_in_whatever_state(
    llmbatch: Command, tmp_path: Path, state: Callable[[Command, Path], Running]
) -> None:
    run = state(llmbatch, tmp_path)
    processes = until(lambda: _descendants(run.pid))
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    until(lambda: not any(is_alive(pid) for pid in processes))


def _descendants(pid: int) -> list[int]:
    children = children_of(pid)
    return [*children, *(one for child in children for one in _descendants(child))]
