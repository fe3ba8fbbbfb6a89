"""`--stream`: another way over the wire to the same lines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .command import Command, Mock, lines_of

PROMPTS = ["stream one", "stream two", {"prompt": "stream three", "params": {"n": 2}}]
ANSWER = ("status", "text", "choices", "finish_reason", "model", "usage", "key", "record")


def answers(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ordered = sorted(lines, key=lambda line: line["index"])
    return [{name: line.get(name) for name in ANSWER} for line in ordered]


def test_the_lines_are_the_same_and_a_run_goes_on_with_or_without_it(
    llmbatch: Command, mock: Mock, tmp_path: Path
) -> None:
    whole = llmbatch("run", *mock(), stdin=PROMPTS)
    out = tmp_path / "out.jsonl"
    first = llmbatch("run", *mock("--stream", "-o", out, "--limit", "2"), stdin=PROMPTS)
    assert (whole.code, first.code) == (0, 0), first.stderr
    assert llmbatch("run", *mock("-o", out), stdin=PROMPTS).code == 0
    # Equal requests get equal answers from the mock, but what is asked as a stream is another request to it.
    for streamed, plain in zip(answers(lines_of(out)), answers(whole.results), strict=True):
        assert streamed["key"] == plain["key"]
        assert streamed["usage"].keys() == plain["usage"].keys() and streamed["text"]
    assert len(mock.ledger("stream one")) == 2
    asked = llmbatch("run", "-p", "mock", "--stream", "--dry-run", stdin=PROMPTS[:1]).result["body"]
    assert asked["stream"] is True and asked["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(("fault", "kind"), [("stream-cut", "protocol"), ("stream-error", "server_error")])
def test_a_stream_that_breaks_is_no_answer_and_may_have_been_billed(
    fault: str, kind: str, llmbatch: Command, mock: Mock
) -> None:
    done = llmbatch("run", *mock("--stream"), stdin=[f"broken [[mock:{fault}]]"])
    assert done.code == 1
    (line,) = done.results
    assert line["status"] == "failed" and line["error"]["kind"] == kind
    assert line["possibly_billed"] == line["attempts"] > 1
    recovered = llmbatch("run", *mock("--stream"), stdin=[f"mended [[mock:{fault} times=1]]"]).result
    assert recovered["status"] == "ok" and recovered["possibly_billed"] == 1


def test_connections_that_die_unannounced_after_streams_are_soon_used_once_each(
    llmbatch: Command, start_mock: Callable[..., Mock]
) -> None:
    mock = start_mock("--silent-close", 1)
    done = llmbatch("run", *mock("--stream", "-c", 2), stdin=[f"question {n}" for n in range(40)])
    assert done.code == 0 and len(done.results) == 40
    assert 1 <= sum(line.get("possibly_billed", 0) for line in done.results) <= 3  # two teach it, one may be under way
