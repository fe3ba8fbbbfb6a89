"""Servers that are still starting: they refuse connections, then load their model, then answer."""

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_server import serving

from .command import Command, Mock, until

PROMPTS = [f"question {n}" for n in range(40)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def given(port: int, *more: str) -> tuple[str, ...]:
    return ("run", "--base-url", f"http://127.0.0.1:{port}/v1", "-m", "m", "--summary", "json", *more)


def test_a_server_that_starts_and_then_loads_its_model_is_waited_for(llmbatch: Command, tmp_path: Path) -> None:
    port = free_port()
    run = llmbatch.start(*given(port, "--wait-ready", "60s"))
    run.write(*PROMPTS)
    run.end_input()
    time.sleep(1.0)  # it is there, and cannot reach anybody
    assert run.process.poll() is None
    with closing(Mock(tmp_path, "--loading", 60, port=port)) as loading:
        until(loading.ledger)
        assert len(loading.ledger()) <= 5, "one at a time, and not a crowd"
    with closing(Mock(tmp_path, port=port)) as loaded:
        done = run.end(40)
        statuses = [entry["status"] for entry in loaded.ledger()]
    assert done.code == 0, done.stderr
    assert [result["status"] for result in done.results] == ["ok"] * len(PROMPTS)
    assert statuses == [200] * len(PROMPTS)


@pytest.mark.parametrize("seconds", ["0", "2"])
def test_a_server_that_never_comes_ends_the_run_once_it_was_waited_for(seconds: str, llmbatch: Command) -> None:
    began = time.monotonic()
    done = llmbatch(*given(free_port(), "--wait-ready", seconds), stdin=PROMPTS, timeout=60)
    assert done.code == 4 and "cannot be reached" in done.stderr
    assert time.monotonic() - began >= float(seconds)


def test_a_model_that_loads_longer_than_it_is_waited_for_is_an_outage(
    llmbatch: Command, start_mock: Callable[..., Mock]
) -> None:
    mock = start_mock("--loading", 60)
    done = llmbatch("run", *mock("--wait-ready", "2s", "--max-outage", "3"), stdin=PROMPTS[:3], timeout=60)
    assert done.code == 5 and "--max-outage" in done.stderr
    assert until(lambda: mock.ledger()) and {entry["status"] for entry in mock.ledger()} == {503}


def test_no_request_that_a_gateway_answered_with_502_is_sent_again_under_hold(
    llmbatch: Command, tmp_path: Path
) -> None:
    sent: list[str] = []

    def answer(path: str, headers: Mapping[str, str], body: Any) -> tuple[int, Any]:
        sent.append(body["messages"][-1]["content"])
        return 502, {"error": {"message": "bad gateway"}}

    with serving(answer) as address:
        given = ("run", "--base-url", address, "-m", "m", "-o", str(tmp_path / "out.jsonl"), "--in-doubt", "hold")
        for _ in range(2):
            llmbatch(*given, "--wait-ready", "2s", stdin=PROMPTS[:20], timeout=60)
    assert sent and len(sent) == len(set(sent))
