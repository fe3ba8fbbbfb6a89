"""Progress and what limited a run, on a real terminal and in the summary."""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

from .command import Command, Mock

PERCENT = re.compile(r"(\d+)%")


def records(home: Path, count: int) -> str:
    (home / "in.jsonl").write_text("".join(json.dumps(f"question {n}") + "\n" for n in range(count)))
    return "in.jsonl"


def seen_on(terminal: int, words: bytes = b"") -> str:
    """Read a terminal until these words appear, or to its end."""
    seen = b""
    while not words or words not in seen:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # nobody holds it any more
            break
        if not chunk:
            break
        seen += chunk
    return seen.decode()


def test_a_resumed_run_shows_the_share_of_the_whole_and_what_it_is_limited_by(
    llmbatch: Command, start_mock: Callable[..., Mock]
) -> None:
    mock = start_mock("--latency", 0.25)
    given = (records(llmbatch.home, 20), *mock("-o", "out.jsonl"))
    assert llmbatch("run", *given, "--limit", 12, "-q").code == 0
    seen = llmbatch.on_terminal("run", *given, "-c", 2, "--summary-file", "s.json", stderr=True)
    shown = seen.stderr.decode()
    shares = [int(share) for share in PERCENT.findall(shown.partition("answered")[0])]
    assert min(shares) >= 60 and max(shares) <= 100 and seen.code == 0
    assert "at the ceiling of 2 in flight" in shown and "ETA 0:0" in shown
    summary = json.loads((llmbatch.home / "s.json").read_text())
    assert summary["limited_by"]["ceiling"] > 0.1 and sum(summary["limited_by"].values()) <= 1
    assert summary["waited_s"] == 0


def test_after_ctrl_c_the_share_stays_that_of_the_whole_input(
    llmbatch: Command, start_mock: Callable[..., Mock]
) -> None:
    mock = start_mock("--latency", 0.8)
    ours, theirs = os.openpty()
    given = (records(llmbatch.home, 40), *mock("-o", "out.jsonl", "-c", 4))
    run = llmbatch.start("run", *given, stderr=theirs, env={"TERM": "xterm", "COLUMNS": "160"})
    os.close(theirs)
    run.end_input()
    seen_on(ours, b" 10%")
    run.signal(signal.SIGINT)
    rest = seen_on(ours)
    os.close(ours)
    assert run.wait() == 130
    shares = [int(share) for share in PERCENT.findall(rest.partition("interrupt again")[2].partition("answered")[0])]
    done = len((llmbatch.home / "out.jsonl").read_bytes().splitlines())
    assert shares and max(shares) <= 100 * done / 40 < 100
    assert "stopping, 0:0" in rest


def test_a_wait_counts_as_it_elapses_and_never_more_than_the_run_took(
    llmbatch: Command, start_mock: Callable[..., Mock]
) -> None:
    mock = start_mock("--loading", 4)
    stdin = [{"prompt": f"hi {model}", "model": model} for model in ("one", "two", "three")]
    done = llmbatch("run", *mock("--wait-ready", "60", "--summary-file", "s.json"), stdin=stdin, timeout=60)
    summary = json.loads((llmbatch.home / "s.json").read_text())
    assert done.code == 0 and 0.5 <= summary["waited_s"] <= summary["wall_s"]
    assert sum(summary["limited_by"].values()) <= 1 and "limited by a server not ready" in done.stderr
    assert summary["limited_by"]["loading"] >= 0.5


def test_no_time_left_is_made_up_while_no_server_is_there(llmbatch: Command, start_mock: Callable[..., Mock]) -> None:
    mock = start_mock("--latency", 0.3)
    ours, theirs = os.openpty()
    given = (records(llmbatch.home, 400), *mock("-c", 4, "--max-outage", 2))
    run = llmbatch.start("run", *given, stderr=theirs, env={"TERM": "xterm", "COLUMNS": "160"})
    os.close(theirs)
    run.end_input()
    assert "ETA" in seen_on(ours, b"ETA")
    mock.kill()
    seen_on(ours, b"the server cannot be reached")
    rest = seen_on(ours)
    os.close(ours)
    assert run.wait() == 5
    shown = [frame for frame in rest.split("\x1b[2K") if "cannot be reached" in frame]
    assert len(shown) >= 3 and not any("ETA" in frame for frame in shown[1:])
