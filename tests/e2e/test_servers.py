"""Several servers for one run, as users have them: two real ones, of which one dies in the middle."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

from .command import Command, Mock, lines_of, until

RECORDS = [{"id": str(n), "prompt": f"question {n}"} for n in range(400)]


def unused_url() -> str:
    """Return an address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def servers(*urls: str) -> list[str]:
    return [word for url in urls for word in ("--base-url", url)]


def test_a_server_that_dies_in_the_middle_costs_no_record(
    llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path
) -> None:
    lasting, dying = start_mock("--latency", "0.02"), start_mock("--latency", "0.02")
    prompts = tmp_path / "in.jsonl"
    prompts.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    out = tmp_path / "out.jsonl"
    command = ("run", prompts, *servers(lasting.base_url, dying.base_url), "-m", "m", "-c", "8", "-o", out)
    run = llmbatch.start(*command, "--summary", "json")
    until(lambda: len(dying.ledger()) >= 40)
    dying.kill()
    ended = run.end()

    assert ended.code == 0, ended.stderr
    assert sorted(line["id"] for line in lines_of(out)) == sorted(record["id"] for record in RECORDS)
    assert len(lasting.ledger()) >= 200
    assert f"{dying.base_url} is paused" in ended.stderr
    summary = json.loads(ended.stderr[ended.stderr.index("{") :])
    first, second = summary["endpoints"]
    assert first["url"] == lasting.base_url and first["answered"] >= 200
    assert first["answered"] + second["answered"] == 400

    # The same records at one of the servers are the same requests: the address is reported, no more.
    again = llmbatch("run", prompts, *servers(lasting.base_url), "-m", "m", "-o", out)
    assert again.code == 0 and "the address changed" in again.stderr
    assert len(lines_of(out)) == 400 and len(lasting.ledger()) == first["answered"]


def test_a_server_that_never_was_there_is_done_without(llmbatch: Command, mock: Mock) -> None:
    ended = llmbatch("run", *servers(unused_url(), mock.base_url), "-m", "m", stdin=RECORDS[:40])
    assert ended.code == 0 and len(ended.results) == 40


def test_a_run_ends_when_no_server_is_there(llmbatch: Command) -> None:
    ended = llmbatch("run", *servers(unused_url(), unused_url()), "-m", "m", "--retries", "1", stdin=RECORDS[:40])
    assert ended.code == 4 and "cannot be reached" in ended.stderr


def test_a_server_is_named_once_and_every_address_is_checked(llmbatch: Command) -> None:
    twice = llmbatch("run", *servers("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1/"), "-m", "m", stdin=RECORDS)
    assert twice.code == 2 and "given twice" in twice.stderr
    key = {"LLMBATCH_API_KEY": "sk-canary"}
    exposed = llmbatch(
        "run", *servers("https://a.example/v1", "http://b.example/v1"), "-m", "m", stdin=RECORDS, env=key
    )
    assert exposed.code == 2 and "b.example" in exposed.stderr


def test_a_run_that_goes_on_is_not_stopped_by_a_refused_key(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    prompts, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    records = [json.dumps({"id": n, "prompt": "fine" if n < 3 else "[[mock:status code=401]]"}) for n in range(9)]
    prompts.write_text("\n".join(records[:3]) + "\n")
    assert llmbatch("run", prompts, *mock("-o", out)).code == 0
    prompts.write_text("\n".join(reversed(records)) + "\n")
    ended = llmbatch("run", prompts, *mock("-o", out))
    assert ended.code == 1, ended.stderr
    assert [line["status"] for line in lines_of(out)].count("failed") == 6
